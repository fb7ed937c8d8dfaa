//! One node: its faults, its namespaces, its containers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::address::NodeId;
use crate::cgroups;
use crate::cluster::Cluster;
use crate::command::{output, wait_until};
use crate::component::Component;
use crate::containerd;
use crate::error::{Error, Result};
use crate::network;
use crate::process::died;

/// How long a change of the node's condition may take: the grace period of a silent one, and a start.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A node of a running cluster.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    id: NodeId,
}

impl<'a> Node<'a> {
    pub(crate) fn new(cluster: &'a Cluster, id: NodeId) -> Self {
        Self { cluster, id }
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn name(&self) -> String {
        self.id.to_string()
    }

    /// Its address, from the root namespace and from pods.
    pub fn address(&self) -> String {
        self.id.address()
    }

    /// Cuts the node off: the API server, the registry, DNS and the other nodes are gone for it, and it
    /// for them. Its pods go on and reach each other.
    pub fn partition(&self) -> Result<()> {
        network::set_cable(self.id, false)
    }

    /// Ends a partition.
    pub fn heal(&self) -> Result<()> {
        network::set_cable(self.id, true)
    }

    pub fn stop_kubelet(&self) -> Result<()> {
        self.cluster.stop(Component::Kubelet(self.id))
    }

    /// Starts the kubelet and waits until it has said of the node that it is Ready: what the one before it said may still stand
    /// there, and a kubelet may end by itself before it says anything.
    pub fn start_kubelet(&self) -> Result<()> {
        let component = Component::Kubelet(self.id);
        let before = self.ready_condition("lastHeartbeatTime")?;
        self.cluster.start(component)?;
        wait_until(
            &format!("Ready as the new kubelet of {} says it", self.id),
            READY_LIMIT,
            || {
                if !self.cluster.is_running(component) {
                    return Err(died(self.cluster.layout(), &component.to_string()));
                }
                let said = self.ready_condition("lastHeartbeatTime")?;
                Ok(said != before && self.ready_condition("status")? == "True")
            },
        )
    }

    /// Pulls the plug: everything of the node is killed at once, containers too. It keeps its disk.
    pub fn power_off(&self) -> Result<()> {
        cgroups::kill_node(&self.cluster.host().cgroups, self.id)
    }

    /// Starts a node that was powered off.
    pub fn power_on(&self) -> Result<()> {
        crate::start::node(self.cluster, self.id)
    }

    /// As before maintenance: nothing new is placed here, and what no DaemonSet holds here is evicted.
    pub fn drain(&self) -> Result<()> {
        let name = self.name();
        let flags = [
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=120s",
        ];
        self.cluster
            .kubectl(&[&["drain", &name][..], &flags].concat())
            .map(drop)
    }

    /// Ends what a drain began.
    pub fn uncordon(&self) -> Result<()> {
        self.cluster.kubectl(&["uncordon", &self.name()]).map(drop)
    }

    /// Takes the node out of the cluster: powered off, its Node object deleted, and its pods forgotten, which Kubernetes does by
    /// itself a minute later.
    pub fn leave(&self) -> Result<()> {
        self.power_off()?;
        let name = self.name();
        self.cluster.kubectl(&["delete", "node", &name])?;
        let on_it = format!("--field-selector=spec.nodeName={name}");
        let now = ["--all-namespaces", "--force", "--grace-period=0"];
        self.cluster
            .kubectl(&[&["delete", "pods", &on_it][..], &now].concat())
            .map(drop)
    }

    /// Comes as a new node (its uid, labels and taints are new, its disk is not) and waits until it is Ready.
    pub fn join(&self) -> Result<()> {
        self.power_on()?;
        self.wait_ready("True")
    }

    /// Waits until the node's condition Ready is `True`, `False` or `Unknown`.
    pub fn wait_ready(&self, status: &str) -> Result<()> {
        wait_until(
            &format!("Ready={status} of {}", self.id),
            READY_LIMIT,
            || {
                Ok(self
                    .ready_condition("status")
                    .is_ok_and(|now| now == status))
            },
        )
    }

    fn ready_condition(&self, field: &str) -> Result<String> {
        let path = format!(r#"jsonpath={{.status.conditions[?(@.type=="Ready")].{field}}}"#);
        self.cluster
            .kubectl(&["get", "node", &self.name(), "--output", &path])
    }

    /// A command that will run in the node's network and mount namespaces, as on the node itself.
    pub fn command(&self, program: &str) -> Result<Command> {
        let holder = self.cluster.holder(self.id)?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={holder}"))
            .args(["--net", "--mount", "--", program]);
        command.envs(self.cluster.environment());
        Ok(command)
    }

    /// Runs a command in the node's namespaces to its end and returns what it printed.
    pub fn exec(&self, program: &str, args: &[&str]) -> Result<String> {
        output(self.command(program)?.args(args))
    }

    /// Process ids of a container of a pod, as this machine sees them; the first is its main process.
    pub fn container_pids(&self, namespace: &str, pod: &str, container: &str) -> Result<Vec<i32>> {
        let id = self.container_id(namespace, pod, container)?;
        let holder = self.cluster.holder(self.id)?;
        let listed =
            output(containerd::ctr(self.cluster.layout(), holder).args(["tasks", "ps", &id]))?;
        let pids = listed
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
    }

    /// containerd's id of the container that runs now.
    pub fn container_id(&self, namespace: &str, pod: &str, container: &str) -> Result<String> {
        let statuses =
            r#"{range .status.containerStatuses[*]}{.name}{" "}{.containerID}{"\n"}{end}"#;
        let path = format!("jsonpath={statuses}");
        let listed = self.cluster.kubectl(&[
            "get",
            "pod",
            pod,
            "--namespace",
            namespace,
            "--output",
            &path,
        ])?;
        let found = listed
            .lines()
            .filter_map(|line| line.split_once(" containerd://"));
        let id = found
            .filter(|(name, _)| *name == container)
            .map(|(_, id)| id.to_owned())
            .next();
        id.ok_or_else(|| {
            Error::Image(format!(
                "no container {container} runs in {namespace}/{pod}"
            ))
        })
    }

    /// Folder of the group that holds all of the node's pods. On v1, in the hierarchy of `controller`.
    pub fn cgroup(&self, controller: &str) -> Option<PathBuf> {
        cgroups::node_group(&self.cluster.host().cgroups, self.id, controller)
    }
}
