//! The daemons of a cluster, by name.

use std::fmt;

use crate::address::NodeId;
use crate::{containerd, control_plane, dns, holder, kubelet, registry};

/// One daemon. Tests of faults stop, start and signal them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Registry,
    Dns,
    /// Keeps a node's namespaces; it only ends with its node.
    Holder(NodeId),
    Containerd(NodeId),
    Kubelet(NodeId),
    KubeProxy(NodeId),
}

impl Component {
    /// Every component of a cluster with this many nodes.
    pub fn all(nodes: u8) -> impl Iterator<Item = Self> {
        let shared = [
            Self::Etcd,
            Self::ApiServer,
            Self::ControllerManager,
            Self::Scheduler,
            Self::Registry,
            Self::Dns,
        ];
        let of_node = |node| {
            [
                Self::Holder(node),
                Self::Containerd(node),
                Self::Kubelet(node),
                Self::KubeProxy(node),
            ]
        };
        shared
            .into_iter()
            .chain(NodeId::first(nodes).flat_map(of_node))
    }
}

/// The name in logs, records and control groups.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::Etcd => control_plane::ETCD.to_owned(),
            Self::ApiServer => control_plane::API_SERVER.to_owned(),
            Self::ControllerManager => control_plane::CONTROLLER_MANAGER.to_owned(),
            Self::Scheduler => control_plane::SCHEDULER.to_owned(),
            Self::Registry => registry::NAME.to_owned(),
            Self::Dns => dns::NAME.to_owned(),
            Self::Holder(node) => holder::name(node),
            Self::Containerd(node) => containerd::name(node),
            Self::Kubelet(node) => kubelet::kubelet_name(node),
            Self::KubeProxy(node) => kubelet::proxy_name(node),
        };
        f.write_str(&name)
    }
}
