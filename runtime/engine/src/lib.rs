//! The engine: a complete HTTPS server for one small model on ONNX Runtime.
//!
//! It knows nothing about rollouts, arms and Kubernetes: any server with the same API could stand in its place.

mod node;
mod state;

pub use node::node_class;
pub use state::{EngineState, Failure, FailureReason, Phase, STATE_FILE, StateError};
