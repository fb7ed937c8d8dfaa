//! Edits in the middle, under load. The others run on the API server in memory (`tests/fake/tests/edits.rs`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use smallfleet_crds::names::role;
use smallfleet_e2e::fleet::{self, node_of};

use crate::common::{NODES, World, assert_none_failed, until};

const LEFT_OUT: &str = "node-3";

/// A node leaves the placement and comes back, at rest and in a canary: no request fails, and no verdict comes of it.
#[tokio::test]
async fn placement_edits_fail_no_request_and_decide_nothing() -> Result<()> {
    let mut world = World::new("e2e-placement").await?;
    // No verdict comes of the evidence either.
    world.steps = &[("100%", 600)];
    let first = world.install("good").await?;
    let application = world.load().await?;

    world.apply_yaml(&left_out(&world, "good"))?;
    wait_serving(&world, NODES - 1).await?;
    world.apply("good")?;
    wait_serving(&world, NODES).await?;
    ensure!(
        world.fleet.status(&world.model).await?.stable == first.stable,
        "an edited placement is no revision"
    );

    world.apply("better")?;
    let before = world.wait_counting().await?.rollout.context("a rollout")?;
    world.apply_yaml(&left_out(&world, "better"))?;
    wait_candidates(&world, false).await?;
    ensure!(
        world.fleet.pods_of(&world.model, role::STABLE).await?.len() == NODES,
        "the DaemonSet did not wait for the verdict"
    );
    world.apply("better")?;
    wait_candidates(&world, true).await?;
    let status = world.wait_counting().await?;
    let after = status.rollout.context("a rollout")?;
    ensure!(after.id == before.id, "{} is not {}", after.id, before.id);
    ensure!(status.refused.is_empty(), "{:?}", status.refused);
    assert_none_failed(&application).await
}

/// The manifest with a node left out.
fn left_out(world: &World, image: &str) -> String {
    let placement = format!(
        "  placement: {{requiredNodeAffinity: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: NotIn, values: [{LEFT_OUT}]}}]}}]}}\n  rollout:\n"
    );
    world.yaml(image, &[]).replace("  rollout:\n", &placement)
}

async fn wait_serving(world: &World, nodes: usize) -> Result<()> {
    let what = format!("serving on {nodes} nodes");
    let serving = world.wait(&what, |status| {
        fleet::ready(status) && status.nodes.ready as usize == nodes
    });
    serving.await.map(drop)
}

/// Waits until the node that was left out has a granted candidate, or neither grant nor candidate.
async fn wait_candidates(world: &World, there: bool) -> Result<()> {
    let what = match there {
        true => "candidate back on the node",
        false => "candidate off the node",
    };
    let granted = world.wait(what, |status| {
        let mut granted = status.rollout.iter().flat_map(|rollout| &rollout.granted);
        granted.any(|node| node == LEFT_OUT) == there
    });
    granted.await?;
    // A pod that has lost its place drains first.
    until(what, Duration::from_secs(30), async || {
        let pods = world.fleet.pods_of(&world.model, role::CANDIDATE).await?;
        Ok(pods.iter().any(|pod| node_of(pod) == LEFT_OUT) == there)
    })
    .await
}
