//! Conditions (`design.md` 6): Accepted, Available and Ready always; Reconciling, Stalled, Paused and
//! EvidenceLimited only while true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use smallfleet_crds::names::condition;
use smallfleet_crds::reason;
use smallfleet_crds::status::{PauseReason, RolloutState, RolloutStatus, SmallModelStatus};

use super::words;
use crate::draft::{Cx, Draft};
use crate::objects;
use crate::revision::Verdict;

/// A condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Why {
    reason: String,
    message: String,
}

fn why(reason: &str, message: impl Into<String>) -> Why {
    Why {
        reason: reason.to_owned(),
        message: message.into(),
    }
}

pub(super) fn update(cx: &Cx<'_>, draft: &mut Draft) {
    let status = &draft.status;
    let stalled = stalled(cx, draft);
    let ready = ready(cx, draft, stalled.as_ref());
    let reconciling = match (&stalled, &ready) {
        (None, (false, why)) => Some(why.clone()),
        _ => None,
    };
    let mut conditions = vec![
        made(condition::ACCEPTED, accepted(cx, status)),
        made(condition::AVAILABLE, available(cx)),
        made(condition::READY, ready),
    ];
    let while_true = [
        (condition::RECONCILING, reconciling),
        (condition::STALLED, stalled),
        (condition::PAUSED, paused(status)),
        (condition::EVIDENCE_LIMITED, evidence_limited(status)),
    ];
    for (r#type, why) in while_true {
        conditions.extend(why.map(|why| made(r#type, (true, why))));
    }
    for condition in &mut conditions {
        date(cx, condition);
    }
    draft.status.conditions = conditions;
}

fn made(r#type: &str, (holds, why): (bool, Why)) -> Condition {
    Condition {
        type_: r#type.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: why.reason,
        message: why.message,
        observed_generation: None,
        last_transition_time: Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH),
    }
}

/// The time changes only with the status.
fn date(cx: &Cx<'_>, condition: &mut Condition) {
    let before = cx
        .persisted
        .conditions
        .iter()
        .find(|before| before.type_ == condition.type_);
    condition.last_transition_time = match before {
        Some(before) if before.status == condition.status => before.last_transition_time.clone(),
        _ => Time(cx.world.clock.now),
    };
    condition.observed_generation = cx.world.model.metadata.generation;
}

fn accepted(cx: &Cx<'_>, status: &SmallModelStatus) -> (bool, Why) {
    if let Err(invalid) = &cx.desired {
        return (false, why(reason::INVALID_SPEC, invalid.to_string()));
    }
    match &status.rollout {
        Some(rollout) if is_rejected(status, rollout) => (false, of_refusal(status, rollout)),
        _ => (true, why(reason::VALID, "spec is valid")),
    }
}

fn is_rejected(status: &SmallModelStatus, rollout: &RolloutStatus) -> bool {
    let over = matches!(
        rollout.state,
        RolloutState::RollingBack | RolloutState::RolledBack
    );
    over && !words::is_refused(status, rollout)
}

fn available(cx: &Cx<'_>) -> (bool, Why) {
    let (ready, serving) = (cx.fleet.ready().count(), cx.fleet.serving().count());
    if ready > 0 {
        (
            true,
            why(reason::SERVING, format!("{ready} of {serving} nodes serve")),
        )
    } else if serving == 0 {
        (
            false,
            why(
                reason::NO_NODES,
                "no node is chosen by spec.placement and its taints",
            ),
        )
    } else {
        (
            false,
            why(
                reason::NOTHING_SERVES,
                format!("none of {serving} nodes serves"),
            ),
        )
    }
}

fn stalled(cx: &Cx<'_>, draft: &Draft) -> Option<Why> {
    if let Err(invalid) = &cx.desired {
        return Some(why(reason::INVALID_SPEC, invalid.to_string()));
    }
    if let Some(text) = &cx.conflict {
        let message =
            format!("{text}: rename this SmallModel or remove that object; nothing was touched");
        return Some(why(reason::NAME_CONFLICT, message));
    }
    if let Some(rollout) = draft
        .status
        .rollout
        .as_ref()
        .filter(|rollout| rollout.refusal.is_some())
        && matches!(
            rollout.state,
            RolloutState::RollingBack | RolloutState::RolledBack | RolloutState::Reverting
        )
    {
        return Some(of_refusal(&draft.status, rollout));
    }
    let trouble = draft.trouble.as_ref().filter(|trouble| trouble.stalled)?;
    Some(why(&trouble.reason, trouble.message.clone()))
}

fn of_refusal(status: &SmallModelStatus, rollout: &RolloutStatus) -> Why {
    let Some(refusal) = &rollout.refusal else {
        return why(reason::REFUSED, "this revision was refused");
    };
    let (verb, next) = if words::is_refused(status, rollout) {
        (
            "refused",
            "edit spec, or let it try again with kubectl smallfleet retry",
        )
    } else {
        (
            "rejected",
            "correct spec, or try again with kubectl smallfleet retry",
        )
    };
    why(
        &refusal.reason,
        format!(
            "revision {} is {verb}: {}; {next}",
            refusal.revision, refusal.effect
        ),
    )
}

/// What spec asks for serves on all Ready nodes.
fn ready(cx: &Cx<'_>, draft: &Draft, stalled: Option<&Why>) -> (bool, Why) {
    if let Some(stalled) = stalled {
        return (false, stalled.clone());
    }
    if let Some(rollout) = &draft.status.rollout {
        return (false, of_rollout(rollout));
    }
    if let Some(trouble) = &draft.trouble {
        return (false, why(&trouble.reason, trouble.message.clone()));
    }
    at_rest(cx, &draft.status)
}

fn at_rest(cx: &Cx<'_>, status: &SmallModelStatus) -> (bool, Why) {
    let Some(stable) = &status.stable else {
        return (false, why(reason::INSTALLING, "nothing serves yet"));
    };
    let rolled = objects::template_is(cx, &stable.revision);
    if rolled && cx.fleet.converged_to(&stable.revision) && cx.fleet.ready().next().is_some() {
        return (
            true,
            why(
                reason::CONVERGED,
                format!("revision {} serves on all Ready nodes", stable.revision),
            ),
        );
    }
    let counts = &status.nodes;
    let progress = format!(
        "{} of {} nodes serve revision {}",
        counts.updated, counts.desired, stable.revision
    );
    if counts.desired == 0 {
        return (
            false,
            why(
                reason::NO_NODES,
                "no node is chosen by spec.placement and its taints",
            ),
        );
    }
    let installed = cx.verdict(&stable.revision) == Some(Verdict::Stable);
    (
        false,
        why(
            if installed {
                reason::NODES_UNAVAILABLE
            } else {
                reason::INSTALLING
            },
            progress,
        ),
    )
}

fn of_rollout(rollout: &RolloutStatus) -> Why {
    if let Some(blocked) = &rollout.blocked {
        return why(&blocked.reason, blocked.message.clone());
    }
    let change = format!("revision {} after {}", rollout.to, rollout.from);
    match rollout.state {
        RolloutState::Gating => why(
            reason::GATING,
            format!("{change} is evaluated on the labelled set"),
        ),
        RolloutState::Preparing => why(
            reason::PREPARING,
            format!(
                "candidates of {change} start on {} nodes",
                rollout.wave.len()
            ),
        ),
        RolloutState::Analyzing => why(
            reason::ANALYZING,
            format!("{change} is compared on {} nodes", rollout.wave.len()),
        ),
        RolloutState::Inconclusive => why(
            reason::INCONCLUSIVE,
            format!("{change}: no evidence decided this step in time; promote or abort it"),
        ),
        RolloutState::Promoting => why(reason::PROMOTING, format!("{change} rolls over the fleet")),
        RolloutState::Reverting => why(reason::REVERTING, format!("{change} is taken back")),
        RolloutState::RollingBack | RolloutState::RolledBack => {
            why(reason::ROLLING_BACK, format!("{change} is rolled back"))
        }
    }
}

/// Of the rollout in progress, else of the promotion that made what serves stable.
fn evidence_limited(status: &SmallModelStatus) -> Option<Why> {
    let bound = match (&status.rollout, &status.last_rollout) {
        (Some(rollout), _) => &rollout.evidence_limited,
        (None, Some(last)) => &last.evidence_limited,
        (None, None) => return None,
    };
    (!bound.is_empty()).then(|| why(reason::BOUND_ONLY, bound.clone()))
}

fn paused(status: &SmallModelStatus) -> Option<Why> {
    let paused = status.rollout.as_ref()?.paused.as_ref()?;
    let message = match paused.reason {
        PauseReason::User => "spec.rollout.paused is true: set it to false to go on",
        PauseReason::Approval => "the step waits for approval: kubectl smallfleet promote",
        PauseReason::Inconclusive => {
            "no evidence decided the step in time: kubectl smallfleet promote or abort"
        }
        PauseReason::SampleRatio => {
            "the share of requests is not what was asked for, so the counts cannot be trusted: no traffic goes to the candidate; kubectl smallfleet abort, or promote --full if you know better"
        }
    };
    Some(why(&format!("{:?}", paused.reason), message))
}
