//! What a user of the crate relies on, by its public interface.
#![allow(
    clippy::unwrap_used,
    reason = "all of it is test code; the lint's own exception covers #[test] functions only"
)]

mod controls;
mod gate;
mod persistence;
mod properties;
mod simulation;
mod traffic;
mod verdict;
