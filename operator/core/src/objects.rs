//! Objects that stand around a rollout: created, applied and removed here, and nowhere else.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_crds::Update;
use smallfleet_crds::status::{RevisionRef, RolloutState, RolloutStatus};

use crate::action::Action;
use crate::constants::{PATIENCE_TICK, REFUSALS_REMEMBERED, ROUTE_LEASE, UNSCHEDULABLE_PATIENCE};
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::render::{self, ANNOTATION_APPLIED, ANNOTATION_REVERTED};
use crate::revision::{RevisionObject, Verdict};
use crate::wave;
use crate::world::{AppliedView, DaemonSetView, PodView, Role, RouteKind, RouterView, Slot};

/// Service and session ConfigMap: live, whatever a rollout does.
pub(crate) fn front(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    let session = render::SessionConfig {
        address: &cx.world.defaults.session_address,
        ca: &cx.world.defaults.session_ca,
    };
    let config = render::session_config(&cx.owner, session);
    if differs(&cx.world.session_config, &config.metadata) {
        draft.act(Action::ApplySessionConfig(Box::new(config)));
    }
    let service = render::service(&cx.owner, &desired.spec.service);
    if differs(&cx.world.service, &service.metadata) {
        draft.act(Action::ApplyService(Box::new(service)));
    }
}

fn differs(slot: &Slot<AppliedView>, rendered: &ObjectMeta) -> bool {
    match slot {
        Slot::Absent => true,
        Slot::Ours(live) => live.applied_hash != applied_hash(rendered),
        Slot::Foreign(_) => false,
    }
}

fn applied_hash(metadata: &ObjectMeta) -> &str {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(ANNOTATION_APPLIED))
        .map_or("", String::as_str)
}

/// Makes the DaemonSet's template this revision, with the live placement and update strategy.
pub(crate) fn daemon_set(cx: &Cx<'_>, hash: &str, draft: &mut Draft) {
    if let Some(rendered) = rendered(cx, hash, draft)
        && daemon_set_differs(cx, &rendered)
    {
        draft.act(Action::ApplyDaemonSet(Box::new(rendered)));
    }
}

/// Makes the template this revision again, and marks the DaemonSet: an older leader's write of the promotion is refused from then on.
pub(crate) fn revert_daemon_set(cx: &Cx<'_>, hash: &str, rollout: &str, draft: &mut Draft) {
    let Some(mut rendered) = rendered(cx, hash, draft) else {
        return;
    };
    if daemon_set_differs(cx, &rendered) || !is_reverted(cx, rollout) {
        let annotations = rendered.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION_REVERTED.to_owned(), rollout.to_owned());
        draft.act(Action::ApplyDaemonSet(Box::new(rendered)));
    }
}

/// The DaemonSet carries the mark of this rollout's way back.
pub(crate) fn is_reverted(cx: &Cx<'_>, rollout: &str) -> bool {
    live_daemon_set(cx).is_none_or(|live| live.deleting || live.reverted == rollout)
}

fn rendered(cx: &Cx<'_>, hash: &str, draft: &mut Draft) -> Option<DaemonSet> {
    let object = cx.revision(hash)?;
    Some(render::daemon_set(
        &cx.owner,
        &object.revision,
        &cx.spec().placement,
        &update(cx, hash, draft),
        &cx.world.defaults,
    ))
}

fn daemon_set_differs(cx: &Cx<'_>, rendered: &DaemonSet) -> bool {
    match &cx.world.daemon_set {
        Slot::Absent => true,
        Slot::Ours(live) => !live.deleting && live.applied_hash != applied_hash(&rendered.metadata),
        Slot::Foreign(_) => false,
    }
}

/// Brings a DaemonSet back that someone deleted, during a rollout too.
pub(crate) fn restore_daemon_set(cx: &Cx<'_>, draft: &mut Draft) {
    if let (Slot::Absent, Some(stable)) = (&cx.world.daemon_set, &cx.persisted.stable) {
        daemon_set(cx, &stable.revision, draft);
    }
}

pub(crate) fn live_daemon_set<'a>(cx: &Cx<'a>) -> Option<&'a DaemonSetView> {
    match &cx.world.daemon_set {
        Slot::Ours(live) => Some(live),
        Slot::Absent | Slot::Foreign(_) => None,
    }
}

/// The DaemonSet controller has seen a template of this revision.
pub(crate) fn template_is(cx: &Cx<'_>, hash: &str) -> bool {
    live_daemon_set(cx)
        .is_some_and(|live| live.observed_generation >= live.generation && live.revision == hash)
}

/// The update strategy: as asked for, or one node without a pod at a time where a node has no room for two.
fn update(cx: &Cx<'_>, hash: &str, draft: &mut Draft) -> Update {
    let live = live_daemon_set(cx);
    let under_way = live
        .filter(|live| live.observed_generation < live.generation || live.updated < live.desired);
    let wanted = cx.spec().rollout.update.clone();
    let wanted = match wanted.max_unavailable {
        Some(_) => wanted,
        None if under_way.is_some_and(|live| live.takes_away_first)
            || no_room_for_surge(cx, draft) =>
        {
            Update {
                max_surge: None,
                max_unavailable: Some(IntOrString::Int(1)),
            }
        }
        None => wanted,
    };
    match live.filter(|live| under_way.is_some() || live.revision != hash) {
        Some(live) => beside_silent_nodes(cx, live.desired, wanted),
        None => wanted,
    }
}

/// Kubernetes counts a silent node against the budget of an update, so that a few of them would hold up all others: they come on top.
fn beside_silent_nodes(cx: &Cx<'_>, desired: u32, update: Update) -> Update {
    let silent = cx.fleet.serving().filter(|site| !site.node.ready).count();
    let silent = i32::try_from(silent).unwrap_or(i32::MAX);
    if silent == 0 {
        return update;
    }
    let more = |budget: IntOrString| {
        let nodes = match budget {
            IntOrString::Int(nodes) => nodes,
            IntOrString::String(share) => {
                i32::try_from(wave::nodes_of(&share, desired)).unwrap_or(i32::MAX)
            }
        };
        IntOrString::Int(nodes.saturating_add(silent))
    };
    match update.max_unavailable {
        Some(unavailable) => Update {
            max_surge: None,
            max_unavailable: Some(more(unavailable)),
        },
        None => Update {
            max_surge: Some(more(update.max_surge.unwrap_or_else(render::default_surge))),
            max_unavailable: None,
        },
    }
}

/// A surge pod finds no room beside the pod that it is to replace. On a silent node none is looked for.
fn no_room_for_surge(cx: &Cx<'_>, draft: &mut Draft) -> bool {
    let mut no_room = false;
    let sites = cx.fleet.sites.values().filter(|site| site.node.ready);
    for pod in sites.flat_map(|site| {
        let beside = site.stable.iter().filter(|_| site.stable.len() > 1);
        beside.filter(|pod| pod.unschedulable.is_some() && !pod.deleting)
    }) {
        no_room |= pod.age >= UNSCHEDULABLE_PATIENCE;
        draft.look_again(PATIENCE_TICK);
    }
    no_room
}

/// Sees to it that the target's ControllerRevision exists. Comes before any status that names it.
pub(crate) fn ensure_revision(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    if cx.revision(&desired.hash).is_none() {
        let newest = cx.world.revisions.iter().map(|object| object.number).max();
        let number = newest.unwrap_or(0).saturating_add(1);
        let object = render::controller_revision(&cx.owner, &desired.revision, number);
        draft.first(Action::CreateRevision(Box::new(object)));
    }
}

/// Writes a verdict on a revision, before the status that says so.
pub(crate) fn label(cx: &Cx<'_>, hash: &str, verdict: Verdict, draft: &mut Draft) {
    if let Some(object) = cx
        .revision(hash)
        .filter(|object| object.verdict != Some(verdict))
    {
        draft.first(Action::LabelRevision {
            name: object.name.clone(),
            uid: object.uid.clone(),
            verdict,
        });
    }
}

/// Takes back a verdict of a revision whose rollout goes on without it: status was not written after the label.
pub(crate) fn void_verdict(cx: &Cx<'_>, hash: &str, draft: &mut Draft) {
    if cx.verdict(hash).is_some() {
        label(cx, hash, Verdict::Superseded, draft);
    }
}

/// Whether candidate or evaluation pods are left. One that was deleted on a node that is silent is not waited for: its node ends it
/// when it is back.
pub(crate) fn trials_left(cx: &Cx<'_>) -> bool {
    trials(cx).any(|pod| {
        let site = cx.fleet.site(&pod.node);
        !pod.deleting || site.is_none_or(|site| site.node.ready)
    })
}

/// Candidate and evaluation pods, ending ones too.
pub(crate) fn trials<'a>(cx: &Cx<'a>) -> impl Iterator<Item = &'a PodView> + use<'a> {
    cx.world.pods.iter().filter(|pod| pod.role != Role::Stable)
}

/// Deletes candidate and evaluation pods that `unwanted` names, never before their route is gone.
pub(crate) fn remove_trials(cx: &Cx<'_>, unwanted: impl Fn(&PodView) -> bool, draft: &mut Draft) {
    for pod in trials(cx).filter(|pod| unwanted(pod) && !pod.deleting) {
        if route_is_gone(cx, pod) {
            delete_pod(pod, draft);
        } else {
            draft.look_again(PATIENCE_TICK);
        }
    }
}

pub(crate) fn delete_pod(pod: &PodView, draft: &mut Draft) {
    draft.act(Action::DeletePod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
    });
}

/// No router sends to this pod any more: each on its node acknowledged, or is silent for longer than any lease.
fn route_is_gone(cx: &Cx<'_>, pod: &PodView) -> bool {
    if pod.role == Role::Evaluation {
        return true;
    }
    let Some(site) = cx.fleet.site(&pod.node) else {
        return true;
    };
    // Without a rollout no router says any more what it has under way: the pod's grace period is long enough to answer it.
    let longest = cx
        .persisted
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.frozen.as_ref());
    let longest = longest.map_or(0, |frozen| u64::from(frozen.max_request_seconds));
    site.stable
        .iter()
        .all(|router| match cx.fleet.router(router) {
            None => cx.in_state() >= ROUTE_LEASE,
            Some(view) => {
                let in_flight = view.ack.as_ref().map_or(0, |ack| ack.candidate_in_flight);
                let ended = gave_back(view, pod) || cx.in_state() >= ROUTE_LEASE;
                let answered = in_flight == 0 || cx.in_state().as_secs() >= longest;
                !view.may_route && ended && answered
            }
        })
}

/// The router has no route to this pod and gets none. That *we* gave it none is no proof: another leader may have. A cut is final
/// whoever sends what; a withdrawal holds for as long as the router is ours alone.
fn gave_back(router: &RouterView, pod: &PodView) -> bool {
    router.ack.as_ref().is_some_and(|ack| {
        ack.rollout == pod.rollout
            && match ack.kind {
                RouteKind::Cut => true,
                RouteKind::Withdraw => router.stream,
                RouteKind::Grant => false,
            }
    })
}

/// Removes what no rollout and no history needs any more.
pub(crate) fn tidy(cx: &Cx<'_>, draft: &mut Draft) {
    let current = cx
        .persisted
        .rollout
        .as_ref()
        .filter(|rollout| holds_trials(rollout.state));
    let current = current.map(|rollout| rollout.id.as_str());
    remove_trials(cx, |pod| Some(pod.rollout.as_str()) != current, draft);
    for object in superfluous_revisions(cx) {
        draft.act(Action::DeleteRevision {
            name: object.name.clone(),
            uid: object.uid.clone(),
        });
    }
}

/// States in which candidate or evaluation pods may exist.
const fn holds_trials(state: RolloutState) -> bool {
    match state {
        RolloutState::Gating
        | RolloutState::Preparing
        | RolloutState::Analyzing
        | RolloutState::Inconclusive => true,
        RolloutState::Promoting
        | RolloutState::Reverting
        | RolloutState::RollingBack
        | RolloutState::RolledBack => false,
    }
}

/// ControllerRevisions beyond the history, the newest kept; never one that anything still names. Refused ones are counted apart:
/// a refusal that is forgotten would be served again (I5).
fn superfluous_revisions<'a>(cx: &Cx<'a>) -> impl Iterator<Item = &'a RevisionObject> {
    let limit = cx.spec().rollout.revision_history_limit as usize;
    let mut unused: Vec<_> = cx
        .world
        .revisions
        .iter()
        .filter(|object| !is_named(cx, &object.hash))
        .collect();
    unused.sort_by_key(|object| std::cmp::Reverse(object.number));
    let (refused, others): (Vec<_>, Vec<_>) = unused
        .into_iter()
        .partition(|object| object.verdict == Some(Verdict::Refused));
    let beyond = others.into_iter().skip(limit);
    beyond.chain(refused.into_iter().skip(REFUSALS_REMEMBERED))
}

fn is_named(cx: &Cx<'_>, hash: &str) -> bool {
    let status = &cx.persisted;
    let reference =
        |one: &Option<RevisionRef>| one.as_ref().is_some_and(|one| one.revision == hash);
    let rollout = |one: &RolloutStatus| one.from == hash || one.to == hash;
    reference(&status.stable)
        || reference(&status.target)
        || cx
            .desired
            .as_ref()
            .is_ok_and(|desired| desired.hash == hash)
        || status.rollout.as_ref().is_some_and(rollout)
        || status
            .refused
            .iter()
            .any(|refused| refused.revision == hash)
        || live_daemon_set(cx).is_some_and(|live| live.revision == hash)
        || cx.world.pods.iter().any(|pod| pod.revision == hash)
}
