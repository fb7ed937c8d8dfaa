//! The beginning of a rollout: its id stands in status before anything else of it exists.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use smallfleet_analysis::constants::ANALYSIS_VERSION;
use smallfleet_crds::reason;
use smallfleet_crds::status::{Frozen, Refused, RolloutState, RolloutStatus};

use crate::constants::{COIN_VERSION, ROLLOUT_ID_LENGTH};
use crate::desired::Desired;
use crate::draft::{Cx, Draft, Trouble};
use crate::objects;
use crate::revision::Verdict;
use crate::settings;

/// What the gate of a rollout says whose revision needs no proof.
pub(super) const PROMOTED_BEFORE: &str = "it was promoted before";

/// Spec asks for another revision than the one that serves.
pub(crate) fn next(cx: &Cx<'_>, desired: &Desired<'_>, stable: &str, draft: &mut Draft) {
    objects::ensure_revision(cx, desired, draft);
    if cx.is_refused(&desired.hash) {
        stay_refused(cx, desired, stable, draft);
    } else if cx.verdict(&desired.hash) == Some(Verdict::Stable) {
        known_good(cx, desired, stable, draft);
    } else {
        start(cx, stable, &desired.hash, draft);
    }
}

/// The first revision of all, behind the gate's minimum.
pub(crate) fn first(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    if cx.is_refused(&desired.hash) {
        stay_refused(cx, desired, "", draft);
    } else {
        start(cx, "", &desired.hash, draft);
    }
}

/// Begins with the gate, if there is one, else with the first step.
pub(crate) fn start(cx: &Cx<'_>, from: &str, to: &str, draft: &mut Draft) {
    let rollout = fresh(cx, from, to);
    let next = match rollout.state {
        RolloutState::Gating => "it is evaluated on the labelled set before any traffic",
        _ => "candidates start on the first step's nodes",
    };
    draft.note(
        reason::ROLLOUT_STARTED,
        format!("rollout {}: revision {to} after {from}; {next}", rollout.id),
    );
    draft.status.analysis = None;
    draft.status.rollout = Some(rollout);
}

/// A rollout with a new id; what the verdict depends on is frozen.
pub(crate) fn fresh(cx: &Cx<'_>, from: &str, to: &str) -> RolloutStatus {
    let rollout = &cx.spec().rollout;
    let signal = settings::default_signal(cx.spec().task);
    let state = match settings::gate(&rollout.analysis) {
        Some(_) => RolloutState::Gating,
        None => RolloutState::Preparing,
    };
    RolloutStatus {
        id: new_id(cx),
        from: from.to_owned(),
        to: to.to_owned(),
        state,
        sequence: 1,
        step_since: Some(Time(cx.world.clock.now)),
        frozen: Some(Frozen {
            analysis_version: ANALYSIS_VERSION,
            coin_version: COIN_VERSION,
            analysis: settings::resolved(&rollout.analysis, signal),
            steps: rollout.steps.clone(),
            max_request_seconds: longest_request_seconds(cx, from, to),
            latency: Vec::new(),
        }),
        ..RolloutStatus::default()
    }
}

fn new_id(cx: &Cx<'_>) -> String {
    let mut id = format!("{:032x}", cx.world.random);
    id.truncate(ROLLOUT_ID_LENGTH);
    id
}

/// The same maturity for both arms: that of the longer one.
fn longest_request_seconds(cx: &Cx<'_>, from: &str, to: &str) -> u32 {
    let of = |hash: &str| {
        cx.revision(hash)
            .map(|object| object.revision.runtime.max_request_seconds)
    };
    let wanted = cx.spec().runtime.max_request_seconds;
    of(from).unwrap_or(wanted).max(of(to).unwrap_or(wanted))
}

/// A refused revision is never served until someone retries it.
fn stay_refused(cx: &Cx<'_>, desired: &Desired<'_>, from: &str, draft: &mut Draft) {
    let known = cx
        .persisted
        .refused
        .iter()
        .find(|refused| refused.revision == desired.hash);
    let refusal = known.cloned().unwrap_or_else(|| Refused {
        revision: desired.hash.clone(),
        reason: reason::REFUSED_BEFORE.to_owned(),
        effect: "it was refused before; the reason is not kept any more".to_owned(),
        ..Refused::default()
    });
    super::exit::refuse(&refusal, draft);
    draft.warn(
        reason::STILL_REFUSED,
        format!(
            "revision {} was refused ({}) and is not served; edit spec or retry it",
            desired.hash, refusal.reason
        ),
    );
    let mut rollout = fresh(cx, from, &desired.hash);
    rollout.state = RolloutState::RolledBack;
    rollout.refusal = Some(refusal);
    draft.status.rollout = Some(rollout);
}

/// A revision that was promoted before rolls at once.
fn known_good(cx: &Cx<'_>, desired: &Desired<'_>, from: &str, draft: &mut Draft) {
    if cx.spec().rollout.paused {
        draft.trouble = Some(Trouble {
            reason: reason::PAUSED.to_owned(),
            message: format!(
                "revision {} was promoted before and rolls once spec.rollout.paused is false",
                desired.hash
            ),
            stalled: false,
        });
        return;
    }
    let mut rollout = fresh(cx, from, &desired.hash);
    rollout.state = RolloutState::Promoting;
    rollout.gate = PROMOTED_BEFORE.to_owned();
    draft.note(
        reason::ROLLOUT_STARTED,
        format!(
            "rollout {}: revision {} was promoted before and rolls at once",
            rollout.id, desired.hash
        ),
    );
    draft.status.rollout = Some(rollout);
}
