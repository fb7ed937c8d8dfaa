//! Settings, all from the chart.

use std::net::SocketAddr;

use clap::Parser;
use smallfleet_crds::names::port;

/// The Smallfleet operator.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Runtime image for SmallModels that name none, by digest.
    #[arg(long, env = "SMALLFLEET_RUNTIME_IMAGE", default_value = "")]
    pub runtime_image: String,
    /// host:port under which routers reach the session.
    #[arg(long, env = "SMALLFLEET_SESSION_ADDRESS")]
    pub session_address: String,
    /// Namespace of this operator: its Lease and its CA are there.
    #[arg(long, env = "SMALLFLEET_NAMESPACE")]
    pub namespace: String,
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// Identity in leader election: a restarted container leads again at once.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    #[arg(long, env = "POD_IP")]
    pub pod_ip: String,
    #[arg(
        long,
        env = "SMALLFLEET_STABLE_PRIORITY_CLASS",
        default_value = "smallfleet-stable"
    )]
    pub stable_priority_class: String,
    #[arg(
        long,
        env = "SMALLFLEET_CANDIDATE_PRIORITY_CLASS",
        default_value = "smallfleet-candidate"
    )]
    pub candidate_priority_class: String,
    /// Log directives such as `info` or `smallfleet_operator=debug`.
    #[arg(long, env = "SMALLFLEET_LOG", default_value = "info")]
    pub log: String,
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], port::OPERATOR_ADMIN)))]
    pub admin_listen: SocketAddr,
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], port::SESSION)))]
    pub session_listen: SocketAddr,
}

impl Config {
    /// `ip:port` of this replica's session server.
    #[must_use]
    pub fn own_session_address(&self) -> String {
        format!("{}:{}", self.pod_ip, self.session_listen.port())
    }
}
