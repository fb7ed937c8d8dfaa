//! The end-to-end suite: every story runs on the local cluster, in a namespace of its own, against the installed chart.
//!
//! `make e2e` (part of `make test`) brings the cluster up, runs this with one thread, and takes the cluster down.

mod bad_input;
mod common;
mod edits;
mod equal;
mod faults;
mod fuzz;
mod generation;
mod main_job;
