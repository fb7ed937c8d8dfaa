//! Shared by the demo and the end-to-end suite.

pub mod fleet;
pub mod load;
pub mod shell;
