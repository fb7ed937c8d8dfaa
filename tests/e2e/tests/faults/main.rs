//! Faults on the cluster (`rollout.md` 5 and 6): while an application on every node checks every answer, something is killed, cut
//! off or taken away. No request fails that had a path (`path`), and the verdict is the one without the fault, or says why not.
//!
//! `make e2e-faults` brings the cluster up, runs this with one thread, and takes the cluster down. `STORY=name` runs some.

mod audit;
#[path = "../stories/common.rs"]
#[allow(dead_code, reason = "the other suite uses the rest of it")]
mod common;
mod control_plane;
mod nodes;
mod operators;
mod path;
mod pods;
mod trial;
