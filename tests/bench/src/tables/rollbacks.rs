//! From the decision to roll back to the last request that the candidate answered, over many rollbacks.
//!
//! The decision is `status.refused[].at`, the plan's clock before the cut goes out; requests are those of the applications. All
//! nodes of the local cluster are namespaces of one machine, so the clocks compare.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use smallfleet_crds::status::{Refused, RolloutState};
use smallfleet_e2e::fleet;
use smallfleet_e2e::load::Record;

use crate::records::{self, Records};
use crate::results::Table;
use crate::site::{self, Rate, Site};

const NAMESPACE: &str = site::namespace::ROLLBACKS;
/// Share of the machine's cores that requests take. Candidates start every few seconds, three at once, and what runs beside them
/// waits: at twice this rate some of 100,000 requests found a full queue (429).
const BUSY: f64 = 0.1;
const LIMIT: Duration = Duration::from_secs(180);
/// Answers of a candidate before a person aborts it.
const ANSWERS_BEFORE_ABORT: usize = 20;
/// Runs that may go wrong (and are told) before the measurement is given up.
const BROKEN_MAX: usize = 5;

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Rollbacks
    #[arg(long, default_value_t = 100)]
    runs: usize,
    /// Of these, by the evidence against `slow`; the rest by `kubectl smallfleet abort`
    #[arg(long, default_value_t = 12)]
    by_evidence: usize,
    /// Requests a second on each model's node; by itself what the machine bears
    #[arg(long)]
    rate: Option<f64>,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    pub rate: f64,
    pub models_at_once: usize,
    pub runs: Vec<Run>,
    /// Runs that came to no rollback, in words.
    pub broken: Vec<String>,
}

impl Table for Data {
    const NAME: &'static str = "rollbacks";
}

/// Who wants a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    Evidence,
    Abort,
}

/// One rollback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub by: By,
    /// Of the refusal.
    pub reason: String,
    /// From the decision to the sending of the last request that the candidate answered; 0 where none was sent after it.
    pub last_sent_milliseconds: f64,
    /// From the decision to the candidate's last answer; 0 where none came after it.
    pub last_answer_milliseconds: f64,
    /// Requests sent within this run.
    pub requests: usize,
    /// Of these, answered by the candidate.
    pub candidate: usize,
    /// Of all, without a good answer.
    pub failed: usize,
    /// Of these, those that were told to come back because the queue was full (429).
    #[serde(default)]
    pub queue_full: usize,
}

/// Measures.
///
/// # Errors
/// When the cluster is not up, or too many runs come to nothing.
pub async fn run(arguments: Arguments) -> Result<Data> {
    ensure!(
        arguments.by_evidence <= arguments.runs,
        "--by-evidence is more than --runs"
    );
    let lab = site::lab()?;
    // No step ends by itself: an aborted candidate must not have won before.
    let sites = Site::one_on_each_node(&lab, NAMESPACE, 3600).await?;
    let models_at_once = sites.len();
    let rate = Site::rate(&sites, arguments.rate, BUSY).await?;
    let shared = Arc::new(Shared::new(&arguments));
    let mut tasks = tokio::task::JoinSet::new();
    for site in sites {
        tasks.spawn(work(site, Arc::clone(&shared), rate));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    lab.delete_namespace(NAMESPACE)?;
    let done = shared.done();
    Ok(Data {
        rate,
        models_at_once,
        runs: done.runs.clone(),
        broken: done.broken.clone(),
    })
}

/// What the sites share: the runs that wait, and what came of the others.
struct Shared {
    waiting: Mutex<VecDeque<By>>,
    done: Mutex<Done>,
    wanted: usize,
}

#[derive(Default)]
struct Done {
    runs: Vec<Run>,
    broken: Vec<String>,
}

impl Shared {
    /// Those by evidence are spread among the others.
    fn new(arguments: &Arguments) -> Self {
        let (runs, by_evidence) = (arguments.runs, arguments.by_evidence);
        let by = |index: usize| match (index + 1) * by_evidence / runs > index * by_evidence / runs
        {
            true => By::Evidence,
            false => By::Abort,
        };
        Self {
            waiting: Mutex::new((0..runs).map(by).collect()),
            done: Mutex::default(),
            wanted: runs,
        }
    }

    fn next(&self) -> Option<By> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, model: &str, result: Result<Run>) -> Result<()> {
        let mut done = self.done();
        match result {
            Ok(run) => {
                println!(
                    "{}/{} {model}: {} ({:?}), last candidate request after {:.0} ms, {} of {} failed ({} queue full)",
                    done.runs.len() + 1,
                    self.wanted,
                    run.reason,
                    run.by,
                    run.last_sent_milliseconds,
                    run.failed,
                    run.requests,
                    run.queue_full
                );
                done.runs.push(run);
            }
            Err(error) => {
                println!("{model}: no rollback: {error:#}");
                done.broken.push(format!("{error:#}"));
            }
        }
        ensure!(
            done.broken.len() <= BROKEN_MAX,
            "too many runs came to nothing"
        );
        Ok(())
    }
}

async fn work(site: Site, shared: Arc<Shared>, rate: f64) -> Result<()> {
    let mut records = site.start_load(Rate::constant(rate)).await?;
    let mut number = 0;
    while let Some(by) = shared.next() {
        number += 1;
        let result = one_run(&site, &mut records, by, number).await;
        shared.tell(&site.model, result)?;
    }
    Ok(())
}

async fn one_run(site: &Site, records: &mut Records, by: By, number: usize) -> Result<Run> {
    records.forget().await?;
    let known = site.fleet.status(&site.model).await?.refused;
    let known = known.first().map(|refused| refused.revision.clone());
    match by {
        By::Evidence => site.apply("slow", number).await?,
        By::Abort => {
            site.apply("better", number).await?;
            wait_for_candidate(records).await?;
            site.kubectl(&format!("smallfleet abort {}", site.model))
                .await?;
        }
    }
    let status = site
        .wait("rolled back", LIMIT, |status| {
            let newest = status.refused.first().map(|refused| &refused.revision);
            newest != known.as_ref() && fleet::state(status) == Some(RolloutState::RolledBack)
        })
        .await?;
    let refused = status.refused.first().context("a refusal")?;
    read_off(by, refused, records.read().await?)
}

async fn wait_for_candidate(records: &mut Records) -> Result<()> {
    let limit = tokio::time::Instant::now() + LIMIT;
    while records::of_arm(records.read().await?, "candidate").count() < ANSWERS_BEFORE_ABORT {
        if tokio::time::Instant::now() > limit {
            bail!("the candidate answers nothing within {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn read_off(by: By, refused: &Refused, records: &[Record]) -> Result<Run> {
    let decided = refused.at.as_ref().context("a refusal has a time")?;
    let decided = u64::try_from(decided.0.as_microsecond()).context("a time before 1970")?;
    let since = |milliseconds: Option<u64>| {
        let microseconds = milliseconds.unwrap_or(0) * 1000;
        crate::stats::from_u64(microseconds.saturating_sub(decided)) / 1000.0
    };
    let of_candidate = records::of_arm(records, "candidate");
    let after = records
        .iter()
        .filter(|record| record.sent_milliseconds * 1000 > decided);
    ensure!(after.count() > 0, "no request was sent after the decision");
    Ok(Run {
        by,
        reason: refused.reason.clone(),
        last_sent_milliseconds: since(of_candidate.clone().map(|one| one.sent_milliseconds).max()),
        last_answer_milliseconds: since(of_candidate.clone().map(Record::done_milliseconds).max()),
        requests: records.len(),
        candidate: of_candidate.count(),
        failed: records::failed(records),
        queue_full: records::queue_full(records),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(runs: usize, by_evidence: usize) -> Arguments {
        Arguments {
            runs,
            by_evidence,
            rate: None,
        }
    }

    #[test]
    fn rollbacks_by_evidence_are_spread_over_all() {
        let shared = Shared::new(&arguments(100, 12));
        let all: Vec<By> = std::iter::from_fn(|| shared.next()).collect();
        let places: Vec<usize> = (0..100)
            .filter(|&index| all[index] == By::Evidence)
            .collect();
        assert_eq!((all.len(), places.len()), (100, 12));
        assert!(
            places.windows(2).all(|pair| pair[1] - pair[0] >= 8),
            "{places:?}"
        );
    }

    #[test]
    fn the_last_request_of_the_candidate_counts_from_the_decision() {
        let record = |sent_milliseconds, arm: &str| Record {
            sent_milliseconds,
            latency_microseconds: 5_000,
            status: 200,
            arm: arm.to_owned(),
            ..Record::default()
        };
        let refused: Refused = serde_json::from_value(serde_json::json!({
            "revision": "r", "reason": "Aborted", "effect": "", "exposedUnits": 0, "at": "1970-01-01T00:00:01.000500Z",
        }))
        .unwrap();
        let records = [
            record(990, "candidate"),
            record(1_040, "candidate"),
            record(1_300, "stable"),
        ];
        let run = read_off(By::Abort, &refused, &records).unwrap();
        assert!((run.last_sent_milliseconds - 39.5).abs() < 1e-9, "{run:?}");
        assert!(
            (run.last_answer_milliseconds - 44.5).abs() < 1e-9,
            "{run:?}"
        );
        assert_eq!((run.requests, run.candidate, run.failed), (3, 2, 0));
        assert!(read_off(By::Abort, &refused, &records[..1]).is_err());
    }
}
