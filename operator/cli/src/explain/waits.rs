//! Why it does not go on, or will not.

use jiff::Timestamp;
use smallfleet_crds::OnInconclusive;
use smallfleet_crds::names::condition;
use smallfleet_crds::status::{PauseReason, Paused, RolloutState, RolloutStatus};

use crate::facts::{Facts, Situation};
use crate::words;

const NAMED_NODES: usize = 3;

/// Every reason, the most pressing first.
pub(super) fn all(facts: &Facts<'_>, now: Timestamp) -> Vec<String> {
    let mut reasons = match facts.situation() {
        Situation::Unseen => vec![
            "Status is empty: the operator is not running, or it has just been started.".to_owned(),
        ],
        Situation::Rejected => message(facts, condition::ACCEPTED),
        Situation::Installing => message(facts, condition::AVAILABLE),
        Situation::Serving if !facts.says(condition::READY, "True") => {
            message(facts, condition::READY)
        }
        Situation::Serving => Vec::new(),
        Situation::Rollout(_) => facts
            .rollout()
            .map(|rollout| of_rollout(facts, rollout, now))
            .unwrap_or_default(),
    };
    // A refusal is told with its figures already.
    let refused = facts
        .rollout()
        .is_some_and(|rollout| rollout.refusal.is_some());
    for reason in message(facts, condition::STALLED) {
        if !refused && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

/// Reason and message of a condition.
fn message(facts: &Facts<'_>, kind: &str) -> Vec<String> {
    let said = facts
        .condition(kind)
        .map(|condition| match condition.message.is_empty() {
            true => condition.reason.clone(),
            false => format!("{}: {}", condition.reason, condition.message),
        });
    said.into_iter().collect()
}

fn of_rollout(facts: &Facts<'_>, rollout: &RolloutStatus, now: Timestamp) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(refusal) = &rollout.refusal {
        let units = words::counted(refusal.exposed_units, "request");
        reasons.push(format!(
            "{}: {} ({units} that it answered had been counted).",
            refusal.reason,
            refusal.effect.trim_end_matches('.')
        ));
    }
    if let Some(blocked) = &rollout.blocked {
        let nodes = words::list(&blocked.nodes, NAMED_NODES);
        let place = if nodes.is_empty() {
            String::new()
        } else {
            format!(" on {nodes}")
        };
        reasons.push(format!(
            "{}{place}: {}. It goes on by itself once this is gone.",
            blocked.reason,
            blocked.message.trim_end_matches('.')
        ));
    }
    if facts.flag_is_off() {
        reasons.push("featureFlag.state is Disabled: no request reaches the candidate, and its evidence is kept.".to_owned());
    }
    if let Some(paused) = &rollout.paused {
        reasons.push(pause(facts, paused, now));
    }
    if matches!(
        rollout.state,
        RolloutState::Analyzing | RolloutState::Inconclusive
    ) {
        reasons.extend(to_come(facts, rollout));
    }
    reasons
}

fn pause(facts: &Facts<'_>, paused: &Paused, now: Timestamp) -> String {
    let why = match paused.reason {
        PauseReason::User => {
            "spec.rollout.paused is true: nothing is raised, and rollback stays armed"
        }
        PauseReason::Approval => "the step has its evidence and needs the approval of a person",
        PauseReason::Inconclusive => "the step came to no verdict before its deadline",
        PauseReason::SampleRatio => {
            "the arms did not get the shares that the coin gives, so the counts cannot be trusted; no request reaches the candidate"
        }
    };
    let step = facts
        .step()
        .map(|step| format!(" in step \"{}\"", step.settings.name));
    let since = words::age(paused.since.0, now);
    format!("Paused for {since}{}: {why}.", step.unwrap_or_default())
}

/// What the step still needs.
fn to_come(facts: &Facts<'_>, rollout: &RolloutStatus) -> Vec<String> {
    let mut reasons = Vec::new();
    let exposed = rollout.step_exposed_seconds;
    if let Some(step) = facts.step() {
        let least = u64::from(step.settings.min_exposure_seconds);
        if exposed < least {
            reasons.push(format!(
                "Exposure: {} of at least {}.",
                words::duration(exposed),
                words::duration(least)
            ));
        }
    }
    let judged = facts.judged();
    let open: Vec<_> = judged
        .iter()
        .filter(|objective| !objective.passed)
        .map(|objective| &objective.name)
        .collect();
    if !open.is_empty() {
        reasons.push(format!(
            "Evidence: {} of {} to pass ({}).",
            words::counted(open.len() as u64, "objective"),
            judged.len(),
            words::list(&open, 3)
        ));
    }
    if rollout.state == RolloutState::Analyzing
        && rollout.paused.is_none()
        && (judged.is_empty() || !open.is_empty())
    {
        reasons.push(deadline(facts, exposed));
    }
    reasons
}

fn deadline(facts: &Facts<'_>, exposed: u64) -> String {
    let settings = &facts.model.spec.rollout;
    let deadline = u64::from(settings.step_deadline_seconds);
    let then = match settings.on_inconclusive {
        OnInconclusive::PromoteIfBounded => {
            "goes on if a slow-down of x1.5 and 5 points more errors are excluded, else it pauses"
        }
        OnInconclusive::Pause => "pauses",
        OnInconclusive::RollBack => "is rolled back",
    };
    let left = deadline.saturating_sub(exposed);
    format!(
        "Without a verdict in {} more of exposure it {then}.",
        words::duration(left)
    )
}
