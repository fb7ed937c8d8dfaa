//! Faults of candidates, remembered in status so that no restart forgets them (`rollout.md` 5).

use std::collections::{BTreeMap, BTreeSet};

use smallfleet_crds::reason;
use smallfleet_crds::status::{RolloutStatus, WorstNode};

use crate::constants::{FAULTS_MAX, FAULTS_ON_ONLY_NODE, FAULTY_NODES};
use crate::draft::{Cx, Draft};
use crate::fleet::Site;
use crate::problem::{self, Blame, Problem};
use crate::wave;
use crate::world::{EngineState, PodView, Role};

/// What the faults so far say about the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What spec names is not there or no model of this task.
    Spec { reason: String, message: String },
    /// The candidate's own fault.
    Candidate { reason: String, effect: String },
}

/// Reads the candidates of the wave and the routers beside them, and books what is new.
pub(crate) fn of_wave(cx: &Cx<'_>, draft: &mut Draft) -> Option<Finding> {
    let rollout = draft.rollout().clone();
    for node in &rollout.wave {
        let Some(site) = cx.fleet.site(node) else {
            continue;
        };
        if let Some(pod) = site.candidate(&rollout.id) {
            let found = problem::diagnose(pod, cx.fleet.router(pod));
            if let Some(finding) = found.and_then(|problem| book(cx, site, pod, &problem, draft)) {
                return Some(finding);
            }
        }
        restarted_router(cx, site, draft);
        fails_alone(cx, site, draft);
    }
    judge(draft.rollout())
}

/// Books one problem of a candidate's or evaluation's pod.
pub(crate) fn book(
    cx: &Cx<'_>,
    site: &Site<'_>,
    pod: &PodView,
    problem: &Problem,
    draft: &mut Draft,
) -> Option<Finding> {
    match problem.blame {
        Blame::Environment => {}
        Blame::Spec => {
            return Some(Finding::Spec {
                reason: problem.reason.clone(),
                message: problem.message.clone(),
            });
        }
        Blame::Revision if stable_is_healthy(cx, site) => record(pod, problem, draft),
        Blame::Revision => {
            let reason = format!(
                "{} of the candidate while stable is not healthy there",
                problem.reason
            );
            wave::exclude(cx, &site.node.name, &reason, draft);
        }
    }
    None
}

/// Without a stable revision (first install) nothing else can be blamed.
fn stable_is_healthy(cx: &Cx<'_>, site: &Site<'_>) -> bool {
    let first_install = cx
        .persisted
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.from.is_empty());
    first_install
        || site.ready_stable().is_some_and(|pod| {
            cx.fleet.router(pod).is_none_or(|router| {
                router.failure.is_none() && router.engine != EngineState::Unresponsive
            })
        })
}

/// One entry a fault: pod and count in the text tell it from the others.
pub(crate) fn record(pod: &PodView, problem: &Problem, draft: &mut Draft) {
    let rollout = draft.rollout();
    let id = short(&pod.uid);
    let known = rollout
        .faults
        .iter()
        .filter_map(key)
        .filter(|(uid, _)| *uid == id);
    if known.map(|(_, times)| times).max().unwrap_or(0) >= problem.times {
        return;
    }
    let reason = format!("{} (pod {id}, fault {})", problem.reason, problem.times);
    let fault = WorstNode {
        node: pod.node.clone(),
        reason: reason.clone(),
    };
    rollout.faults.insert(0, fault);
    rollout.faults.truncate(FAULTS_MAX);
    let what = match pod.role {
        Role::Stable => "the new revision",
        Role::Candidate => "the candidate",
        Role::Evaluation => "the evaluation",
    };
    draft.warn(
        reason::CANDIDATE_FAULT,
        format!(
            "{what} on node {} failed: {reason}: {}",
            pod.node, problem.message
        ),
    );
}

fn short(uid: &str) -> &str {
    uid.get(..8).unwrap_or(uid)
}

/// Pod and count of an entry.
fn key(fault: &WorstNode) -> Option<(&str, u32)> {
    let (_, rest) = fault.reason.rsplit_once(" (pod ")?;
    let (uid, times) = rest.strip_suffix(')')?.split_once(", fault ")?;
    Some((uid, times.parse().ok()?))
}

/// Faults on one node: the largest count of each pod there.
fn times_on(rollout: &RolloutStatus, node: &str) -> u32 {
    let on_node = rollout.faults.iter().filter(|fault| fault.node == node);
    let mut largest: BTreeMap<&str, u32> = BTreeMap::new();
    for (uid, times) in on_node.filter_map(key) {
        let entry = largest.entry(uid).or_default();
        *entry = (*entry).max(times);
    }
    largest.values().sum()
}

fn faulty_nodes(rollout: &RolloutStatus) -> BTreeSet<&str> {
    rollout
        .faults
        .iter()
        .map(|fault| fault.node.as_str())
        .collect()
}

/// Two distinct nodes, or three times on the only node.
pub(crate) fn judge(rollout: &RolloutStatus) -> Option<Finding> {
    let nodes = faulty_nodes(rollout);
    let only_node = rollout.wave.len() <= 1;
    let often = |node: &&str| {
        let left = rollout.excluded.iter().any(|left| left.node == **node);
        !left && times_on(rollout, node) >= FAULTS_ON_ONLY_NODE
    };
    if nodes.len() >= FAULTY_NODES || (only_node && nodes.iter().any(often)) {
        return Some(candidates(rollout));
    }
    restarts(rollout)
}

/// The verdict on what is booked, with the last reason.
fn candidates(rollout: &RolloutStatus) -> Finding {
    let last = rollout
        .faults
        .first()
        .map_or("", |fault| fault.reason.as_str());
    let nodes = faulty_nodes(rollout)
        .into_iter()
        .collect::<Vec<_>>()
        .join(", ");
    let reason = last.split(' ').next().unwrap_or_default();
    Finding::Candidate {
        reason: reason::CANDIDATE_FAULT.to_owned(),
        effect: format!("{reason} on {nodes}, where the stable revision is healthy; last: {last}"),
    }
}

/// A candidate that fails again and again on one node of several: the next node shows whose fault it is.
fn fails_alone(cx: &Cx<'_>, site: &Site<'_>, draft: &mut Draft) {
    let node = &site.node.name;
    let rollout = draft.rollout();
    let one_of_several = rollout.wave.len() > 1 && faulty_nodes(rollout).len() < FAULTY_NODES;
    if one_of_several && times_on(rollout, node) >= FAULTS_ON_ONLY_NODE {
        wave::exclude(cx, node, reason::CANDIDATE_FAULT, draft);
    }
}

/// A router that came back as another process while it held a route: nobody knows why, so its node is left alone.
fn restarted_router(cx: &Cx<'_>, site: &Site<'_>, draft: &mut Draft) {
    let routers = site.stable.iter().filter_map(|pod| cx.fleet.router(pod));
    if routers
        .into_iter()
        .any(|router| router.restarted_with_route)
    {
        wave::exclude(cx, &site.node.name, reason::ROUTER_RESTARTED, draft);
    }
}

fn restarts(rollout: &RolloutStatus) -> Option<Finding> {
    let restarted = rollout
        .excluded
        .iter()
        .filter(|node| node.reason == reason::ROUTER_RESTARTED);
    let nodes: Vec<&str> = restarted.map(|node| node.node.as_str()).collect();
    (nodes.len() >= FAULTY_NODES).then(|| Finding::Candidate {
        reason: reason::ROUTER_RESTARTS.to_owned(),
        effect: format!(
            "routers restarted while they sent requests to the candidate, on {}",
            nodes.join(", ")
        ),
    })
}

/// Faults of the new revision's own pods while it rolls over the fleet: two nodes, or three times where it serves nowhere else.
pub(crate) fn of_promotion(cx: &Cx<'_>, draft: &mut Draft) -> Option<Finding> {
    let to = draft.rollout().to.clone();
    let pods = cx.fleet.serving().flat_map(|site| &site.stable);
    let new: Vec<&PodView> = pods.copied().filter(|pod| pod.revision == to).collect();
    for pod in &new {
        let problem = problem::diagnose(pod, cx.fleet.router(pod));
        if let Some(problem) = problem.filter(is_revisions_own) {
            record(pod, &problem, draft);
        }
    }
    let serves_elsewhere = |node: &str| new.iter().any(|pod| pod.ready && pod.node != node);
    let rollout = draft.rollout();
    let nodes = faulty_nodes(rollout);
    let often =
        |node: &&str| times_on(rollout, node) >= FAULTS_ON_ONLY_NODE && !serves_elsewhere(node);
    (nodes.len() >= FAULTY_NODES || nodes.iter().any(often)).then(|| candidates(rollout))
}

/// A model that cannot be read is the revision's fault here: its candidates were never asked.
fn is_revisions_own(problem: &Problem) -> bool {
    match problem.blame {
        Blame::Revision => true,
        Blame::Spec => !matches!(
            problem.reason.as_str(),
            reason::IMAGE_NOT_FOUND | reason::INVALID_IMAGE_NAME
        ),
        Blame::Environment => false,
    }
}
