//! The main job in short form: served, promoted, rolled back, refused; and A/A.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use smallfleet_crds::names::role;
use smallfleet_crds::status::SmallModelStatus;
use smallfleet_e2e::app::{App, by_arm};
use smallfleet_e2e::fleet;
use smallfleet_e2e::load::{Record, median_microseconds};

use crate::common::{PROMOTING_RATE, ROLLOUT, World, assert_none_failed, lab};

#[tokio::test]
async fn a_model_is_served_by_each_node_itself() -> Result<()> {
    let world = World::new("e2e-serve").await?;
    world.install("good").await?;
    let application = world.load().await?;
    let answered = application
        .answered_by_own_node(Duration::from_secs(5))
        .await?;
    for (node, records) in answered {
        ensure!(records.len() > 20, "{node} sent {} requests", records.len());
        let right = records.iter().filter(|record| record.right).count();
        ensure!(
            right * 10 > records.len() * 7,
            "{right} of {} answers are right",
            records.len()
        );
    }
    assert_none_failed(&application).await?;
    Ok(())
}

#[tokio::test]
async fn a_better_revision_is_promoted_without_a_failed_request() -> Result<()> {
    let mut world = World::new("e2e-promote").await?;
    world.rate = PROMOTING_RATE;
    let first = world.install("good").await?;
    let application = world.load().await?;
    world.apply("better")?;
    let promoted = world.wait_promoted().await?;
    ensure!(
        promoted.stable != first.stable,
        "the stable revision is the old one"
    );
    ensure!(
        world
            .fleet
            .pods_of(&world.model, role::CANDIDATE)
            .await?
            .is_empty(),
        "candidates are left"
    );
    assert_none_failed(&application).await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_revision_is_rolled_back_and_stays_refused_until_retried() -> Result<()> {
    let world = World::new("e2e-slow").await?;
    let first = world.install("good").await?;
    let application = world.load().await?;
    world.apply("slow")?;
    let refused = world.wait_refused().await?;
    ensure!(
        refused.objective == "latency",
        "refused for {:?}",
        refused.objective
    );
    ensure!(
        refused.exposed_units > 0 && refused.effect.contains("slower"),
        "{refused:?}"
    );
    let status = world.fleet.status(&world.model).await?;
    ensure!(
        status.stable == first.stable && fleet::condition(&status, "Stalled"),
        "{}",
        fleet::one_line(&status)
    );
    ensure!(
        fleet::condition(&status, "Available") && !fleet::condition(&status, "Ready"),
        "conditions"
    );

    // An unrelated edit does not bring it back.
    world.kubectl("label smallmodel intent team=shop")?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(
        world
            .fleet
            .pods_of(&world.model, role::CANDIDATE)
            .await?
            .is_empty(),
        "a refused revision came back"
    );

    let answer = world.kubectl("smallfleet retry intent")?;
    world
        .wait("retried", |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.id != last_rollout_id(status))
        })
        .await?;
    ensure!(!answer.is_empty(), "retry says nothing");
    assert_none_failed(&application).await?;
    Ok(())
}

#[tokio::test]
async fn a_less_accurate_revision_is_refused_before_any_traffic() -> Result<()> {
    let mut world = World::new("e2e-gate").await?;
    world.dataset = lab()?.image("dataset");
    world.install("good").await?;
    let application = world.load().await?;
    world.apply("worse")?;
    let refused = world.wait_refused().await?;
    ensure!(refused.reason == "GateFailed", "{refused:?}");
    let records = application.all_records().await?;
    ensure!(
        by_arm(&records).keys().all(|(arm, _)| arm == "stable"),
        "the gate let traffic through"
    );
    assert_none_failed(&application).await?;
    Ok(())
}

/// Least units of both arms together in the A/A story.
const EQUAL_UNITS: usize = 20_000;

/// Three models at once, three times: the same model under another environment value is never rolled back, and both arms are
/// equally fast.
///
/// Two processes of one model differ by 2 % and more, so it takes many pairs of them. The candidate's answers come over one more
/// network hop, a pod's own engine being reached through its loopback: that is 1 % here, and no pairs make up for it.
#[tokio::test]
async fn equal_revisions_are_promoted_and_equally_fast() -> Result<()> {
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
    for run in ["1", "2", "3"] {
        roll_out_again(&worlds, run).await?;
    }
    assert_equally_fast(&applications).await
}

/// Another environment value for every model, until all are promoted.
async fn roll_out_again(worlds: &[World], run: &str) -> Result<()> {
    let before = last_rollouts(worlds).await?;
    for world in worlds {
        world.apply_yaml(&world.yaml("good", &[("RUN", run)]))?;
    }
    for (world, before) in worlds.iter().zip(before) {
        wait_promoted_after(world, &before).await?;
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

fn last_rollout_id(status: &SmallModelStatus) -> String {
    let last = status.last_rollout.as_ref();
    last.map(|rollout| rollout.id.clone()).unwrap_or_default()
}

/// Waits for the verdict of a rollout that began after `before` ended.
async fn wait_promoted_after(world: &World, before: &str) -> Result<()> {
    let decided = |status: &SmallModelStatus| {
        fleet::ready(status) && last_rollout_id(status) != before || !status.refused.is_empty()
    };
    let status = world
        .fleet
        .wait(&world.model, "decided", ROLLOUT * 2, decided)
        .await?;
    ensure!(
        status.refused.is_empty(),
        "A/A was rolled back: {:?}",
        status.refused
    );
    Ok(())
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
