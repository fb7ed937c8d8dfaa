//! The control plane: everything that talks to the API server, the routers and the clock. Decisions are in `smallfleet-core`.
//!
//! `lease` says who leads; `caches` keeps what the API server has; `controller` calls, for each SmallModel that something happened
//! to, `observe` (build the World), `smallfleet_core::plan` and `apply` (carry the Plan out, action by action).

pub mod admin;
pub mod apply;
pub mod caches;
pub mod config;
pub mod controller;
pub mod error;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod reservations;
pub mod session;
