//! The engine: a complete HTTPS server for one small model on ONNX Runtime.
//!
//! ```text
//! server -> http (protocols) -> work (queue, batches, engine thread) -> model (tokenizer, session) <- artifact (folder)
//! ```
//! It knows nothing about rollouts, arms and Kubernetes: any server with the same API could stand in its place.

mod artifact;
mod config;
mod http;
mod identity;
mod metrics;
mod model;
mod node;
mod proc;
mod run;
mod server;
mod state;
mod work;

pub use artifact::task_of;
pub use config::{Config, DEFAULT_KV_MEMORY_MIB, Task};
pub use node::node_class;
pub use run::{Engine, EngineError, run};
pub use state::{EngineState, Failure, FailureReason, Phase, STATE_FILE, StateError};
