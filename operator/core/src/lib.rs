//! Decisions of the control plane, pure: `plan` turns a [`world::World`] into a [`action::Plan`].
//!
//! Knows nothing about clients, tasks, clocks or randomness: they are inputs, and the crate has no dependency that could do I/O.

pub mod action;
pub mod evidence;
pub mod quantity;
pub mod render;
pub mod revision;
pub mod world;
