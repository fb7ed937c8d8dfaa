//! The router: the reverse proxy in front of the engines of a node.
//!
//! ```text
//! front (HTTP, decide, fall back, stream) -> engine (pinned TLS, pools) -> engine A, engine B
//!    |                                          |
//!    +---------------> plane <------------------+        plane: route, counters, queues (the pure core plus a clock)
//!                        ^
//!                        +--- session (check-in, stream, lease, reports) <-> operator
//! ```
//! **Serving never depends on the session.** Knows nothing about models, protocols' bodies and Kubernetes.

mod admin;
pub mod config;
pub mod engine;
pub mod evaluate;
pub mod front;
pub mod metrics;
pub mod plane;
pub mod queue;
mod run;
pub mod session;

pub use config::{Config, Limits, Pod, Role, Timing};
pub use run::{Router, StartError, run};
