//! Shared by the demo and the end-to-end suite.

pub mod load;
