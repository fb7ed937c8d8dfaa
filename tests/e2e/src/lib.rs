//! Shared by the demo and the end-to-end suite.

pub mod app;
pub mod fleet;
pub mod load;
pub mod manifest;
pub mod shell;
