//! Nodes: their daemons are killed; they are cut off, drained, taken away and added.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use smallfleet_cluster::{Cluster, Component, Node};
use smallfleet_crds::names::role;
use smallfleet_crds::status::{RolloutStatus, SmallModelStatus};
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::fleet::{self, is_ready, node_of};

use crate::common::{NODES, until};
use crate::operators;
use crate::trial::{SOON, Trial};

/// For how long containerd is down.
const A_WHILE: Duration = Duration::from_secs(10);
/// A route ends this long after the operator was last heard, and its requests a moment later.
const ROUTE_ENDS_MILLISECONDS: u64 = 12_000;

/// Containers go on without containerd and kubelet. A node whose kubelet is silent leaves the wave and comes back to it.
#[tokio::test]
async fn a_containerd_and_a_kubelet_killed_in_a_canary_do_not_change_its_verdict() -> Result<()> {
    let trial = Trial::start("faults-daemons", &[("100%", 45)]).await?;
    let rollout = trial.canary("better").await?;
    let machines = trial.world.lab.machines()?;
    let node = away_from_the_operator(&trial, &machines, &rollout).await?;
    trial
        .without(Component::Containerd(node.id()), trial.served_for(A_WHILE))
        .await?;
    let silent = async {
        node.wait_ready("Unknown")
            .context("the node is not taken for dead")
    };
    trial.without(Component::Kubelet(node.id()), silent).await?;
    node.wait_ready("True")?;
    trial.promoted(&rollout).await?;
    trial.end().await
}

/// The rest of the cluster goes on to the verdict. The node serves itself from its stable pod, and follows when it is back.
#[tokio::test]
async fn a_partitioned_node_serves_itself_and_the_rollout_goes_on_without_it() -> Result<()> {
    let trial = Trial::start("faults-partition", &[("100%", 30)]).await?;
    let rollout = trial.canary("better").await?;
    let machines = trial.world.lab.machines()?;
    let node = away_from_the_operator(&trial, &machines, &rollout).await?;
    let cut = now_milliseconds();
    node.partition()?;
    let promoted = trial.promoted(&rollout).await;
    let healed = now_milliseconds();
    node.heal()?;
    ensure!(
        promoted?.nodes.ready as usize == NODES - 1,
        "the node was not cut off"
    );
    follows(&trial, &node, &rollout).await?;
    assert_served_itself(&trial, &node.name(), cut, healed).await?;
    trial.end().await
}

/// The node is Ready and its stable pod is of the promoted revision.
async fn follows(trial: &Trial, node: &Node<'_>, rollout: &RolloutStatus) -> Result<()> {
    node.wait_ready("True")?;
    until("the promoted revision on every node", SOON, async || {
        let pods = trial.stable_pods().await?;
        let new = |pod: &&_| is_ready(pod) && operators::revision_of(pod) == rollout.to;
        let ready = pods.iter().filter(new).map(node_of);
        Ok(ready.collect::<BTreeSet<_>>().len() == NODES && pods.len() == NODES)
    })
    .await?;
    trial
        .world
        .wait("ready with all nodes", all_ready)
        .await
        .map(drop)
}

fn all_ready(status: &SmallModelStatus) -> bool {
    fleet::ready(status) && status.nodes.ready as usize == NODES
}

/// While it was cut off, its own stable pod answered its application, and the candidate no longer than a lease.
async fn assert_served_itself(trial: &Trial, node: &str, cut: u64, healed: u64) -> Result<()> {
    let mut alone = trial.asked_on(node, cut).await?;
    alone.retain(|record| record.done_milliseconds() < healed);
    println!(
        "    {} requests on {node} while it was cut off",
        alone.len()
    );
    ensure!(
        !alone.is_empty(),
        "{node} asked nothing while it was cut off"
    );
    let stray = alone.iter().find(|record| record.node != node);
    ensure!(
        stray.is_none(),
        "answered by another node through the cut: {stray:?}"
    );
    let late = alone.iter().find(|record| {
        record.sent_milliseconds > cut + ROUTE_ENDS_MILLISECONDS && record.revision != trial.first
    });
    ensure!(
        late.is_none(),
        "a candidate answered without the operator: {late:?}"
    );
    Ok(())
}

/// A node of the wave that does not run the operator: losing both at once is another story.
async fn away_from_the_operator<'a>(
    trial: &Trial,
    machines: &'a Cluster,
    rollout: &RolloutStatus,
) -> Result<Node<'a>> {
    let operators = operators::pods(&trial.world).await?;
    let busy: BTreeSet<&str> = operators.iter().map(node_of).collect();
    let name = rollout
        .wave
        .iter()
        .find(|name| !busy.contains(name.as_str()));
    let name = name.context("every node of the wave runs the operator")?;
    println!("    the node is {name}");
    machines
        .node(name)
        .with_context(|| format!("no node {name}"))
}

/// Drained, the candidate's node hands it to the next one; taken away, the rollout goes on; and a node that is added serves the
/// stable revision until the verdict.
#[tokio::test]
async fn a_node_drained_deleted_and_added_in_a_canary_does_not_change_its_verdict() -> Result<()> {
    // One node at a time, until we say so.
    let mut trial = Trial::start("faults-nodes", &[("1", 1200)]).await?;
    let rollout = trial.canary("better").await?;
    let machines = trial.world.lab.machines()?;
    let name = rollout.wave.first().context("a wave of one node")?.clone();
    let node = machines.node(&name).context("the wave's node")?;
    let drained = drain(&mut trial, &node, &rollout).await;
    if drained.is_err() {
        node.uncordon()?;
    }
    drained?;
    let left = leave(&trial, &node).await;
    let since = now_milliseconds();
    node.join()?;
    left?;
    trial
        .world
        .wait("served by all nodes", |status| {
            status.nodes.ready as usize == NODES
        })
        .await?;
    trial.reopen_book().await?;
    trial.served_for(Duration::from_secs(5)).await?;
    let new = trial.asked_on(&name, since).await?;
    let other = new
        .iter()
        .find(|record| record.good() && record.revision != trial.first);
    ensure!(
        other.is_none(),
        "the added node serves an unproven revision: {other:?}"
    );
    trial.world.kubectl("smallfleet promote intent --full")?;
    trial.promoted(&rollout).await?;
    trial.end().await
}

/// The candidate has moved to another node.
async fn drain(trial: &mut Trial, node: &Node<'_>, rollout: &RolloutStatus) -> Result<()> {
    node.drain()?;
    candidate_elsewhere(trial, &node.name(), rollout).await?;
    trial.close_book(&node.name()).await
}

/// The wave has another node, and its candidate is Ready; the rollout is the same.
async fn candidate_elsewhere(trial: &Trial, gone: &str, rollout: &RolloutStatus) -> Result<()> {
    until("the candidate on another node", SOON, async || {
        let pods = trial
            .world
            .fleet
            .pods_of(&trial.world.model, role::CANDIDATE)
            .await?;
        Ok(pods.iter().any(|pod| is_ready(pod) && node_of(pod) != gone))
    })
    .await?;
    let status = trial.world.wait_counting().await?;
    let now = status.rollout.context("a rollout")?;
    ensure!(
        now.id == rollout.id && !now.wave.iter().any(|held| held == gone),
        "after the drain the wave of {} is {:?}",
        now.id,
        now.wave
    );
    Ok(())
}

/// The node is gone, for Kubernetes and for the model.
async fn leave(trial: &Trial, node: &Node<'_>) -> Result<()> {
    node.leave()?;
    let two = |status: &SmallModelStatus| status.nodes.desired as usize == NODES - 1;
    trial.world.wait("of two nodes", two).await.map(drop)
}
