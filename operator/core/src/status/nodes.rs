//! Counts of nodes, and a bounded list of those that are not as they should be.

use smallfleet_crds::reason;
use smallfleet_crds::status::{NodeCounts, RolloutState, SmallModelStatus, WorstNode};

use crate::constants::NODES_NAMED_MAX;
use crate::draft::Cx;
use crate::fleet::Site;
use crate::problem;

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Hash of the revision that nodes without a candidate are to serve.
pub(super) fn promoted(status: &SmallModelStatus) -> Option<&str> {
    match &status.rollout {
        Some(rollout) if rollout.state == RolloutState::Promoting => Some(&rollout.to),
        _ => status
            .stable
            .as_ref()
            .map(|stable| stable.revision.as_str()),
    }
}

pub(super) fn counts(cx: &Cx<'_>, status: &SmallModelStatus) -> NodeCounts {
    let desired = count(cx.fleet.serving());
    let ready = count(cx.fleet.ready());
    let promoted = promoted(status);
    let updated = |site: &&Site<'_>| {
        let pod = site.ready_stable();
        pod.is_some_and(|pod| Some(pod.revision.as_str()) == promoted)
    };
    let rollout = status.rollout.as_ref();
    NodeCounts {
        desired,
        ready,
        wave: rollout.map_or(0, |rollout| count(rollout.wave.iter())),
        updated: count(cx.fleet.ready().filter(updated)),
        unavailable: desired.saturating_sub(ready),
        excluded: rollout.map_or(0, |rollout| count(rollout.excluded.iter())),
    }
}

/// Nodes that do not serve, then nodes that the rollout excluded.
pub(super) fn worst(cx: &Cx<'_>, status: &SmallModelStatus) -> Vec<WorstNode> {
    let not_serving = cx.fleet.serving().filter_map(|site| {
        let reason = why_not(cx, site)?;
        Some(WorstNode {
            node: site.node.name.clone(),
            reason,
        })
    });
    let excluded = status
        .rollout
        .iter()
        .flat_map(|rollout| rollout.excluded.clone());
    not_serving.chain(excluded).take(NODES_NAMED_MAX).collect()
}

/// Why a node that should serve does not; `None` when it does.
fn why_not(cx: &Cx<'_>, site: &Site<'_>) -> Option<String> {
    if !site.node.ready {
        return Some(reason::NODE_NOT_READY.to_owned());
    }
    if site.ready_stable().is_some() {
        return None;
    }
    let problem = site
        .stable
        .iter()
        .find_map(|pod| problem::diagnose(pod, cx.fleet.router(pod)));
    Some(problem.map_or_else(
        || {
            if site.stable.is_empty() {
                reason::NO_POD
            } else {
                reason::NOT_READY
            }
            .to_owned()
        },
        |problem| problem.reason,
    ))
}
