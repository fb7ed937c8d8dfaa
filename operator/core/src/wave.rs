//! The nodes that hold a candidate: how many, which, and what happens when one is lost.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_crds::Percent;
use smallfleet_crds::reason;
use smallfleet_crds::status::{Blocked, RolloutStatus, WorstNode};

use crate::action::Action;
use crate::constants::{
    CANDIDATES_AT_ONCE, ENDED_POD_AGE, EXCLUDED_MAX, NODES_NAMED_MAX, PATIENCE_TICK,
    REFUSED_POD_RETRY, TEXT_MAX, TRIED_NODES,
};
use crate::draft::{Cx, Draft};
use crate::fleet::Site;
use crate::objects;
use crate::problem::{self, Blame, Problem};
use crate::render;
use crate::revision::short_hash;
use crate::world::{PodView, Role};

/// `max(1, ceil(p x Ready stable nodes))`, or the count that was asked for.
pub(crate) fn size(cx: &Cx<'_>, nodes: &IntOrString) -> usize {
    let ready = cx.fleet.ready().count();
    match nodes {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(1).clamp(1, ready.max(1)),
        IntOrString::String(share) => {
            let ready = u32::try_from(ready).unwrap_or(u32::MAX);
            nodes_of(share, ready) as usize
        }
    }
}

/// How many of so many nodes a validated share means, at least one.
pub(crate) fn nodes_of(share: &str, nodes: u32) -> u32 {
    let share: Percent = share.parse().unwrap_or(Percent::whole(1));
    share.of_at_least_one(nodes)
}

/// Order in which nodes are taken: random for every rollout, the same for every leader.
pub(crate) fn rank(rollout: &str, site: &Site<'_>) -> String {
    short_hash(format!("{rollout}/{}", site.node.uid).as_bytes(), 16)
}

/// Keeps the wave at `size`: drops what is lost, takes the next by rank, says what holds it up.
pub(crate) fn upkeep(cx: &Cx<'_>, size: usize, draft: &mut Draft) {
    let rollout = draft.rollout().clone();
    let change = Change::new(cx, &rollout, size.max(rollout.wave.len()));
    let now = draft.rollout();
    if now.wave != change.wave {
        hold(now, change.wave);
    }
    for (node, reason) in change.excluded {
        exclude(cx, &node, &reason, draft);
    }
    block(change.blocked, draft);
}

/// The wave is now these nodes; who left it has no grant.
fn hold(rollout: &mut RolloutStatus, wave: Vec<String>) {
    rollout.granted.retain(|node| wave.contains(node));
    rollout.wave = wave;
    rollout.sequence += 1;
}

/// Takes a node out of the rollout for good.
pub(crate) fn exclude(cx: &Cx<'_>, node: &str, reason: &str, draft: &mut Draft) {
    let rollout = draft.rollout();
    if rollout
        .excluded
        .iter()
        .any(|excluded| excluded.node == node)
    {
        return;
    }
    rollout.excluded.insert(
        0,
        WorstNode {
            node: node.to_owned(),
            reason: reason.to_owned(),
        },
    );
    rollout.excluded.truncate(EXCLUDED_MAX);
    if rollout.wave.iter().any(|held| held == node) {
        let others = rollout.wave.iter().filter(|held| *held != node);
        let others = others.cloned().collect();
        hold(rollout, others);
    }
    let next = if cx.fleet.sites.len() > 1 {
        "the next node by rank takes its place"
    } else {
        "no other node is left"
    };
    draft.warn(
        reason::NODE_EXCLUDED,
        format!("node {node} is no longer used by this rollout: {reason}; {next}"),
    );
}

/// Sets what the rollout waits for.
pub(crate) fn block(blocked: Option<Blocked>, draft: &mut Draft) {
    draft.rollout().blocked = blocked;
}

/// An event when the rollout waits for something that the persisted one did not wait for. Told once a plan, when all have spoken.
pub(crate) fn announce_block(cx: &Cx<'_>, draft: &mut Draft) {
    let waits = |rollout: &RolloutStatus| Some((rollout.id.clone(), rollout.blocked.clone()?));
    let Some((id, now)) = draft.status.rollout.as_ref().and_then(waits) else {
        return;
    };
    let before = cx.persisted.rollout.as_ref().and_then(waits);
    if before.is_some_and(|(known, before)| known == id && before.reason == now.reason) {
        return;
    }
    draft.warn(
        reason::ROLLOUT_BLOCKED,
        format!(
            "{}: {}; the rollout goes on by itself when that is gone",
            now.reason, now.message
        ),
    );
}

pub(crate) fn blocked(reason: &str, message: &str, nodes: Vec<String>) -> Blocked {
    Blocked {
        reason: reason.to_owned(),
        message: message.chars().take(TEXT_MAX).collect(),
        nodes: nodes.into_iter().take(NODES_NAMED_MAX).collect(),
    }
}

/// Why a node holds no candidate; `None` when it could.
pub(crate) fn unfit(cx: &Cx<'_>, rollout: &RolloutStatus, site: &Site<'_>) -> Option<&'static str> {
    let excluded = rollout
        .excluded
        .iter()
        .any(|excluded| excluded.node == site.node.name);
    if !site.serves {
        Some("NotChosen")
    } else if excluded {
        Some(reason::EXCLUDED)
    } else if !site.node.ready {
        Some(reason::NODE_NOT_READY)
    } else if site.node.pressure {
        Some(reason::NODE_PRESSURE)
    } else if !site.takes_candidate {
        Some(reason::UNSCHEDULABLE)
    } else if cx.world.foreign_candidates.contains(&site.node.name) {
        Some(reason::OTHER_CANDIDATE)
    } else if !rollout.from.is_empty() && site.ready_stable().is_none() {
        Some(reason::NO_STABLE_POD)
    } else {
        None
    }
}

/// Fit nodes outside the wave, by rank.
pub(crate) fn spare<'c, 'a>(cx: &'c Cx<'a>, rollout: &RolloutStatus) -> Vec<&'c Site<'a>> {
    let in_wave: BTreeSet<&str> = rollout.wave.iter().map(String::as_str).collect();
    let mut spare: Vec<_> = cx
        .fleet
        .serving()
        .filter(|site| {
            !in_wave.contains(site.node.name.as_str()) && unfit(cx, rollout, site).is_none()
        })
        .collect();
    spare.sort_by_cached_key(|site| rank(&rollout.id, site));
    spare
}

/// What a plan makes of the wave.
struct Change {
    wave: Vec<String>,
    excluded: Vec<(String, String)>,
    blocked: Option<Blocked>,
}

impl Change {
    fn new(cx: &Cx<'_>, rollout: &RolloutStatus, size: usize) -> Self {
        let mut wave: Vec<String> = rollout
            .wave
            .iter()
            .filter(|node| stays(cx, rollout, node))
            .cloned()
            .collect();
        let mut spare = spare(cx, rollout);
        fill(cx, &mut wave, &mut spare, size);
        let mut excluded = Vec::new();
        let mut held_up: Vec<(String, Problem)> = Vec::new();
        for (node, problem) in stuck(cx, rollout, &wave) {
            if spare.is_empty() || !may_move_on(rollout, &excluded, &problem) {
                held_up.push((node, problem));
                continue;
            }
            wave.retain(|held| *held != node);
            wave.push(spare.remove(0).node.name.clone());
            excluded.push((node, problem.reason));
        }
        let blocked = if wave.is_empty() {
            Some(nothing_fits(cx, rollout))
        } else {
            held_up.first().map(|(_, problem)| {
                let nodes = held_up.iter().map(|(node, _)| node.clone()).collect();
                blocked(&problem.reason, &problem.message, nodes)
            })
        };
        Self {
            wave,
            excluded,
            blocked,
        }
    }
}

/// A wave node keeps its place through what passes by itself; it is lost when it is gone, NotReady, under pressure or not chosen.
fn stays(cx: &Cx<'_>, rollout: &RolloutStatus, node: &str) -> bool {
    let Some(site) = cx.fleet.site(node) else {
        return false;
    };
    let has_candidate = site.candidate(&rollout.id).is_some();
    match unfit(cx, rollout, site) {
        None | Some(reason::NO_STABLE_POD) => true,
        Some(reason::UNSCHEDULABLE | reason::OTHER_CANDIDATE) => has_candidate,
        Some(_) => false,
    }
}

/// Takes spare nodes: first one of each class that is not represented, when the wave has room for all classes, then by rank.
fn fill(cx: &Cx<'_>, wave: &mut Vec<String>, spare: &mut Vec<&Site<'_>>, size: usize) {
    let mut seen: BTreeSet<&str> = wave
        .iter()
        .filter_map(|node| cx.fleet.site(node))
        .map(|site| cx.fleet.node_class(site))
        .collect();
    let classes = spare.iter().map(|site| cx.fleet.node_class(site));
    if classes
        .chain(seen.iter().copied())
        .collect::<BTreeSet<_>>()
        .len()
        <= size
    {
        spare.retain(|site| {
            let take = wave.len() < size && seen.insert(cx.fleet.node_class(site));
            if take {
                wave.push(site.node.name.clone());
            }
            !take
        });
    }
    while wave.len() < size && !spare.is_empty() {
        wave.push(spare.remove(0).node.name.clone());
    }
}

/// Wave nodes whose candidate the environment keeps from starting.
fn stuck(cx: &Cx<'_>, rollout: &RolloutStatus, wave: &[String]) -> Vec<(String, Problem)> {
    let problem = |node: &String| {
        let Some(pod) = cx.fleet.site(node)?.candidate(&rollout.id) else {
            return Some((node.clone(), refusal(cx, node)?));
        };
        let problem = problem::diagnose(pod, cx.fleet.router(pod))?;
        (problem.blame == Blame::Environment).then(|| (node.clone(), problem))
    };
    wave.iter().filter_map(problem).collect()
}

/// The API server refused the pod for this node.
pub(crate) fn refusal(cx: &Cx<'_>, node: &str) -> Option<Problem> {
    let refused = cx.world.refused_pods.get(node)?;
    Some(Problem::new(
        Blame::Environment,
        reason::POD_REFUSED,
        &refused.message,
    ))
}

/// A refused pod is not asked for again at once.
pub(crate) fn may_create(cx: &Cx<'_>, site: &Site<'_>) -> bool {
    let refused = cx.world.refused_pods.get(&site.node.name);
    site.trials.is_empty() && refused.is_none_or(|refused| refused.since >= REFUSED_POD_RETRY)
}

/// Whether another node is tried: what fails on several nodes is the registry's fault, or the namespace's.
pub(crate) fn may_move_on(
    rollout: &RolloutStatus,
    excluded: &[(String, String)],
    problem: &Problem,
) -> bool {
    let before = rollout.excluded.iter().map(|node| &node.reason);
    let reasons: Vec<_> = before
        .chain(excluded.iter().map(|(_, reason)| reason))
        .collect();
    let alike = reasons
        .iter()
        .filter(|reason| ***reason == problem.reason)
        .count();
    let limit = match problem.reason.as_str() {
        reason::IMAGE_PULL | reason::POD_REFUSED => TRIED_NODES - 1,
        _ => EXCLUDED_MAX,
    };
    reasons.len() < EXCLUDED_MAX && alike < limit
}

/// No node for a candidate: the most frequent reason.
pub(crate) fn nothing_fits(cx: &Cx<'_>, rollout: &RolloutStatus) -> Blocked {
    let mut nodes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for site in cx.fleet.serving() {
        if let Some(reason) = unfit(cx, rollout, site) {
            nodes
                .entry(reason)
                .or_default()
                .push(site.node.name.clone());
        }
    }
    let most = nodes.into_iter().max_by_key(|(_, nodes)| nodes.len());
    let (reason, nodes) = most.unwrap_or((reason::NO_NODES, Vec::new()));
    blocked(reason, &why_not(reason), nodes)
}

fn why_not(reason: &str) -> String {
    let text = match reason {
        reason::NO_NODES => "spec.placement chooses no node",
        reason::EXCLUDED => {
            "every node was excluded from this rollout: look at status.rollout.excluded, mend the nodes, then abort and retry"
        }
        reason::NODE_NOT_READY => "no chosen node is Ready",
        reason::NODE_PRESSURE => "the chosen nodes are short of memory, disk or process ids",
        reason::UNSCHEDULABLE => "the chosen nodes are cordoned or tainted",
        reason::OTHER_CANDIDATE => "the chosen nodes hold the candidate of another SmallModel",
        reason::NO_STABLE_POD => {
            "no chosen node has a Ready pod of the stable revision to compare with"
        }
        _ => "no chosen node can hold a candidate",
    };
    text.to_owned()
}

/// Clears away candidates that the wave does not name or that ended; the missing ones are created once the plan is made.
pub(crate) fn pods(cx: &Cx<'_>, draft: &mut Draft) {
    let Some(rollout) = &cx.persisted.rollout else {
        return;
    };
    let joins = draft.rollout().wave.clone();
    let unwanted = |pod: &PodView| unwanted(rollout, &joins, pod);
    objects::remove_trials(cx, unwanted, draft);
    draft.wants_candidates = true;
    draft.look_again(PATIENCE_TICK);
}

/// Creates the candidates that the persisted wave lacks. Last of all: what the same plan takes out of the wave, or ends, gets none.
pub(crate) fn create_missing(cx: &Cx<'_>, draft: &mut Draft) {
    let (Some(rollout), Some(now)) = (&cx.persisted.rollout, draft.status.rollout.clone()) else {
        return;
    };
    let goes_on = now.id == rollout.id && now.state.is_in_step();
    let Some(revision) = cx.revision(&rollout.to) else {
        return;
    };
    if !draft.wants_candidates || !goes_on {
        return;
    }
    let starting = objects::trials(cx)
        .filter(|pod| pod.role == Role::Candidate && !cx.fleet.candidate_ready(pod));
    let free = CANDIDATES_AT_ONCE.saturating_sub(starting.count());
    let stays = rollout.wave.iter().filter(|node| now.wave.contains(node));
    let sites = stays.filter_map(|node| cx.fleet.site(node));
    let missing = sites.filter(|site| may_create(cx, site) && site.takes_candidate);
    let missing = missing.filter(|site| !cx.world.foreign_candidates.contains(&site.node.name));
    for site in missing.take(free) {
        let node = (site.node.name.as_str(), site.node.uid.as_str());
        let pod = render::candidate(
            &cx.owner,
            &revision.revision,
            &cx.spec().placement,
            &cx.world.defaults,
            &rollout.id,
            node,
        );
        draft.act(Action::CreatePod(Box::new(pod)));
    }
}

/// Who comes back into the wave with this plan keeps its candidate: the grant may go out before the deletion would.
fn unwanted(rollout: &RolloutStatus, joins: &[String], pod: &PodView) -> bool {
    let ended = pod.has_ended() && pod.age >= ENDED_POD_AGE;
    let in_wave = rollout.wave.contains(&pod.node) || joins.contains(&pod.node);
    pod.role == Role::Evaluation || ended || !in_wave
}

/// Every wave node has a candidate whose engine answers.
pub(crate) fn is_ready(cx: &Cx<'_>, rollout: &RolloutStatus) -> bool {
    let ready = |node: &String| answers_on(cx, rollout, node);
    !rollout.wave.is_empty() && rollout.wave.iter().all(ready)
}

/// The node holds a candidate whose engine answers.
pub(crate) fn answers_on(cx: &Cx<'_>, rollout: &RolloutStatus, node: &str) -> bool {
    let site = cx.fleet.site(node);
    let pod = site.and_then(|site| site.candidate(&rollout.id));
    pod.is_some_and(|pod| cx.fleet.candidate_ready(pod))
}
