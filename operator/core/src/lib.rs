//! Decisions of the control plane, pure: `plan` turns a [`world::World`] into a [`action::Plan`].
//!
//! Knows nothing about clients, tasks, clocks or randomness: they are inputs, and the crate has no dependency that could do I/O.

pub mod action;
pub mod constants;
pub mod evidence;
pub mod quantity;
pub mod render;
pub mod revision;
pub mod world;

mod desired;
mod draft;
mod faults;
mod fleet;
mod gate;
mod health;
mod install;
mod look;
mod objects;
mod placement;
mod plan;
mod problem;
mod rest;
mod rollout;
mod routes;
mod settings;
mod status;
mod thresholds;
mod validate;
mod wave;

pub use health::{Health, health};
pub use plan::plan;
pub use routes::{lowered, routes};
