//! Processes of pods are killed: router, engine, candidate; and a candidate meets its memory limit.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use smallfleet_crds::names::role;
use smallfleet_crds::status::RolloutState;
use smallfleet_e2e::fleet::{self, is_ready, node_of};
use smallfleet_e2e::process;

use crate::common::{ROLLOUT, until};
use crate::path::Broken;
use crate::trial::Trial;

/// At rest, the other nodes answer as soon as the Service leaves the pod out; both processes come back by themselves.
#[tokio::test]
async fn a_killed_engine_or_router_costs_only_what_had_no_path() -> Result<()> {
    let mut trial = Trial::start("faults-pods", &[("100%", 10)]).await?;
    let pods = trial.stable_pods().await?;
    trial.kill(&pods[0], Broken::Engine).await?;
    trial.kill(&pods[1], Broken::Router).await?;
    trial.served_for(Duration::from_secs(3)).await?;
    trial.end().await
}

/// In a canary the candidate answers for the engine, and a router that held a route costs the rollout its node.
#[tokio::test]
async fn an_engine_and_a_router_killed_in_a_canary_do_not_change_its_verdict() -> Result<()> {
    let mut trial = Trial::start("faults-canary-pods", &[("100%", 30)]).await?;
    let rollout = trial.canary("better").await?;
    let pods = trial.stable_pods().await?;
    trial.candidate_answers_on(node_of(&pods[0])).await?;
    trial.kill(&pods[0], Broken::EngineBesideCandidate).await?;
    trial.candidate_answers_on(node_of(&pods[1])).await?;
    trial.kill(&pods[1], Broken::Router).await?;
    let node = node_of(&pods[1]).to_owned();
    let excluded = trial
        .world
        .wait("rid of the node whose router restarted", |status| {
            let rollout = status.rollout.iter();
            let mut excluded = rollout.flat_map(|rollout| &rollout.excluded);
            excluded.any(|one| one.node == node && one.reason == "RouterRestarted")
        })
        .await?;
    ensure!(
        excluded.refused.is_empty(),
        "one router's restart was held against the revision"
    );
    trial.promoted(&rollout).await?;
    trial.end().await
}

/// Stable answers for a candidate that dies once, and the verdict is that of a rollout in which nothing died.
#[tokio::test]
async fn a_candidate_killed_once_does_not_change_its_verdict() -> Result<()> {
    let trial = Trial::start("faults-candidate-once", &[("100%", 30)]).await?;
    let rollout = trial.canary("better").await?;
    let pods = candidates(&trial).await?;
    kill_candidate(pods.first().context("a candidate")?)?;
    trial.promoted(&rollout).await?;
    trial.end().await
}

/// Every process of the candidate dies as soon as it serves: the revision is refused, and stable answers for it meanwhile.
#[tokio::test]
async fn a_candidate_that_is_killed_again_and_again_is_refused_without_a_failed_request()
-> Result<()> {
    // So long a step is not promoted before the candidate has died often enough.
    let trial = Trial::start("faults-candidate", &[("1", 600)]).await?;
    trial.canary("better").await?;
    until("refused", ROLLOUT, async || {
        kill_ready_candidates(&trial).await?;
        let status = trial.world.fleet.status(&trial.world.model).await?;
        Ok(fleet::state(&status) == Some(RolloutState::RolledBack))
    })
    .await?;
    let refused = trial.world.wait_refused().await?;
    println!("    {}: {}", refused.reason, refused.effect);
    // The requests that stable answered for it may be enough before it has crashed three times.
    ensure!(
        refused.reason == "CandidateFault" || refused.objective == "errors",
        "refused for something else: {refused:?}"
    );
    trial.end().await
}

async fn candidates(trial: &Trial) -> Result<Vec<Pod>> {
    let world = &trial.world;
    world.fleet.pods_of(&world.model, role::CANDIDATE).await
}

fn kill_candidate(pod: &Pod) -> Result<()> {
    let uid = pod.uid().context("a uid")?;
    process::signal(&uid, "smallfleet-runtime engine", Signal::SIGKILL)
}

async fn kill_ready_candidates(trial: &Trial) -> Result<()> {
    for pod in candidates(trial).await?.iter().filter(|pod| is_ready(pod)) {
        // It may have ended by itself between the look and the signal.
        let _ = kill_candidate(pod);
    }
    Ok(())
}

/// Too little memory for the model: three times on the only node of the wave, then refused, with what to do.
#[tokio::test]
async fn a_candidate_over_its_memory_limit_is_refused_after_three_times() -> Result<()> {
    let trial = Trial::start("faults-memory", &[("1", 10)]).await?;
    let asked = Instant::now();
    let yaml = trial
        .world
        .yaml("better", &[])
        .replace("memory: 384Mi", "memory: 40Mi");
    trial.world.apply_yaml(&yaml)?;
    let refused = trial.world.wait_refused().await?;
    println!(
        "    after {:?}: {}: {}",
        asked.elapsed(),
        refused.reason,
        refused.effect
    );
    ensure!(
        refused.reason == "CandidateFault" && refused.effect.contains("OutOfMemory"),
        "{refused:?}"
    );
    let status = trial.world.fleet.status(&trial.world.model).await?;
    let faults = status.rollout.context("the refused rollout")?.faults;
    let third = |reason: &str| reason.ends_with("fault 3)");
    ensure!(
        faults.iter().any(|fault| third(&fault.reason))
            && faults.iter().all(|fault| fault.node == faults[0].node),
        "refused after {faults:?}"
    );
    let answers = trial.asked(0).await?;
    ensure!(
        answers.iter().all(|record| record.arm != "candidate"),
        "a candidate that never was ready answered"
    );
    trial.end().await
}
