//! `evaluate`: asks the own engine about every example of a labelled set and says which answers were right.
//!
//! The result is one bit per example, in the termination message: at most 4,096 bytes of a kubelet's memory hold it.

mod ask;
mod dataset;
mod outcome;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use smallfleet_engine::Phase;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

use self::dataset::Dataset;
use self::outcome::{Failure, Reason, Verdict};
use crate::config::{Limits, Pod, Timing};
use crate::engine::EngineClient;
use crate::engine::own::{Follower, Own};

/// Settings of an evaluation.
#[derive(Debug, Clone, Args)]
pub struct EvaluateConfig {
    /// Folder with dataset.json and the examples
    #[arg(long, env = "SMALLFLEET_DATASET_DIR", default_value = "/dataset")]
    pub dataset_dir: PathBuf,
    /// Digest of the dataset's image; told in the result
    #[arg(long, env = "SMALLFLEET_DATASET_DIGEST", default_value = "")]
    pub dataset_digest: String,
    /// Seconds that the engine may take to become ready
    #[arg(
        long,
        env = "SMALLFLEET_CANDIDATE_READY_SECONDS",
        default_value_t = 600
    )]
    pub ready_seconds: u64,
    /// Folder shared with the engine, where it writes engine.json
    #[arg(long, env = "SMALLFLEET_RUN_DIR", default_value = "/run/smallfleet")]
    pub run_dir: PathBuf,
    /// File that the result is written to, for the kubelet
    #[arg(
        long,
        env = "SMALLFLEET_TERMINATION_LOG",
        default_value = "/dev/termination-log"
    )]
    pub termination_log: PathBuf,
    /// Who this pod is
    #[command(flatten)]
    pub pod: Pod,
    /// What a request may take
    #[command(flatten)]
    pub limits: Limits,
}

/// Why an evaluation has no result. The process should exit with code 1.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Also in the termination log.
    #[error("{0}")]
    Failed(String),
    /// The result is lost.
    #[error("cannot write the result to {}: {source}", path.display())]
    Write {
        /// The termination log.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
}

/// Evaluates and writes the result, or why there is none, to the termination log.
pub async fn run(config: EvaluateConfig) -> Result<(), EvaluateError> {
    let result = evaluate(&config).await;
    let message = match &result {
        Ok(verdict) => serde_json::to_vec(verdict),
        Err(failure) => serde_json::to_vec(failure),
    };
    let message = message.expect("structs of strings and numbers serialise");
    let path = &config.termination_log;
    std::fs::write(path, message).map_err(|source| EvaluateError::Write {
        path: path.clone(),
        source,
    })?;
    match result {
        Ok(_) => Ok(()),
        Err(failure) => Err(EvaluateError::Failed(failure.to_string())),
    }
}

async fn evaluate(config: &EvaluateConfig) -> Result<Verdict, Failure> {
    let dataset = Dataset::read(&config.dataset_dir)?;
    info!(
        examples = dataset.examples.len(),
        "the dataset is read; waiting for the engine"
    );
    let (follower, own) = Follower::new(
        config.run_dir.clone(),
        &config.pod,
        &config.limits,
        Timing::default(),
    );
    let following = tokio::spawn(follower.run());
    let result = with_engine(config, &dataset, own.watch()).await;
    following.abort();
    result
}

async fn with_engine(
    config: &EvaluateConfig,
    dataset: &Dataset,
    mut own: watch::Receiver<Own>,
) -> Result<Verdict, Failure> {
    let limit = Duration::from_secs(config.ready_seconds);
    let engine = timeout(limit, ready(&mut own)).await.unwrap_or_else(|_| {
        let message = format!("the engine was not ready within {} s", config.ready_seconds);
        Err(Failure::new(Reason::EvaluationFailed, &message))
    })?;
    info!(node_class = engine.node_class, "the engine is ready");
    // An engine that fails now ends the evaluation with its own reason, not with broken connections.
    let right = tokio::select! {
        right = ask::all(&engine.client, dataset, &config.limits) => right?,
        failure = failed(&mut own) => return Err(failure),
    };
    let share = right.iter().filter(|right| **right).count();
    info!(examples = right.len(), right = share, "evaluated");
    Ok(Verdict::new(
        &config.dataset_digest,
        engine.node_class,
        &right,
    ))
}

struct Engine {
    client: Arc<EngineClient>,
    node_class: String,
}

/// Waits until the engine is ready or has failed.
async fn ready(own: &mut watch::Receiver<Own>) -> Result<Engine, Failure> {
    let decided = own.wait_for(|own| matches!(phase(own), Some(Phase::Ready | Phase::Failed)));
    let own = decided.await.map_err(|_| lost())?.clone();
    match (own.state, own.client) {
        (Some(state), Some(client)) if state.state == Phase::Ready => Ok(Engine {
            client,
            node_class: state.node_class,
        }),
        (Some(state), _) => Err(Failure::of_engine(&state)),
        (None, _) => Err(lost()),
    }
}

/// Waits until the engine is no longer what it was when it became ready.
async fn failed(own: &mut watch::Receiver<Own>) -> Failure {
    let gone = own.wait_for(|own| phase(own) != Some(Phase::Ready) || own.restarts > 0);
    match gone.await {
        Ok(own) => own.state.as_ref().map_or_else(lost, Failure::of_engine),
        Err(_) => lost(),
    }
}

fn phase(own: &Own) -> Option<Phase> {
    own.state.as_ref().map(|state| state.state)
}

fn lost() -> Failure {
    Failure::new(
        Reason::EvaluationFailed,
        "the engine's state is not known any more",
    )
}
