//! How many requests a verdict takes on the live cluster: `slow` found, an equal revision promoted; and how often an equal
//! revision is rolled back.
//!
//! One SmallModel on each node, so that as many rollouts as possible go on at once, each with its own load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::load::Record;

use crate::records::{self, Records};
use crate::results::Table;
use crate::site::{self, Rate, Site};
use crate::stats;

/// Share of the machine's cores that requests take. Busy engines have queues, and a coin's runs make a queue longer: what is
/// promised of engines that bear their load is not measured on others.
const BUSY: f64 = 0.2;
/// A rollout without a verdict for this long counts as undecided.
const LIMIT: Duration = Duration::from_secs(900);
const BROKEN_MAX: usize = 5;
pub const PROMOTED: &str = "Promoted";
pub const UNDECIDED: &str = "Undecided";

#[derive(Args, Clone, Debug)]
pub struct EvidenceArguments {
    /// Rollouts of `slow`
    #[arg(long, default_value_t = 5)]
    slow: usize,
    /// Rollouts of an equal revision
    #[arg(long, default_value_t = 20)]
    equal: usize,
    /// Requests a second on each model's node; by itself what the machine bears
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Args, Clone, Debug)]
pub struct EqualArguments {
    /// Rollouts of an equal revision
    #[arg(long, default_value_t = 100)]
    runs: usize,
    /// Requests a second on each model's node, on average; by itself what the machine bears
    #[arg(long)]
    rate: Option<f64>,
    /// Share by which the rate swings up and down
    #[arg(long, default_value_t = 0.6)]
    swing: f64,
    /// Seconds of one swing
    #[arg(long, default_value_t = 20.0)]
    swing_seconds: f64,
}

/// Requests to a verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    pub rate: Rate,
    pub models_at_once: usize,
    pub slow: Vec<Run>,
    pub equal: Vec<Run>,
    pub broken: Vec<String>,
}

impl Table for Evidence {
    const NAME: &'static str = "evidence";
}

/// A/A.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Equal {
    pub rate: Rate,
    pub models_at_once: usize,
    pub runs: Vec<Run>,
    pub broken: Vec<String>,
}

impl Table for Equal {
    const NAME: &'static str = "equal";
}

/// One rollout.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// [`PROMOTED`], [`UNDECIDED`], or the reason of the refusal.
    pub outcome: String,
    /// Of the refusal, in words.
    pub effect: String,
    /// Units of the latency objective that were counted, both arms.
    pub units: u64,
    /// Requests on the model's node from the candidate's first answer to the verdict, both arms, those of the burn-in too.
    pub requests: usize,
    /// From the candidate's first request to the verdict.
    pub seconds: f64,
    /// Highest evidence of harm of any objective that was seen (natural logarithm), and its threshold.
    pub peak_log_e: f64,
    pub threshold: f64,
    /// Median latencies, milliseconds.
    pub stable_p50: f64,
    pub candidate_p50: f64,
    /// Requests without a good answer.
    pub failed: usize,
    /// Of these, those that were told to come back because the queue was full (429).
    #[serde(default)]
    pub queue_full: usize,
}

/// Measures how many requests both verdicts take.
///
/// # Errors
/// When the cluster is not up, or too many runs come to nothing.
pub async fn evidence(arguments: EvidenceArguments) -> Result<Evidence> {
    let (namespace, said) = (site::namespace::EVIDENCE, arguments.rate);
    let mut bench = Bench::start(namespace, said, BUSY, Rate::constant).await?;
    let slow = bench.runs("slow", arguments.slow).await?;
    let equal = bench.runs("good", arguments.equal).await?;
    let models_at_once = bench.workers.len();
    Ok(Evidence {
        rate: bench.rate,
        models_at_once,
        slow,
        equal,
        broken: bench.end()?,
    })
}

/// Rolls equal revisions out.
///
/// # Errors
/// As [`evidence`].
pub async fn equal(arguments: EqualArguments) -> Result<Equal> {
    let swinging = |mean| Rate {
        mean,
        swing: arguments.swing,
        swing_seconds: arguments.swing_seconds,
    };
    // The peaks take what a constant load would.
    let busy = BUSY / (1.0 + arguments.swing);
    let (namespace, said) = (site::namespace::EQUAL, arguments.rate);
    let mut bench = Bench::start(namespace, said, busy, swinging).await?;
    let runs = bench.runs("good", arguments.runs).await?;
    let models_at_once = bench.workers.len();
    Ok(Equal {
        rate: bench.rate,
        models_at_once,
        runs,
        broken: bench.end()?,
    })
}

struct Bench {
    namespace: &'static str,
    rate: Rate,
    workers: Vec<Worker>,
    broken: Vec<String>,
}

/// A SmallModel under load.
struct Worker {
    site: Site,
    records: Records,
    /// Of the last revision that was asked for.
    number: usize,
}

impl Bench {
    async fn start(
        namespace: &'static str,
        said: Option<f64>,
        busy: f64,
        rate: impl Fn(f64) -> Rate,
    ) -> Result<Self> {
        let lab = site::lab()?;
        let sites = Site::one_on_each_node(&lab, namespace, 5).await?;
        let rate = rate(Site::rate(&sites, said, busy).await?);
        let mut workers = Vec::new();
        for site in sites {
            let records = site.start_load(rate).await?;
            workers.push(Worker {
                site,
                records,
                number: 0,
            });
        }
        Ok(Self {
            namespace,
            rate,
            workers,
            broken: Vec::new(),
        })
    }

    /// So many rollouts of a model, shared among the workers.
    async fn runs(&mut self, image: &'static str, wanted: usize) -> Result<Vec<Run>> {
        let taken = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for worker in self.workers.drain(..) {
            tasks.spawn(worker.work(image, wanted, Arc::clone(&taken)));
        }
        let mut runs = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (worker, of_worker, broken) = ended?;
            self.workers.push(worker);
            runs.extend(of_worker);
            self.broken.extend(broken);
        }
        if self.broken.len() > BROKEN_MAX {
            bail!("too many runs came to nothing: {:?}", self.broken);
        }
        Ok(runs)
    }

    /// Removes the models; what went wrong.
    fn end(self) -> Result<Vec<String>> {
        if let Some(worker) = self.workers.first() {
            worker.site.lab.delete_namespace(self.namespace)?;
        }
        Ok(self.broken)
    }
}

impl Worker {
    /// Takes runs until all are taken, or two in a row came to nothing.
    async fn work(
        mut self,
        image: &'static str,
        wanted: usize,
        taken: Arc<AtomicUsize>,
    ) -> (Self, Vec<Run>, Vec<String>) {
        let (mut runs, mut broken, mut in_a_row) = (Vec::new(), Vec::new(), 0);
        while in_a_row < 2 {
            let index = taken.fetch_add(1, Ordering::Relaxed);
            if index >= wanted {
                break;
            }
            match self.one_run(image).await {
                Ok(run) => {
                    let place = format!("{image} {}/{wanted}, {}", index + 1, self.site.model);
                    println!("{place}: {}", run.describe());
                    runs.push(run);
                    in_a_row = 0;
                }
                Err(error) => {
                    println!("{}: {error:#}", self.site.model);
                    broken.push(format!("{error:#}"));
                    in_a_row += 1;
                }
            }
        }
        (self, runs, broken)
    }

    async fn one_run(&mut self, image: &str) -> Result<Run> {
        self.number += 1;
        self.records.forget().await?;
        let before = id(&self.site.fleet.status(&self.site.model).await?);
        self.site.apply(image, self.number).await?;
        let mut watch = Watch::new(before);
        let ended = self
            .site
            .wait("decided", LIMIT, |status| watch.look(status))
            .await;
        let decided = watch.decided.unwrap_or_else(now_milliseconds);
        let records = self.records.read().await?;
        let mut run = read_off(records, decided);
        match ended {
            Ok(status) => watch.complete(&mut run, &status),
            Err(_) if records::of_arm(records, "candidate").next().is_some() => {
                run.outcome = UNDECIDED.to_owned();
            }
            Err(error) => return Err(error),
        }
        Ok(run)
    }
}

/// Follows one rollout to its end.
struct Watch {
    /// rolloutID of the one before.
    before: String,
    /// When the verdict was seen, milliseconds since the Unix epoch.
    decided: Option<u64>,
    peak_log_e: f64,
    threshold: f64,
    units: u64,
}

impl Watch {
    fn new(before: String) -> Self {
        Self {
            before,
            decided: None,
            peak_log_e: f64::NEG_INFINITY,
            threshold: 0.0,
            units: 0,
        }
    }

    /// Whether it is over: the verdict is known and carried out.
    fn look(&mut self, status: &SmallModelStatus) -> bool {
        let id = id(status);
        if id.is_empty() || id == self.before {
            return false;
        }
        self.note_evidence(status);
        let state = status.rollout.as_ref().map(|rollout| rollout.state);
        let is_decided = matches!(
            state,
            None | Some(
                RolloutState::Promoting | RolloutState::RollingBack | RolloutState::RolledBack
            )
        );
        if is_decided && self.decided.is_none() {
            self.decided = Some(decided_milliseconds(status));
        }
        matches!(state, None | Some(RolloutState::RolledBack))
    }

    fn note_evidence(&mut self, status: &SmallModelStatus) {
        let objectives = status
            .analysis
            .iter()
            .flat_map(|analysis| &analysis.objectives);
        for objective in objectives {
            let number = |text: &str| text.parse::<f64>().ok();
            if let Some(log_e) = number(&objective.log_e)
                && log_e > self.peak_log_e
            {
                self.peak_log_e = log_e;
                self.threshold = number(&objective.threshold).unwrap_or(0.0);
            }
            if objective.name == "latency" {
                self.units = objective.units.stable + objective.units.candidate;
            }
        }
    }

    fn complete(&self, run: &mut Run, status: &SmallModelStatus) {
        let rollout = status.rollout.as_ref();
        match rollout.and_then(|rollout| rollout.refusal.as_ref()) {
            Some(refusal) => {
                run.outcome.clone_from(&refusal.reason);
                run.effect.clone_from(&refusal.effect);
            }
            // `Promoted`, or `Superseded` where someone edited spec meanwhile.
            None => {
                let last = status.last_rollout.as_ref();
                run.outcome = last.map_or_else(String::new, |last| last.outcome.clone());
            }
        }
        run.units = self.units;
        run.peak_log_e = self.peak_log_e.max(-99.0);
        run.threshold = self.threshold;
    }
}

/// The rollout in progress, else the last one.
fn id(status: &SmallModelStatus) -> String {
    let current = status.rollout.as_ref().map(|rollout| &rollout.id);
    let last = status.last_rollout.as_ref().map(|rollout| &rollout.id);
    current.or(last).cloned().unwrap_or_default()
}

/// The operator's own time where it says one, else now.
fn decided_milliseconds(status: &SmallModelStatus) -> u64 {
    let refusal = status
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.refusal.as_ref());
    let at = refusal.and_then(|refusal| refusal.at.as_ref());
    at.and_then(|at| u64::try_from(at.0.as_millisecond()).ok())
        .unwrap_or_else(now_milliseconds)
}

/// What the application saw of a rollout that was decided at this time.
fn read_off(records: &[Record], decided: u64) -> Run {
    let first = records::of_arm(records, "candidate")
        .map(|one| one.sent_milliseconds)
        .min();
    let first = first.unwrap_or(decided);
    let p50 = |arm| {
        let times = records::of_arm(records, arm).filter(|one| one.sent_milliseconds >= first);
        let times: Vec<f64> = times
            .map(|one| stats::from_u64(one.latency_microseconds) / 1000.0)
            .collect();
        stats::median(&times)
    };
    let seen = records
        .iter()
        .filter(|one| (first..decided).contains(&one.sent_milliseconds));
    Run {
        requests: seen.count(),
        seconds: stats::from_u64(decided.saturating_sub(first)) / 1000.0,
        stable_p50: p50("stable"),
        candidate_p50: p50("candidate"),
        failed: records::failed(records),
        queue_full: records::queue_full(records),
        ..Run::default()
    }
}

impl Run {
    fn describe(&self) -> String {
        format!(
            "{} after {} units and {:.0} s; harm at most {:.2} of {:.2}; p50 {:.1} and {:.1} ms; {} failed",
            self.outcome,
            self.units,
            self.seconds,
            self.peak_log_e,
            self.threshold,
            self.stable_p50,
            self.candidate_p50,
            self.failed
        )
    }
}
