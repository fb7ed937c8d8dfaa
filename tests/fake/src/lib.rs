//! Tests of the whole operator without a cluster: a Kubernetes API server in memory (`server`), held against the real one by the
//! table of `cases`, and on it the operator's own loop among simulated nodes and routers (`lab`), told whole rollouts (`story`).

pub mod cases;
pub mod lab;
pub mod mutate;
pub mod server;
pub mod story;
