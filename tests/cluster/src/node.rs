//! One node: its faults, its namespaces, its containers.

use std::path::PathBuf;
use std::process::Command;

use crate::address::NodeId;
use crate::cgroups;
use crate::cluster::Cluster;
use crate::command::output;
use crate::component::Component;
use crate::containerd;
use crate::error::{Error, Result};
use crate::network;

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

    pub fn start_kubelet(&self) -> Result<()> {
        self.cluster.start(Component::Kubelet(self.id))
    }

    /// Pulls the plug: everything of the node is killed at once, containers too. It keeps its disk.
    pub fn power_off(&self) -> Result<()> {
        cgroups::kill_node(&self.cluster.host().cgroups, self.id)
    }

    /// Starts a node that was powered off.
    pub fn power_on(&self) -> Result<()> {
        crate::start::node(self.cluster, self.id)
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
