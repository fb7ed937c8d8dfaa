//! A/A: the same model under another environment value is never rolled back, and both arms are equally fast.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use smallfleet_e2e::app::App;
use smallfleet_e2e::fleet;
use smallfleet_e2e::load::{Record, median_microseconds};

use crate::common::{World, assert_none_failed, last_rollout_id};

/// Least units of both arms together.
const EQUAL_UNITS: usize = 20_000;
/// Units of a candidate after which its rollout is promoted by hand where the evidence has not done so.
const SHORT: u64 = 1200;

/// Three models at once, four times, each time between other processes.
///
/// Two processes of one model may differ by 5 % on this machine, so it takes many pairs of them, and little of each. The
/// candidate's answers come over one more network hop, a pod's own engine being reached through its loopback: that is 1 % here, and
/// no pairs make up for it.
#[tokio::test]
async fn equal_revisions_are_never_rolled_back_and_equally_fast() -> Result<()> {
    let mut worlds = Vec::new();
    let models = [
        ("intent-a", "node-1"),
        ("intent-b", "node-2"),
        ("intent-c", "node-3"),
    ];
    for (name, node) in models {
        let mut world = World::new(&format!("e2e-{name}")).await?;
        world.model = name.to_owned();
        // A node holds one candidate at a time, so each model has a node to itself, asked by all three.
        world.node = Some(node);
        world.steps = &[("100%", 40)];
        world.rate = 14.0;
        worlds.push(world);
    }
    let mut applications: Vec<App> = Vec::new();
    for world in &worlds {
        world.install("good").await?;
        applications.push(world.load().await?);
    }
    for run in ["1", "2", "3", "4"] {
        roll_out_again(&worlds, run).await?;
    }
    assert_equally_fast(&applications).await
}

/// Another environment value for every model, until all are promoted: by the evidence, or by hand once there is enough to compare.
async fn roll_out_again(worlds: &[World], run: &str) -> Result<()> {
    let before = last_rollouts(worlds).await?;
    for world in worlds {
        world.apply_yaml(&world.yaml("good", &[("RUN", run)]))?;
    }
    for (world, before) in worlds.iter().zip(&before) {
        let enough = |status: &SmallModelStatus| {
            fleet::state(status) == Some(RolloutState::Analyzing) && counted(status) >= SHORT
        };
        let status = wait_after(world, before, enough).await?;
        if enough(&status) {
            world.kubectl(&format!("smallfleet promote {} --full", world.model))?;
        }
    }
    for (world, before) in worlds.iter().zip(&before) {
        wait_after(world, before, |_| false).await?;
    }
    Ok(())
}

async fn last_rollouts(worlds: &[World]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for world in worlds {
        ids.push(last_rollout_id(&world.fleet.status(&world.model).await?));
    }
    Ok(ids)
}

/// Units of the present rollout's candidate.
fn counted(status: &SmallModelStatus) -> u64 {
    let analysis = status.analysis.iter();
    let objectives = analysis.flat_map(|analysis| &analysis.objectives);
    let units = objectives.map(|objective| objective.units.candidate);
    units.max().unwrap_or(0)
}

/// Waits until a rollout that began after `before` ended is promoted, or is as wanted.
async fn wait_after(
    world: &World,
    before: &str,
    wanted: impl Fn(&SmallModelStatus) -> bool,
) -> Result<SmallModelStatus> {
    let reached = |status: &SmallModelStatus| {
        let promoted = fleet::ready(status) && last_rollout_id(status) != before;
        promoted || wanted(status) || !status.refused.is_empty()
    };
    let status = world.wait("decided", reached).await?;
    ensure!(
        status.refused.is_empty(),
        "A/A was rolled back: {:?}",
        status.refused
    );
    Ok(status)
}

/// Each candidate revision of one model with the records of both arms, of the nodes and seconds in which it answered.
fn side_by_side(records: Vec<Record>) -> Vec<(String, Vec<Record>, Vec<Record>)> {
    let when = |record: &Record| (record.node.clone(), record.sent_milliseconds / 1000);
    let (candidate, stable): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| record.arm == "candidate");
    let mut revisions: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in candidate {
        revisions
            .entry(record.revision.clone())
            .or_default()
            .push(record);
    }
    let beside = |candidate: Vec<Record>| {
        let seconds: BTreeSet<_> = candidate.iter().map(when).collect();
        let beside = stable
            .iter()
            .filter(|record| seconds.contains(&when(record)));
        (beside.cloned().collect(), candidate)
    };
    revisions
        .into_iter()
        .map(|(revision, candidate)| {
            let (stable, candidate) = beside(candidate);
            (revision, stable, candidate)
        })
        .collect()
}

/// Medians of both arms, over all models and rollouts, within 2 %; and no request failed.
async fn assert_equally_fast(applications: &[App]) -> Result<()> {
    let (mut stable, mut candidate) = (Vec::new(), Vec::new());
    for application in applications {
        for (revision, of_stable, of_candidate) in side_by_side(application.all_records().await?) {
            println!(
                "{} {revision}: p50 {} and {} microseconds",
                application.model,
                median_microseconds(&of_stable),
                median_microseconds(&of_candidate)
            );
            stable.extend(of_stable);
            candidate.extend(of_candidate);
        }
    }
    let (one, other) = (
        median_microseconds(&stable),
        median_microseconds(&candidate),
    );
    let units = stable.len() + candidate.len();
    println!("A/A: {units} units, p50 {one} and {other} microseconds");
    for application in applications {
        assert_none_failed(application).await?;
    }
    ensure!(
        units >= EQUAL_UNITS,
        "{units} units are too few for a comparison; {EQUAL_UNITS} are needed"
    );
    ensure!(
        one.abs_diff(other) * 50 <= one.max(other),
        "medians differ by more than 2 %: {one}, {other}"
    );
    Ok(())
}
