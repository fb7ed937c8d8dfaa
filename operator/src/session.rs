//! The session with the routers: who they are (`token`), over which TLS (`authority`), what they say (`hub`), on the wire (`server`).

mod authority;
mod counts;
mod exposure;
mod hub;
mod router;
mod server;
mod token;
mod wire;

use smallfleet_core::world::Role;

pub use authority::{Authority, AuthorityError};
pub use hub::{Hub, Inbox};
pub use server::{ServeError, serve, serve_on};

/// Namespace and name of a SmallModel.
pub type ModelKey = (String, String);

/// What is known of a pod that a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    pub name: String,
    /// Name of the SmallModel that owns it, itself or through its DaemonSet.
    pub model: String,
    pub role: Role,
    pub node: String,
    /// Empty until the kubelet has told it.
    pub ip: String,
    pub deleting: bool,
}

/// Finds pods by uid; only those that a SmallModel owns.
pub trait PodLookup: Send + Sync + 'static {
    fn find(&self, namespace: &str, pod_uid: &str) -> Option<PodIdentity>;
}
