//! The engine thread: owns the session, takes jobs from a bounded channel, answers through each job's own channel.
//!
//! Texts are tokenised here too, off the async threads: it costs 1-3 % of a run, and both arms pay it in the same place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::batch::Pending;
use super::desk::Desk;
use crate::artifact::Artifact;
use crate::config::Config;
use crate::metrics::{Metrics, Stage};
use crate::model::{Classifier, MAX_BATCH_TEXTS, Tokens};
use crate::state::{Failure, FailureReason};

/// A request for the model. Has at least one text.
#[derive(Debug)]
pub struct Job {
    pub texts: Vec<String>,
    pub queued_at: Instant,
    /// Not begun after this time.
    pub deadline: Instant,
    pub answer: oneshot::Sender<Result<Answer, WorkError>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// One a text, in order.
    pub predictions: Vec<crate::model::Prediction>,
    /// At least one text was longer than the model reads.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    #[error("the model failed: {0}")]
    Model(String),
}

/// A model that is ready to take jobs. When the last clone of `jobs` is gone the thread ends.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub labels: Arc<[String]>,
    pub jobs: mpsc::Sender<Job>,
    pub progress: Arc<Progress>,
}

/// Since when the thread has been in one run of the model: tells a stuck engine from a busy one.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    /// Milliseconds after `started`, plus 1; 0 when no run is under way.
    run_began: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            run_began: AtomicU64::new(0),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn begin_run(&self) {
        self.run_began.store(self.millis() + 1, Ordering::Relaxed);
    }

    fn end_run(&self) {
        self.run_began.store(0, Ordering::Relaxed);
    }

    /// How long the current run has taken so far; zero when none is under way.
    pub fn current_run(&self) -> Duration {
        match self.run_began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_millis((self.millis() + 1).saturating_sub(began)),
        }
    }
}

/// The two moments the rest of the engine waits for.
pub struct Started {
    /// The model is ready, or cannot be made so.
    pub loaded: oneshot::Receiver<Result<Loaded, Failure>>,
    /// Ends (with an error) when the thread does: by its own will after the last job, or by a panic.
    pub alive: oneshot::Receiver<std::convert::Infallible>,
}

/// Starts the thread; it loads the model first.
pub fn start(config: &Config, metrics: &Arc<Metrics>) -> std::io::Result<Started> {
    let (config, metrics) = (config.clone(), Arc::clone(metrics));
    let (loaded_sender, loaded) = oneshot::channel();
    let (alive_sender, alive) = oneshot::channel();
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let _alive = alive_sender;
            match load(&config) {
                Ok(classifier) => announce_and_work(classifier, &config, &metrics, loaded_sender),
                // Nobody listens when the engine is being stopped while it loads.
                Err(failure) => drop(loaded_sender.send(Err(failure))),
            }
        })?;
    Ok(Started { loaded, alive })
}

fn load(config: &Config) -> Result<Classifier, Failure> {
    let library = config.onnxruntime.as_deref().ok_or_else(|| Failure {
        reason: FailureReason::LoadFailed,
        message:
            "ORT_DYLIB_PATH is not set: point it at libonnxruntime.so of version 1.31 or later"
                .into(),
    })?;
    let artifact = Artifact::open(&config.model_dir, config.task)?;
    Ok(Classifier::load(artifact, library, config.threads.get())?)
}

fn announce_and_work(
    classifier: Classifier,
    config: &Config,
    metrics: &Metrics,
    announce: oneshot::Sender<Result<Loaded, Failure>>,
) {
    // Admission lets no more than this in; the bound is the second line.
    let (sender, jobs) = mpsc::channel(config.max_concurrent_requests.get());
    let progress = Arc::new(Progress::new());
    let labels = classifier.labels().into();
    let loaded = Loaded {
        labels,
        jobs: sender,
        progress: Arc::clone(&progress),
    };
    if announce.send(Ok(loaded)).is_ok() {
        Worker {
            classifier,
            metrics,
            progress: &progress,
            desk: Desk::default(),
        }
        .work(jobs);
    }
}

struct Worker<'a> {
    classifier: Classifier,
    metrics: &'a Metrics,
    progress: &'a Progress,
    desk: Desk,
}

impl Worker<'_> {
    /// Until no sender is left.
    fn work(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            if self.desk.is_empty() {
                let Some(job) = jobs.blocking_recv() else {
                    return;
                };
                self.take(job);
            }
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            self.desk.drop_abandoned(Instant::now());
            let batch = self.desk.next_batch(MAX_BATCH_TEXTS);
            if !batch.is_empty() {
                self.run(&batch);
            }
        }
    }

    fn take(&mut self, job: Job) {
        if job.answer.is_closed() || job.deadline <= Instant::now() {
            return;
        }
        self.metrics.observe(Stage::Queue, job.queued_at.elapsed());
        let began = Instant::now();
        let tokens: Result<Vec<Tokens>, _> = job
            .texts
            .iter()
            .map(|text| self.classifier.encode(text))
            .collect();
        self.metrics.observe(Stage::Tokenize, began.elapsed());
        match tokens {
            Ok(tokens) => self.desk.take(job, tokens),
            // The client may have left meanwhile.
            Err(error) => drop(job.answer.send(Err(WorkError::Model(error.to_string())))),
        }
    }

    fn run(&mut self, batch: &[Pending]) {
        let texts: Vec<&Tokens> = batch.iter().map(|text| self.desk.tokens(text)).collect();
        self.progress.begin_run();
        let began = Instant::now();
        let result = self.classifier.run(&texts);
        self.metrics.observe(Stage::Run, began.elapsed());
        self.metrics.observe_batch(batch.len());
        self.progress.end_run();
        match result {
            Ok(predictions) => self.desk.book(batch, predictions),
            Err(error) => {
                tracing::error!(%error, "the model failed");
                self.desk.fail(batch, &error.to_string());
            }
        }
    }
}
