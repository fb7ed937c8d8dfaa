//! Shared by the demo and the end-to-end suite.

pub mod app;
pub mod audit;
pub mod chat;
pub mod fleet;
pub mod lab;
pub mod load;
pub mod manifest;
pub mod pace;
pub mod process;
pub mod shell;
pub mod story;
