//! A/A: the same model under another environment value is never rolled back, and both arms are equally fast.

use anyhow::{Context, Result, ensure};
use smallfleet_crds::status::SmallModelStatus;
use smallfleet_e2e::app::App;
use smallfleet_e2e::fleet;
use smallfleet_e2e::load::{Record, median_microseconds};

use crate::common::{World, assert_none_failed, has_counted, last_rollout_id};

/// Least units of both arms together that are compared.
const EQUAL_UNITS: usize = 20_000;
/// Rollouts of each model.
const ROUNDS: usize = 3;
/// Requests of a rollout that are sent one by one.
const COMPARED: usize = 2_300;
/// Counted units of a candidate after which its rollout is promoted by hand where the evidence has not done so.
const SHORT: u64 = 400;

/// Both arms' records.
#[derive(Default)]
struct Arms {
    stable: Vec<Record>,
    candidate: Vec<Record>,
}

/// Three models at once, three times, each time between other processes.
///
/// The candidate's answers come over one more network hop, a pod's own engine being reached through its loopback: that is about 1 % here.
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
        world.steps = &[("100%", 20)];
        // Only so that there is some load: what is compared is sent one by one.
        world.rate = 2.0;
        worlds.push(world);
    }
    let mut applications: Vec<App> = Vec::new();
    for world in &worlds {
        world.install("good").await?;
        applications.push(world.load().await?);
    }
    let mut arms = Arms::default();
    for run in 1..=ROUNDS {
        roll_out_again(&worlds, &run.to_string(), &mut arms).await?;
    }
    assert_equally_fast(&arms)?;
    for application in &applications {
        assert_none_failed(application).await?;
    }
    Ok(())
}

/// Another environment value for every model, until all are promoted: by the evidence, or by hand once there is some of it.
async fn roll_out_again(worlds: &[World], run: &str, arms: &mut Arms) -> Result<()> {
    let mut before = Vec::new();
    for world in worlds {
        before.push(last_rollout_id(&world.fleet.status(&world.model).await?));
        world.apply_yaml(&world.yaml("good", &[("RUN", run)]))?;
    }
    for world in worlds {
        world.wait("in its canary", granted).await?;
    }
    for world in worlds {
        compare(world, run, arms)?;
    }
    for (world, before) in worlds.iter().zip(&before) {
        let enough = |status: &SmallModelStatus| has_counted(status, SHORT);
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

fn granted(status: &SmallModelStatus) -> bool {
    let rollout = status.rollout.as_ref();
    rollout.is_some_and(|rollout| !rollout.granted.is_empty())
}

/// Asks one request after the other, one model after the other, so that nothing but the arm differs.
fn compare(world: &World, run: &str, arms: &mut Arms) -> Result<()> {
    let line = format!(
        "kubectl exec -n {} daemonset/{}-app -- smallfleet-load one-by-one {COMPARED}",
        world.fleet.namespace, world.model
    );
    let records = world.lab.shell.run(&line)?;
    let records: Vec<Record> = serde_json::from_str(&records).context("records")?;
    if let Some(failed) = records.iter().find(|record| !record.good()) {
        anyhow::bail!("a request failed: {failed:?}");
    }
    let (candidate, stable): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| record.arm == "candidate");
    println!(
        "{} {run}: {} + {} units, p50 {} and {} microseconds",
        world.model,
        stable.len(),
        candidate.len(),
        median_microseconds(&stable),
        median_microseconds(&candidate)
    );
    arms.stable.extend(stable);
    arms.candidate.extend(candidate);
    Ok(())
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

/// Medians of both arms, over all models and rollouts, within 2 %.
fn assert_equally_fast(arms: &Arms) -> Result<()> {
    let one = median_microseconds(&arms.stable);
    let other = median_microseconds(&arms.candidate);
    let units = arms.stable.len() + arms.candidate.len();
    println!("A/A: {units} units, p50 {one} and {other} microseconds");
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
