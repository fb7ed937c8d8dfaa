//! What an operator is told at its start: flags, each with an environment variable that the chart sets.

use std::net::SocketAddr;

use clap::Parser;
use smallfleet_crds::names::port;

/// The control plane of Smallfleet.
#[derive(Clone, Debug, Parser)]
#[command(name = "smallfleet-operator", version)]
pub struct Settings {
    /// Runtime image, by digest, for SmallModels that name none.
    #[arg(long, env = "SMALLFLEET_RUNTIME_IMAGE", default_value = "")]
    pub runtime_image: String,
    /// host:port at which routers reach the session server: that of the operator's Service.
    #[arg(long, env = "SMALLFLEET_SESSION_ADDRESS")]
    pub session_address: String,
    /// Namespace of the operator: of its Lease and its certificate authority.
    #[arg(long, env = "SMALLFLEET_NAMESPACE")]
    pub namespace: String,
    /// Name of the operator's pod, for events.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// Uid of the operator's pod: its identity in the Lease, so that a restarted container leads again at once.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
    /// IP of the operator's pod: where a standby sends routers when this replica leads.
    #[arg(long, env = "POD_IP")]
    pub pod_ip: String,
    /// PriorityClass of stable pods; empty for none.
    #[arg(
        long,
        env = "SMALLFLEET_STABLE_PRIORITY_CLASS",
        default_value = "smallfleet-stable"
    )]
    pub stable_priority_class: String,
    /// PriorityClass of candidate and evaluation pods; empty for none.
    #[arg(
        long,
        env = "SMALLFLEET_CANDIDATE_PRIORITY_CLASS",
        default_value = "smallfleet-candidate"
    )]
    pub candidate_priority_class: String,
    /// Log filter, such as `info` or `smallfleet_operator=debug`.
    #[arg(long, env = "SMALLFLEET_LOG", default_value = "info")]
    pub log: String,
    /// Address of `/healthz`, `/readyz` and `/metrics`, plain HTTP.
    #[arg(long, env = "SMALLFLEET_ADMIN_LISTEN", default_value_t = any(port::OPERATOR_ADMIN))]
    pub admin_listen: SocketAddr,
    /// Address of the session server, TLS.
    #[arg(long, env = "SMALLFLEET_SESSION_LISTEN", default_value_t = any(port::SESSION))]
    pub session_listen: SocketAddr,
}

impl Settings {
    /// `ip:port` of this replica's session server.
    #[must_use]
    pub fn own_session_address(&self) -> String {
        let port = self.session_listen.port();
        if self.pod_ip.contains(':') {
            format!("[{}]:{port}", self.pod_ip)
        } else {
            format!("{}:{port}", self.pod_ip)
        }
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ip(pod_ip: &str) -> Settings {
        Settings::try_parse_from([
            "smallfleet-operator",
            "--session-address=smallfleet-operator.smallfleet.svc:9443",
            "--namespace=smallfleet",
            "--pod-name=a",
            "--pod-uid=b",
            "--pod-ip",
            pod_ip,
        ])
        .unwrap()
    }

    #[test]
    fn the_own_address_can_be_dialled_in_both_families() {
        assert_eq!(with_ip("10.0.0.7").own_session_address(), "10.0.0.7:9443");
        assert_eq!(with_ip("fd00::7").own_session_address(), "[fd00::7]:9443");
    }
}
