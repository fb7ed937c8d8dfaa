//! The network plan. Every address lies in 198.18.0.0/15, which is reserved for tests of networks and
//! routed nowhere.

use std::fmt;

/// Bridge in the root namespace to which the nodes are plugged; the control plane listens on it.
pub const BRIDGE: &str = "sf-br0";
pub const BRIDGE_ADDRESS: &str = "198.18.0.1";
pub const BRIDGE_PREFIX: u8 = 24;
/// Cluster addresses of Services.
pub const SERVICE_NETWORK: &str = "198.19.0.0/16";
/// The first Service address: `kubernetes.default`.
pub const API_SERVICE_ADDRESS: &str = "198.19.0.1";
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// API server, from the root namespace, the nodes and the pods.
pub const API_SERVER: &str = "198.18.0.1:6443";
pub const API_PORT: u16 = 6443;
/// Name under which images are pulled; nodes map it to [`REGISTRY_ADDRESS`], the cluster's DNS knows it.
pub const REGISTRY: &str = "registry.smallfleet.test:5000";
pub const REGISTRY_HOST: &str = "registry.smallfleet.test";
pub const REGISTRY_ADDRESS: &str = "198.18.0.1:5000";
/// CoreDNS answers whether it has synced with the API server.
pub const DNS_READY: &str = "198.18.0.1:8181";

/// A loopback address that nobody else is likely to use: etcd has no authentication, so it must not
/// listen where pods reach it, and the usual ports may be taken by a user's own cluster.
pub const LOOPBACK: &str = "127.198.18.1";
pub const ETCD_CLIENT: &str = "127.198.18.1:2379";
pub const ETCD_PEER: &str = "127.198.18.1:2380";

/// Most nodes that the plan has addresses for.
pub const NODES_MAX: u8 = 9;

/// One node, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

impl NodeId {
    /// Nodes 1 to `count`, at most [`NODES_MAX`].
    pub fn first(count: u8) -> impl Iterator<Item = Self> + Clone {
        (1..=count.min(NODES_MAX)).map(Self)
    }

    /// The node of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::first(NODES_MAX).find(|node| node.to_string() == name)
    }

    /// Address on the bridge.
    pub fn address(self) -> String {
        format!("198.18.0.1{}", self.0)
    }

    /// Network of the node's pods.
    pub fn pod_network(self) -> String {
        format!("198.18.1{}.0/24", self.0)
    }

    /// End of the node's cable in the root namespace.
    pub fn cable(self) -> String {
        format!("sf-n{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn every_address_is_in_the_range_reserved_for_tests() {
        let mut all = vec![BRIDGE_ADDRESS.to_owned(), API_SERVICE_ADDRESS.to_owned()];
        for node in NodeId::first(NODES_MAX) {
            all.push(node.address());
            all.push(node.pod_network().replace("/24", ""));
        }
        for address in all {
            let [a, b, ..] = address.parse::<Ipv4Addr>().unwrap().octets();
            assert!(a == 198 && (b == 18 || b == 19), "{address}");
        }
    }

    #[test]
    fn names_and_nodes_convert_both_ways() {
        let node = NodeId::from_name("node-3").unwrap();
        assert_eq!(node.to_string(), "node-3");
        assert_eq!(node.address(), "198.18.0.13");
        assert_eq!(node.pod_network(), "198.18.13.0/24");
        assert_eq!(NodeId::from_name("node-0"), None);
        assert_eq!(NodeId::from_name("node-12"), None);
    }
}
