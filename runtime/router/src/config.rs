//! What a router is told at start: flags, each with an environment variable (the operator sets the variables).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use smallfleet_protocol::timing;

/// Port of the engine in every runtime pod.
pub const ENGINE_PORT: u16 = 8443;

/// What this pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Role {
    /// Serves its node; the only one that tosses coins.
    Stable,
    /// Holds a revision on trial; its router only reports.
    Candidate,
}

/// Settings of the router.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// What this pod is for
    #[arg(long, env = "SMALLFLEET_ROLE", default_value = "Stable")]
    pub role: Role,
    /// Address that applications call
    #[arg(long, env = "SMALLFLEET_FRONT_LISTEN", default_value = "0.0.0.0:8080")]
    pub front_listen: SocketAddr,
    /// Address of health checks and metrics
    #[arg(long, env = "SMALLFLEET_ADMIN_LISTEN", default_value = "0.0.0.0:8081")]
    pub admin_listen: SocketAddr,
    /// Who this pod is
    #[command(flatten)]
    pub pod: Pod,
    /// What a request may take
    #[command(flatten)]
    pub limits: Limits,
    /// Folder shared with the engine, where it writes engine.json
    #[arg(long, env = "SMALLFLEET_RUN_DIR", default_value = "/run/smallfleet")]
    pub run_dir: PathBuf,
    /// Folder with ca.crt and the operator's address; without it the router serves on its own
    #[arg(long, env = "SMALLFLEET_SESSION_DIR")]
    pub session_dir: Option<PathBuf>,
    /// This pod's token for the operator
    #[arg(
        long,
        env = "SMALLFLEET_TOKEN_FILE",
        default_value = "/var/run/secrets/smallfleet/token"
    )]
    pub token_file: PathBuf,
    /// Intervals; only tests change them
    #[arg(skip)]
    pub timing: Timing,
}

/// Who a pod is; from the downward API.
#[derive(Debug, Clone, Args)]
pub struct Pod {
    /// Pod name
    #[arg(long = "pod-name", env = "POD_NAME", default_value = "")]
    pub name: String,
    /// Pod namespace
    #[arg(long = "pod-namespace", env = "POD_NAMESPACE", default_value = "")]
    pub namespace: String,
    /// Pod uid
    #[arg(long = "pod-uid", env = "POD_UID", default_value = "")]
    pub uid: String,
    /// Pod address: both arms are reached through pod addresses, so that their paths are equal
    #[arg(long = "pod-ip", env = "POD_IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub ip: IpAddr,
    /// Port of the engine
    #[arg(long, env = "SMALLFLEET_ENGINE_PORT", default_value_t = ENGINE_PORT)]
    pub engine_port: u16,
    /// Node name; told in every answer
    #[arg(long, env = "NODE_NAME", default_value = "localhost")]
    pub node: String,
    /// The SmallModel's name
    #[arg(long, env = "SMALLFLEET_MODEL_NAME", default_value = "")]
    pub model_name: String,
    /// The revision of this pod
    #[arg(long, env = "SMALLFLEET_REVISION", default_value = "")]
    pub revision: String,
}

impl Pod {
    /// Where this pod's engine listens.
    #[must_use]
    pub fn engine_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.engine_port)
    }
}

/// Limits of the requests, the same for both arms.
#[derive(Debug, Clone, Copy, Args)]
pub struct Limits {
    /// Requests that an arm works on at a time
    #[arg(long, env = "SMALLFLEET_MAX_CONCURRENT_REQUESTS", default_value = "8")]
    pub max_concurrent_requests: NonZeroUsize,
    /// Requests that may wait for an arm; one more is answered 429
    #[arg(long, env = "SMALLFLEET_MAX_QUEUED_REQUESTS", default_value_t = 32)]
    pub max_queued_requests: usize,
    /// Seconds that a request may take
    #[arg(long, env = "SMALLFLEET_MAX_REQUEST_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub max_request_seconds: u64,
}

impl Limits {
    /// From the arrival of a request's last byte to the last byte of its answer.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.max_request_seconds)
    }

    /// A candidate that has not begun to answer after half of the deadline leaves the other half to stable. The unit of either
    /// arm ends badly then.
    #[must_use]
    pub fn rescue(&self) -> Duration {
        self.deadline() / 2
    }
}

/// Intervals of the router's own work.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Keep-alives of a stream.
    pub keep_alive: Duration,
    /// Reports of a stream.
    pub report: Duration,
    /// A stream without a message for this long is given up.
    pub stream_silence: Duration,
    /// Waiting time before the first retry, and before coming back to a stream while a route is held.
    pub reconnect_jitter: Duration,
    /// The longest waiting time between retries.
    pub backoff_max: Duration,
    /// Least time between two check-ins.
    pub check_in_min: Duration,
    /// Readiness checks of both engines.
    pub readiness: Duration,
    /// Looks at engine.json.
    pub engine_file: Duration,
    /// Least age at which a client's connection is closed, with an answer; at most twice this.
    pub connection_age: Duration,
    /// After SIGTERM, new connections are still taken for this long: Services need the time to leave this pod out.
    pub drain_accept: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            keep_alive: timing::KEEP_ALIVE,
            report: timing::REPORT,
            stream_silence: timing::ROUTE_LEASE,
            reconnect_jitter: timing::RECONNECT_JITTER_WAVE,
            backoff_max: timing::RECONNECT_JITTER,
            check_in_min: Duration::from_secs(1),
            readiness: timing::READINESS,
            engine_file: Duration::from_millis(200),
            connection_age: Duration::from_secs(60),
            drain_accept: Duration::from_secs(5),
        }
    }
}
