//! The operator: upgraded in a canary, and two of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use smallfleet_crds::names;
use smallfleet_crds::status::RolloutStatus;
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::lab::SYSTEM;
use smallfleet_e2e::load::Record;
use smallfleet_e2e::process;

use crate::common::{World, until};
use crate::trial::{SOON, Trial};

/// Life of a route without the operator.
const ROUTE_LEASE_MILLISECONDS: u64 = 10_000;
const PROGRAM: &str = "smallfleet-operator";

/// Pods of the operator.
pub async fn pods(world: &World) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(world.fleet.client.clone(), SYSTEM);
    Ok(api.list(&ListParams::default()).await?.items)
}

/// Revision that a pod of ours stands for.
pub fn revision_of(pod: &Pod) -> &str {
    let revision = pod.labels().get(names::LABEL_REVISION);
    revision.map(String::as_str).unwrap_or_default()
}

/// Installs the chart as it was, whatever became of the story.
fn restore<T>(trial: &Trial, outcome: Result<T>) -> Result<T> {
    let lab = trial.world.lab;
    lab.shell.run(&lab.helm_install())?;
    outcome
}

/// A new release of operator and runtime: its operator takes the rollout over within the lease, so the candidate is asked on, and
/// the verdict is the same. Models keep the runtime that their revisions were made with.
#[tokio::test]
async fn an_operator_upgraded_in_a_canary_hands_the_rollout_over() -> Result<()> {
    let trial = Trial::start("faults-upgrade", &[("100%", 30)]).await?;
    let runtimes = runtimes(&trial).await?;
    let rollout = trial.canary("better").await?;
    let since = now_milliseconds();
    let upgraded = upgraded(&trial, &rollout).await;
    restore(&trial, upgraded)?;
    let gap = longest_gap(since, &trial.asked(since).await?)?;
    println!("    the candidate answered nothing for {gap} ms at most");
    ensure!(
        gap < ROUTE_LEASE_MILLISECONDS,
        "the candidate got nothing for {gap} ms: the routes were not handed over within their lease"
    );
    let after = self::runtimes(&trial).await?;
    ensure!(
        after == runtimes,
        "the runtime of a model changed from {runtimes:?} to {after:?}"
    );
    trial.end().await
}

async fn upgraded(trial: &Trial, rollout: &RolloutStatus) -> Result<()> {
    let lab = trial.world.lab;
    let before = names_of(&pods(&trial.world).await?);
    let operator = lab.release_again("operator")?;
    let upgrade = lab.helm_install_of(&operator, &lab.release_again("runtime")?);
    lab.shell.run(&upgrade)?;
    until("only pods of the new release", SOON, async || {
        let now = pods(&trial.world).await?;
        let is_new = |pod: &Pod| {
            !before.contains(&pod.name_any()) && images(pod).any(|image| image == operator)
        };
        Ok(!now.is_empty() && now.iter().all(is_new))
    })
    .await?;
    trial.promoted(rollout).await.map(drop)
}

/// Runtime images of the stable pods.
async fn runtimes(trial: &Trial) -> Result<BTreeSet<String>> {
    let pods = trial.stable_pods().await?;
    Ok(pods.iter().flat_map(images).map(str::to_owned).collect())
}

fn images(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = pod.spec.iter().flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(sidecars)
    });
    containers.filter_map(|container| container.image.as_deref())
}

fn names_of(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}

/// Longest time without an answer of the candidate from then on, milliseconds.
fn longest_gap(since: u64, records: &[Record]) -> Result<u64> {
    let answered = records.iter().filter(|record| record.arm == "candidate");
    let sent: Vec<u64> = std::iter::once(since)
        .chain(answered.map(|record| record.sent_milliseconds))
        .collect();
    let gaps = sent.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().context("the candidate answered nothing more")
}

/// The leader hangs beyond its Lease, another takes over, and the first goes on as if it still led: it must not.
#[tokio::test]
async fn of_two_operators_only_the_one_with_the_lease_leads() -> Result<()> {
    let trial = Trial::start("faults-two-operators", &[("100%", 45)]).await?;
    let lab = trial.world.lab;
    lab.shell
        .run(&format!("{} --set replicas=2", lab.helm_install()))?;
    let outcome = two_operators(&trial).await;
    restore(&trial, outcome)?;
    trial.end().await
}

async fn two_operators(trial: &Trial) -> Result<()> {
    let rollout = trial.canary("better").await?;
    let first = lease(&trial.world).await?;
    let hung = first.holder_identity.clone().context("a leader")?;
    process::signal(&hung, PROGRAM, Signal::SIGSTOP)?;
    let second = another_leads(trial, &hung).await;
    // It does not know yet, and acts on what it knew.
    process::signal(&hung, PROGRAM, Signal::SIGCONT)?;
    let second = second?;
    ensure!(
        second.lease_transitions > first.lease_transitions,
        "the epoch did not rise: {first:?}, {second:?}"
    );
    until(
        "the end of the operator that lost its Lease",
        SOON,
        async || {
            let pods = pods(&trial.world).await?;
            let pod = pods.iter().find(|pod| pod.uid().as_ref() == Some(&hung));
            Ok(pod.is_some_and(has_ended_by_itself))
        },
    )
    .await?;
    // The new leader grants routes again.
    let node = rollout.wave.first().context("a wave")?;
    trial.candidate_answers_on(node).await?;
    let after = lease(&trial.world).await?;
    ensure!(
        after.holder_identity == second.holder_identity
            && after.lease_transitions == second.lease_transitions,
        "the Lease was taken back: {after:?}"
    );
    trial.promoted(&rollout).await.map(drop)
}

/// The Lease that another operator has taken.
async fn another_leads(trial: &Trial, hung: &str) -> Result<LeaseSpec> {
    until("another leader", SOON, async || {
        let holder = lease(&trial.world).await?.holder_identity;
        Ok(holder.is_some_and(|holder| !holder.is_empty() && holder != hung))
    })
    .await?;
    lease(&trial.world).await
}

async fn lease(world: &World) -> Result<LeaseSpec> {
    let api: Api<Lease> = Api::namespaced(world.fleet.client.clone(), SYSTEM);
    api.get(PROGRAM).await?.spec.context("an empty Lease")
}

/// With an error code of its own, not killed by a signal: it saw that it leads no longer.
fn has_ended_by_itself(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| &status.container_statuses);
    let mut ends = statuses.flatten().filter_map(|container| {
        let running = container.last_state.as_ref()?.terminated.as_ref();
        let state = container.state.as_ref()?.terminated.as_ref();
        state.or(running)
    });
    ends.any(|end| end.exit_code > 0 && end.exit_code < 128)
}
