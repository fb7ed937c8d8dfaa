//! The order in which a cluster starts. What does not wait for one another starts side by side.

use std::path::Path;
use std::time::Duration;

use crate::address::NodeId;
use crate::certs;
use crate::cgroups;
use crate::cluster::Cluster;
use crate::command::wait_until;
use crate::component::Component;
use crate::containerd;
use crate::dns;
use crate::error::{Error, Result};
use crate::holder;
use crate::images;
use crate::kubeconfig;
use crate::layout::remove_tree;
use crate::network;
use crate::progress::Progress;

const NODES_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn everything(cluster: &Cluster, progress: &Progress) -> Result<()> {
    let (layout, host) = (cluster.layout(), cluster.host());
    certs::make_all(layout, cluster.node_ids())?;
    kubeconfig::write_admin(layout)?;
    cgroups::prepare(&host.cgroups, &cluster.node_ids())?;
    holder::make_mount_points(layout)?;
    network::make_bridge(host, cluster.node_ids())?;
    let pause = images::pause_archive(layout)?;
    progress.say("starting etcd, the API server, the registry and the nodes' container runtimes");
    side_by_side(cluster, &pause, progress)?;
    progress.say("starting the kubelets");
    for node in cluster.node_ids() {
        cluster.launch_now(Component::Kubelet(node))?;
        cluster.launch_now(Component::KubeProxy(node))?;
    }
    wait_for_nodes(cluster)?;
    progress.say("every node is ready");
    wait_for_services(cluster)?;
    progress.say("DNS and service accounts are ready");
    Ok(())
}

/// The control plane in this thread, a thread for each node meanwhile.
fn side_by_side(cluster: &Cluster, pause: &Path, progress: &Progress) -> Result<()> {
    std::thread::scope(|scope| {
        let nodes: Vec<_> = cluster
            .node_ids()
            .map(|node| scope.spawn(move || start_runtime(cluster, node, pause)))
            .collect();
        let control_plane = start_control_plane(cluster, progress);
        for node in nodes {
            node.join().expect("starting a node does not panic")?;
        }
        control_plane
    })
}

fn start_control_plane(cluster: &Cluster, progress: &Progress) -> Result<()> {
    cluster.launch_now(Component::Registry)?;
    cluster.start(Component::Etcd)?;
    cluster.start(Component::ApiServer)?;
    progress.say("the API server is ready");
    cluster.launch_now(Component::ControllerManager)?;
    cluster.launch_now(Component::Scheduler)?;
    cluster.apply(dns::ROLE)?;
    cluster.launch_now(Component::Dns)?;
    Ok(())
}

fn start_runtime(cluster: &Cluster, node: NodeId, pause: &Path) -> Result<()> {
    let layout = cluster.layout();
    let holder = holder::start(layout, &cluster.host().cgroups, node)?.pid;
    network::plug_in(node, cluster.node_ids(), holder)?;
    cluster.start(Component::Containerd(node))?;
    containerd::import(layout, holder, pause)
}

/// Starts a node that is off, with the disk that it had.
pub(crate) fn node(cluster: &Cluster, node: NodeId) -> Result<()> {
    let layout = cluster.layout();
    // As after a boot: the disk is as it was, /run is empty.
    remove_tree(
        &layout
            .node(&node.to_string())
            .join(holder::CONTAINERD_STATE),
    )?;
    start_runtime(cluster, node, &images::pause_archive(layout)?)?;
    cluster.launch_now(Component::Kubelet(node))?;
    cluster.launch_now(Component::KubeProxy(node))?;
    Ok(())
}

/// Ready in the sense of the API: pods can be placed on it.
fn wait_for_nodes(cluster: &Cluster) -> Result<()> {
    let wanted = cluster.node_ids().count();
    let template = r#"{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{" "}{end}"#;
    let path = format!("jsonpath={template}");
    let ready = wait_until("the readiness of every node", NODES_LIMIT, || {
        require_alive(cluster)?;
        let said = cluster
            .kubectl(&["get", "nodes", "--output", &path])
            .unwrap_or_default();
        Ok(said
            .split_whitespace()
            .filter(|status| *status == "True")
            .count()
            == wanted)
    });
    ready.map_err(|error| with_logs(cluster, error))
}

/// A pod can be made once its namespace has a service account, and can ask for names once DNS is in sync.
fn wait_for_services(cluster: &Cluster) -> Result<()> {
    wait_until(
        "the readiness of DNS and service accounts",
        NODES_LIMIT,
        || {
            require_alive(cluster)?;
            let account = cluster.kubectl(&[
                "get",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
            ]);
            Ok(account.is_ok() && dns::is_ready() && crate::registry::is_ready())
        },
    )
}

/// A component that died at the start says why in its log; waiting longer would not help.
fn require_alive(cluster: &Cluster) -> Result<()> {
    match cluster
        .components()
        .find(|component| !cluster.is_running(*component))
    {
        Some(dead) => Err(crate::process::died(cluster.layout(), &dead.to_string())),
        None => Ok(()),
    }
}

fn with_logs(cluster: &Cluster, error: Error) -> Error {
    let logs = cluster.layout().logs();
    match error {
        Error::TimedOut { what, limit, .. } => Error::TimedOut {
            what,
            limit,
            detail: format!("; see {}", logs.display()),
        },
        other => other,
    }
}
