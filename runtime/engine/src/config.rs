//! What an engine is told at start: flags, each with an environment variable (the operator sets the variables).

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// What a model is asked to do; the spelling is the API's (`spec.task`, `model.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Task {
    TextGeneration,
    TextClassification,
    TokenClassification,
    Embedding,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// 5,800 tokens of SmolLM2-135M; fits the default memory request beside the model.
pub const DEFAULT_KV_MEMORY_MIB: usize = 256;

#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Folder with model.json, the graph, the tokenizer and the golden probes; only read
    #[arg(long, env = "SMALLFLEET_MODEL_DIR", default_value = "/model")]
    pub model_dir: PathBuf,
    /// Folder shared with the router, where engine.json is written
    #[arg(long, env = "SMALLFLEET_RUN_DIR", default_value = "/run/smallfleet")]
    pub run_dir: PathBuf,
    /// Name that clients call the model by (the SmallModel's name)
    #[arg(long, env = "SMALLFLEET_MODEL_NAME")]
    pub model_name: String,
    /// Revision that is served; told in every answer
    #[arg(long, env = "SMALLFLEET_REVISION")]
    pub revision: String,
    /// Task that the SmallModel asks for; a model made for another one is refused
    #[arg(long, env = "SMALLFLEET_TASK", default_value = "TextClassification")]
    pub task: Task,
    /// Threads that one run of the model uses
    #[arg(long, env = "SMALLFLEET_THREADS", default_value = "1")]
    pub threads: NonZeroUsize,
    /// Requests worked on at a time
    #[arg(long, env = "SMALLFLEET_MAX_CONCURRENT_REQUESTS", default_value = "8")]
    pub max_concurrent_requests: NonZeroUsize,
    /// Requests that may wait for their turn; one more is answered 429
    #[arg(long, env = "SMALLFLEET_MAX_QUEUED_REQUESTS", default_value_t = 32)]
    pub max_queued_requests: usize,
    /// Seconds from a request's arrival to its answer; later it is answered 504
    #[arg(long, env = "SMALLFLEET_MAX_REQUEST_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_request_seconds: u64,
    /// Memory for keys and values of the answers that a text generator works on; less where the container's limit leaves less
    #[arg(long, env = "SMALLFLEET_KV_MEMORY_MIB", default_value_t = DEFAULT_KV_MEMORY_MIB)]
    pub kv_memory_mib: usize,
    /// Address of the HTTPS server
    #[arg(
        long = "engine-listen",
        env = "SMALLFLEET_ENGINE_LISTEN",
        default_value = "0.0.0.0:8443"
    )]
    pub listen: SocketAddr,
    /// ONNX Runtime's library (libonnxruntime.so of version 1.31 or later)
    #[arg(long = "onnxruntime", env = "ORT_DYLIB_PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// File that a failure is written to for the kubelet; ignored where it cannot be written
    #[arg(
        long,
        env = "SMALLFLEET_TERMINATION_LOG",
        default_value = "/dev/termination-log"
    )]
    pub termination_log: PathBuf,
}

impl Config {
    pub fn max_request(&self) -> Duration {
        Duration::from_secs(self.max_request_seconds)
    }
}
