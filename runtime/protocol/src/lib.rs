//! The session between router and operator: generated from `proto/session.proto`, which is its documentation.
//!
//! Knows nothing about Kubernetes, routing or evidence.

/// Messages, client and server of `smallfleet.session.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_debug_implementations,
    unreachable_pub
)]
pub mod v1 {
    tonic::include_proto!("smallfleet.session.v1");
}

/// Times of the session (`rollout.md` 8), the same on both sides.
pub mod timing {
    use std::time::Duration;

    /// A route lives this long after the router sent the keep-alive that the operator echoed.
    pub const ROUTE_LEASE: Duration = Duration::from_secs(10);
    /// Routers with a stream send a keep-alive this often.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(3);
    /// Routers with a stream report counters this often.
    pub const REPORT: Duration = Duration::from_secs(1);
    /// Routers reconnect within a random part of this when they are in the wave ...
    pub const RECONNECT_JITTER_WAVE: Duration = Duration::from_secs(1);
    /// ... and of this when they are not.
    pub const RECONNECT_JITTER: Duration = Duration::from_secs(60);
    /// The operator spreads check-ins to at most this many a second over all routers ...
    pub const CHECK_INS_PER_SECOND: u32 = 50;
    /// ... with intervals within these bounds, seconds.
    pub const CHECK_IN_SECONDS_MIN: u32 = 5;
    pub const CHECK_IN_SECONDS_MAX: u32 = 300;
    /// The router asks the candidate for readiness this often; after two failures it tosses no coin.
    pub const READINESS: Duration = Duration::from_secs(2);
    pub const READINESS_FAILURES: u32 = 2;
}
