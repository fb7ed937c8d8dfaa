//! Where the servers and their client run.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use smallfleet_cluster::{Cluster, Layout};

use crate::processes::{self, LOCALHOST};
use crate::site::{self, Site};

const NODE: &str = "node-1";
const NAMESPACE: &str = site::namespace::CLASSIFY;
/// For the Python servers on a node, where a free port is not so easily looked for.
const PEER_PORT: u16 = 28_080;

/// Loopback, or a node of the local cluster.
#[derive(Debug)]
pub enum Place {
    Loopback,
    Service {
        cluster: Cluster,
        address: SocketAddr,
        node: IpAddr,
        site: Arc<Site>,
    },
}

pub fn a_cluster_is_up() -> Result<bool> {
    Ok(Layout::from_environment()?.kubeconfig().is_file())
}

impl Place {
    /// Installs the model on every node.
    pub async fn service() -> Result<Self> {
        let lab = site::lab()?;
        let fleet = lab.namespace(NAMESPACE).await?;
        let site = Site::new(Arc::clone(&lab), fleet, "intent", None);
        site.install("good").await?;
        let services: Api<Service> = Api::namespaced(site.fleet.client.clone(), NAMESPACE);
        let spec = services.get(&site.model).await?.spec.unwrap_or_default();
        let ip: IpAddr = spec
            .cluster_ip
            .context("the Service has an address")?
            .parse()?;
        let cluster = lab.machines()?;
        let node = cluster
            .node(NODE)
            .context("the first node")?
            .address()
            .parse()?;
        let address = SocketAddr::new(ip, 80);
        Ok(Self::Service {
            cluster,
            address,
            node,
            site: Arc::new(site),
        })
    }

    /// Removes what it made.
    pub fn leave(self) -> Result<()> {
        match self {
            Self::Loopback => Ok(()),
            Self::Service { site, .. } => site.lab.delete_namespace(NAMESPACE),
        }
    }

    pub fn service_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Loopback => None,
            Self::Service { address, .. } => Some(*address),
        }
    }

    /// Where a Python server may listen: the `index`-th of them.
    pub fn peer_address(&self, index: u16) -> Result<SocketAddr> {
        match self {
            Self::Loopback => processes::free(),
            Self::Service { node, .. } => Ok(SocketAddr::new(*node, PEER_PORT + index)),
        }
    }

    /// A command that will run there.
    pub fn command(&self, program: &str) -> Result<Command> {
        match self {
            Self::Loopback => Ok(Command::new(program)),
            Self::Service { cluster, .. } => {
                let node = cluster.node(NODE).context("the first node")?;
                Ok(node.command(program)?)
            }
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Loopback => format!("router and engine as processes on {LOCALHOST}"),
            Self::Service { .. } => format!(
                "the model's Service in the local cluster (kube-proxy, a pod network), asked on {NODE}; the Python servers run on {NODE} too and are reached over its loopback"
            ),
        }
    }
}
