//! What happens to a canary when something dies.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use smallfleet_crds::names::role;
use smallfleet_crds::status::RolloutState;
use smallfleet_e2e::app::{App, now_milliseconds};
use smallfleet_e2e::fleet::{self, is_ready};
use smallfleet_e2e::lab::SYSTEM;
use smallfleet_e2e::process;

use crate::common::{NODES, PROMOTING_RATE, World, assert_none_failed, until};

const OPERATOR: &str =
    "kubectl -n smallfleet-system scale deployment smallfleet-operator --replicas";
const OPERATOR_GONE: &str =
    "kubectl -n smallfleet-system wait pod --all --for=delete --timeout=60s";

#[tokio::test]
async fn an_operator_killed_in_a_canary_goes_on_with_the_same_rollout() -> Result<()> {
    let world = World::new("e2e-kill").await?;
    world.install("good").await?;
    let application = world.load().await?;
    world.apply("better")?;
    let before = world.wait_counted(500).await?;
    let before = before.rollout.context("a rollout")?;
    kill_operator(&world).await?;
    let promoted = world.wait_promoted().await?;
    let outcome = promoted.last_rollout.context("an outcome")?;
    ensure!(
        outcome.id == before.id,
        "another rollout was promoted: {} after {}",
        outcome.id,
        before.id
    );
    assert_counted_once(&application, &promoted.analysis.unwrap_or_default()).await?;
    assert_none_failed(&application).await?;
    Ok(())
}

/// Units of each arm on each node that are not counted: the burn-in.
const BURN_IN: u64 = 50;

/// The evidence never has more units than the candidates answered after their burn-in; counted twice, the 500 units from before
/// the kill would be too many.
async fn assert_counted_once(
    application: &App,
    analysis: &smallfleet_crds::status::AnalysisStatus,
) -> Result<()> {
    let answered = application
        .all_records()
        .await?
        .iter()
        .filter(|record| record.arm == "candidate")
        .count() as u64;
    let answered = answered.saturating_sub(BURN_IN * NODES as u64);
    for objective in &analysis.objectives {
        let counted = objective.units.candidate;
        ensure!(
            counted <= answered,
            "{}: {counted} units counted of {answered} answered",
            objective.name
        );
    }
    Ok(())
}

async fn kill_operator(world: &World) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(world.fleet.client.clone(), SYSTEM);
    for pod in pods.list(&ListParams::default()).await?.items {
        let uid = pod.uid().context("a pod has a uid")?;
        process::signal(&uid, "smallfleet-operator", Signal::SIGKILL)?;
    }
    Ok(())
}

#[tokio::test]
async fn without_an_operator_the_candidate_gets_nothing_and_stable_serves() -> Result<()> {
    let mut world = World::new("e2e-no-operator").await?;
    world.rate = PROMOTING_RATE;
    world.install("good").await?;
    let application = world.load().await?;
    world.apply("better")?;
    world.wait_counting().await?;
    world.lab.shell.run(&format!("{OPERATOR}=0"))?;
    world.lab.shell.run(OPERATOR_GONE)?;
    let stopped = assert_no_candidate_after(&application, Duration::from_secs(15)).await;
    let recreated = assert_deleted_pod_comes_back(&world).await;
    let answered = application
        .answered_by_own_node(Duration::from_secs(2))
        .await;
    world.lab.shell.run(&format!("{OPERATOR}=1"))?;
    stopped?;
    recreated?;
    answered?;
    world.wait_promoted().await?;
    assert_none_failed(&application).await?;
    Ok(())
}

/// The candidate's last answer is at most 10 s after now, and stable goes on for `watch`.
async fn assert_no_candidate_after(application: &App, watch: Duration) -> Result<()> {
    let start = now_milliseconds();
    tokio::time::sleep(watch).await;
    let records = application.all_records().await?;
    let last = records
        .iter()
        .filter(|record| record.arm == "candidate")
        .map(|record| record.sent_milliseconds)
        .max();
    let after = last.unwrap_or(start).saturating_sub(start);
    println!("candidate at 0 after {after} ms without an operator");
    ensure!(
        after <= 10_000,
        "the candidate still answered {after} ms after the operator was gone"
    );
    Ok(())
}

async fn assert_deleted_pod_comes_back(world: &World) -> Result<()> {
    let pod = world
        .fleet
        .pods_of(&world.model, role::STABLE)
        .await?
        .into_iter()
        .next()
        .context("a stable pod")?;
    world.kubectl(&format!("delete pod {}", pod.name_any()))?;
    until(
        "the deleted stable pod back",
        Duration::from_secs(60),
        async || {
            let pods = world.fleet.pods_of(&world.model, role::STABLE).await?;
            let others = pods.iter().filter(|other| other.uid() != pod.uid());
            Ok(others.filter(|other| is_ready(other)).count() == NODES)
        },
    )
    .await
}

#[tokio::test]
async fn a_candidate_that_hangs_is_rolled_back_without_a_failed_request() -> Result<()> {
    let world = World::new("e2e-hang").await?;
    world.install("good").await?;
    let application = world.load().await?;
    world.apply("better")?;
    world.wait_counting().await?;
    for pod in world.fleet.pods_of(&world.model, role::CANDIDATE).await? {
        let uid = pod.uid().context("a pod has a uid")?;
        process::signal(&uid, "smallfleet-runtime engine", Signal::SIGSTOP)?;
    }
    world.wait_refused().await?;
    assert_none_failed(&application).await?;
    Ok(())
}

#[tokio::test]
async fn a_model_deleted_in_a_canary_leaves_nothing() -> Result<()> {
    let world = World::new("e2e-delete").await?;
    world.install("good").await?;
    let _application = world.load().await?;
    world.apply("better")?;
    world.wait_counting().await?;
    world.kubectl("delete smallmodel intent --timeout=30s")?;
    let limit = Instant::now() + Duration::from_secs(90);
    loop {
        let kinds = "pods,daemonsets,services,configmaps,controllerrevisions";
        let left = world.kubectl(&format!(
            "get {kinds} -l smallfleet.dev/model=intent -o name"
        ))?;
        if left.trim().is_empty() {
            break;
        }
        ensure!(Instant::now() < limit, "left behind: {left}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(
        world.fleet.models().get_opt("intent").await?.is_none(),
        "the SmallModel hangs"
    );
    Ok(())
}

#[tokio::test]
async fn an_abort_takes_the_candidate_away() -> Result<()> {
    let world = World::new("e2e-abort").await?;
    world.install("good").await?;
    let application = world.load().await?;
    world.apply("better")?;
    world.wait_counting().await?;
    world.kubectl("smallfleet abort intent")?;
    let refused = world.wait_refused().await?;
    ensure!(refused.reason == "Aborted", "{refused:?}");
    let status = world.fleet.status(&world.model).await?;
    ensure!(
        fleet::state(&status) == Some(RolloutState::RolledBack),
        "{}",
        fleet::one_line(&status)
    );
    assert_none_failed(&application).await?;
    Ok(())
}
