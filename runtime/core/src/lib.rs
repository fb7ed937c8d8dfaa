//! The data plane's decisions as values: coin, route and lease, counters.
//!
//! **Pure.** Time is an input (`Duration` since the process started, monotonic), randomness is an input, and there is no
//! I/O, no task and no lock in here. Knows nothing about HTTP, gRPC or Kubernetes.

mod arm;
pub mod coin;
pub mod counters;
pub mod histogram;
pub mod lease;
pub mod route;

pub use arm::{Arm, PerArm};
