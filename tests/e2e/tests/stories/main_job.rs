//! The main job in short form: served, promoted, rolled back, refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use smallfleet_crds::names::{container, role};
use smallfleet_e2e::app::by_arm;
use smallfleet_e2e::fleet;

use crate::common::{PROMOTING_RATE, World, assert_none_failed, lab, last_rollout_id};

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

/// What a manifest says of its pods, beside the defaults.
const FIELDS: &str = "    resources: {requests: {cpu: 100m, memory: 384Mi}, limits: {cpu: \"2\"}}
    serviceAccountName: shopkeeper
    imagePullSecrets: [pull]
    podMetadata:
      labels: {team: search}
      annotations: {example.com/owner: nobody}
";

/// What a manifest says of its pods reaches stable and candidate, and under another service account a canary goes on as usual.
#[tokio::test]
async fn pods_carry_what_the_manifest_says() -> Result<()> {
    let mut world = World::new("e2e-fields").await?;
    world.node = Some("node-1");
    world.kubectl("create serviceaccount shopkeeper")?;
    world.kubectl("create secret docker-registry pull --docker-server=registry.example.com --docker-username=u --docker-password=p")?;
    let plain = "    resources: {requests: {cpu: 100m, memory: 384Mi}}\n";
    let yaml = |run| world.yaml("good", &[("RUN", run)]).replace(plain, FIELDS);
    world.apply_yaml(&yaml("1"))?;
    world.wait("ready", fleet::ready).await?;
    let application = world.load().await?;
    world.apply_yaml(&yaml("2"))?;
    world.wait_counting().await?;
    for (role, run) in [(role::STABLE, "1"), (role::CANDIDATE, "2")] {
        let pods = world.fleet.pods_of(&world.model, role).await?;
        ensure!(pods.len() == 1, "{} pods are {role}", pods.len());
        for pod in pods {
            assert_fields(&pod, run)?;
        }
    }
    assert_none_failed(&application).await
}

fn assert_fields(pod: &Pod, run: &str) -> Result<()> {
    let pod = serde_json::to_value(pod)?;
    let engine = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|container| container["name"] == container::ENGINE)
        .context("an engine")?;
    let variables = engine["env"].as_array().into_iter().flatten();
    let run_of_pod = variables
        .filter(|variable| variable["name"] == "RUN")
        .map(|variable| &variable["value"]);
    ensure!(run_of_pod.eq([run]), "{}", engine["env"]);
    ensure!(engine["resources"]["limits"]["cpu"] == "2", "{engine}");
    for (found, wanted) in [
        (&pod["spec"]["serviceAccountName"], "shopkeeper"),
        (&pod["spec"]["imagePullSecrets"][0]["name"], "pull"),
        (&pod["metadata"]["labels"]["team"], "search"),
        (
            &pod["metadata"]["annotations"]["example.com/owner"],
            "nobody",
        ),
    ] {
        ensure!(found == wanted, "{found} is not {wanted}");
    }
    Ok(())
}
