//! A real Kubernetes of several nodes on one plain Linux machine: kube-apiserver, etcd, scheduler and
//! controller manager, and for every node a kubelet, containerd and kube-proxy in namespaces of its own.
//! No container engine and no image registry is needed: the programs are built once from pinned Go
//! modules, and images are written as OCI layouts and pushed to a registry on the cluster's bridge.
//!
//! ```no_run
//! use smallfleet_cluster::{Cluster, Layout, Progress};
//!
//! let layout = Layout::from_environment()?;
//! let cluster = Cluster::up(&layout, 3, &Progress::shown())?;
//! println!("{}", cluster.kubectl(&["get", "nodes"])?);
//! Cluster::down(&layout)?;
//! # Ok::<(), smallfleet_cluster::Error>(())
//! ```

mod address;
mod binaries;
mod certs;
mod cgroups;
mod cleanup;
mod cluster;
mod command;
mod component;
mod containerd;
mod control_plane;
mod debian;
mod dns;
mod error;
mod firewall;
mod holder;
mod host;
pub mod images;
mod kubeconfig;
mod kubelet;
mod layout;
mod network;
mod node;
pub mod oci;
pub mod onnxruntime;
mod packages;
mod pins;
mod process;
mod progress;
mod registry;
mod start;
mod toolchain;

pub use address::{BRIDGE_ADDRESS, NODES_MAX, NodeId, REGISTRY, REGISTRY_ADDRESS};
pub use cluster::Cluster;
pub use component::Component;
pub use error::{Error, Result};
pub use host::{Cgroups, Host, Snapshotter};
pub use layout::Layout;
pub use nix::sys::signal::Signal;
pub use node::Node;
pub use progress::Progress;
pub use registry::PushedImage;

/// Builds the cluster's programs where they are absent, and installs the Debian packages they need.
pub fn build(layout: &Layout, progress: &Progress) -> Result<()> {
    packages::ensure(progress)?;
    binaries::ensure(layout, progress).map(|_| ())
}

/// `name version` of every component and Debian package in use.
pub fn versions() -> Vec<String> {
    let mut versions = binaries::versions();
    versions.extend(packages::versions());
    versions
}
