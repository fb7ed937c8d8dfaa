//! The plan against a model of a cluster: every transition, every edit, every fault, and the invariants under random ones.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers too

mod blame;
mod commands;
mod edits;
mod evidence;
mod faults;
mod gate;
mod install;
mod lab;
mod properties;
mod rollout;
