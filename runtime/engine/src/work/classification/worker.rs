//! The engine thread's work on a classifier: takes jobs from a bounded channel, answers through each job's own channel.
//!
//! Texts are tokenised here too, off the async threads: it costs 1-3 % of a run, and both arms pay it in the same place.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::batch::Pending;
use super::desk::Desk;
use crate::metrics::{Metrics, Stage};
use crate::model::{Classifier, MAX_BATCH_TEXTS, Tokens};
use crate::work::WorkError;
use crate::work::progress::Progress;

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

/// Where the jobs of a loaded classifier go.
#[derive(Debug, Clone)]
pub struct ClassifierDesk {
    pub labels: Arc<[String]>,
    pub jobs: mpsc::Sender<Job>,
}

pub struct Worker<'a> {
    classifier: Classifier,
    metrics: &'a Metrics,
    progress: &'a Progress,
    desk: Desk,
}

impl<'a> Worker<'a> {
    pub fn new(classifier: Classifier, metrics: &'a Metrics, progress: &'a Progress) -> Self {
        Self {
            classifier,
            metrics,
            progress,
            desk: Desk::default(),
        }
    }

    /// Until no sender is left.
    pub fn work(mut self, mut jobs: mpsc::Receiver<Job>) {
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
