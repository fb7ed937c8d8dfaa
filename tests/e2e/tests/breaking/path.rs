//! Whether a failed request had a path. The one place that excuses a failure: whatever it does not excuse fails its story.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use smallfleet_e2e::audit::{Book, each};
use smallfleet_e2e::load::Record;

/// Failures shown of each kind.
const SHOWN: usize = 3;

/// What was broken on purpose, or was seen to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The router of a node's stable pod.
    Router,
    /// The engine of a node's stable pod, with no candidate beside it.
    Engine,
    /// The engine of a node's stable pod, with a candidate that may answer for it.
    EngineBesideCandidate,
    /// The Service: it named no Ready pod on any node.
    Endpoints,
}

/// What was broken where and when; milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Outage {
    pub broken: Broken,
    pub node: String,
    pub since: u64,
    pub until: u64,
}

/// A pod that is not Ready is left out of its Service within this time: the kubelet sees the end of a container, its status, the
/// endpoints and kube-proxy's rules follow. Later than that the other nodes' pods are a path.
const LEFT_OUT_MILLISECONDS: u64 = 5_000;

/// No request failed that had a path. The others are counted and explained.
pub fn only_pathless_failed(books: &[Book], outages: &[Outage]) -> Result<()> {
    let mut explained: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    let mut had_path = Vec::new();
    for (node, record) in each(books).filter(|(_, record)| !record.good()) {
        match no_path(record, node, outages) {
            Some(why) => explained.entry(why).or_default().push(record),
            None => had_path.push((node, record)),
        }
    }
    println!("{} requests", each(books).count());
    for (why, records) in &explained {
        println!("    {} had no path: {why}, such as", records.len());
        records
            .iter()
            .take(SHOWN)
            .for_each(|record| println!("        {record:?}"));
    }
    ensure!(
        had_path.is_empty(),
        "{} requests failed though they had a path, such as {:#?}; broken were {outages:#?}",
        had_path.len(),
        &had_path[..had_path.len().min(SHOWN)]
    );
    Ok(())
}

/// Why a failed request of a node's application had no path; `None`: it had one.
fn no_path(record: &Record, from: &str, outages: &[Outage]) -> Option<&'static str> {
    outages
        .iter()
        .find_map(|outage| excuse(record, from, outage))
}

fn excuse(record: &Record, from: &str, outage: &Outage) -> Option<&'static str> {
    let left_out = outage.until.min(outage.since + LEFT_OUT_MILLISECONDS);
    let here = outage.node == from || outage.node == record.node;
    let during =
        |until| record.sent_milliseconds <= until && record.done_milliseconds() >= outage.since;
    let no_answer = record.status == 0;
    let cut_short = no_answer && during(outage.since);
    match outage.broken {
        Broken::Router if here && no_answer && during(left_out) => {
            Some("the router of its node was killed, and the Service still named it")
        }
        Broken::Engine if here && during(left_out) && is_no_engine(record) => {
            Some("the only engine of its node was killed, and the Service still named its pod")
        }
        Broken::Engine | Broken::EngineBesideCandidate if here && cut_short => {
            Some("the engine was killed after the first byte of its answer")
        }
        Broken::Endpoints if no_answer && during(outage.until) => {
            Some("the Service named no Ready pod: Kubernetes took every node for dead")
        }
        _ => None,
    }
}

fn is_no_engine(record: &Record) -> bool {
    record.status == 503 && record.error.contains("engine_unavailable")
}

#[test]
fn only_what_was_broken_at_the_time_excuses_a_failure() {
    let outage = |broken, node: &str| Outage {
        broken,
        node: node.to_owned(),
        since: 10_000,
        until: 60_000,
    };
    let failed = |sent, status, error: &str| Record {
        sent_milliseconds: sent,
        latency_microseconds: 1_000,
        status,
        error: error.to_owned(),
        ..Record::default()
    };
    let router = [outage(Broken::Router, "a")];
    assert!(no_path(&failed(10_500, 0, "reset"), "a", &router).is_some());
    assert!(no_path(&failed(10_500, 0, "reset"), "b", &router).is_none());
    assert!(no_path(&failed(9_000, 0, "reset"), "a", &router).is_none());
    assert!(no_path(&failed(15_500, 0, "reset"), "a", &router).is_none());
    assert!(no_path(&failed(10_500, 500, "oops"), "a", &router).is_none());
    let gone = r#"{"error":{"type":"engine_unavailable"}}"#;
    let engine = [outage(Broken::Engine, "a")];
    assert!(no_path(&failed(11_000, 503, gone), "a", &engine).is_some());
    assert!(no_path(&failed(11_000, 503, "busy"), "a", &engine).is_none());
    let beside = [outage(Broken::EngineBesideCandidate, "a")];
    assert!(no_path(&failed(11_000, 503, gone), "a", &beside).is_none());
    assert!(no_path(&failed(10_000, 0, "broken off"), "a", &beside).is_some());
    let endpoints = [outage(Broken::Endpoints, "")];
    assert!(no_path(&failed(59_000, 0, "refused"), "b", &endpoints).is_some());
    assert!(no_path(&failed(61_000, 0, "refused"), "b", &endpoints).is_none());
}
