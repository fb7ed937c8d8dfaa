//! Analyzing: both arms are counted until the evidence ends the step, or its deadline does.

use smallfleet_analysis::verdict::{NextStep, StepEnd, step_end};
use smallfleet_analysis::{Assessment, Verdict};
use smallfleet_crds::Approval;
use smallfleet_crds::status::{PauseReason, RolloutState, RolloutStatus};

use super::exit::{self, Moved};
use super::preparing::{current_step, keep_wave, raise};
use super::{inconclusive, modifiers};
use crate::constants::CANDIDATE_MISSING_PATIENCE;
use crate::draft::{Cx, Draft};
use crate::look::{Evidence, Look};
use crate::{health, thresholds, wave};

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    let Some(evidence) = super::guard(cx, draft) else {
        return;
    };
    if cx.world.leader.resuming {
        return;
    }
    keep_wave(cx, draft);
    let misses_candidate = show_missing(cx, draft);
    let flag_is_back = modifiers::lower_traffic(cx, draft);
    if let Evidence::Here(look) = &evidence {
        thresholds::freeze(cx, look, draft);
        if end(cx, look, draft) == Moved::Yes {
            return;
        }
        if misses_candidate && !cx.held() && cx.flag_enabled() {
            let message = "a candidate with traffic has not answered for candidateReadySeconds";
            inconclusive::enter(cx, message, Some(look), draft);
            return;
        }
    }
    if flag_is_back && !cx.held() && draft.rollout().state == RolloutState::Analyzing {
        raise(cx, &evidence, RolloutState::Analyzing, draft);
    }
}

/// Shows a candidate with traffic that does not answer; true when it has not for too long.
pub(super) fn show_missing(cx: &Cx<'_>, draft: &mut Draft) -> bool {
    let lasting = cx.world.clock.candidate_missing_for;
    if lasting < CANDIDATE_MISSING_PATIENCE || draft.rollout().blocked.is_some() {
        return false;
    }
    let missing = health::missing(&cx.fleet, draft.rollout());
    let is_late = missing.is_some() && lasting >= cx.candidate_ready_limit();
    wave::block(missing, draft);
    is_late
}

/// Ends the step when it may end, pauses where someone has to agree, and gives up at the deadline.
fn end(cx: &Cx<'_>, look: &Look, draft: &mut Draft) -> Moved {
    let Some(assessment) = trusted(cx, look, draft) else {
        return Moved::No;
    };
    let summary = summary(cx, look, assessment, draft.rollout());
    let waits = summary.is_some() && !approved(draft.rollout());
    let reason = modifiers::users(cx).or(waits.then_some(PauseReason::Approval));
    modifiers::pause(cx, reason, draft);
    if cx.held() || !cx.flag_enabled() || waits {
        return Moved::No;
    }
    match summary {
        Some(summary) => {
            look.show(draft);
            exit::forward(cx, &summary, draft)
        }
        None if is_over(cx, look, draft.rollout()) => {
            inconclusive::enter(
                cx,
                "no evidence decided the step within stepDeadlineSeconds",
                Some(look),
                draft,
            );
            Moved::Yes
        }
        None => Moved::No,
    }
}

/// The look, unless the counts cannot be trusted: then no traffic goes to the candidate, or nothing is decided.
pub(super) fn trusted<'l>(
    cx: &Cx<'_>,
    look: &'l Look,
    draft: &mut Draft,
) -> Option<&'l Assessment> {
    match &look.result {
        Ok(assessment) if assessment.verdict == Verdict::SampleRatioMismatch => {
            modifiers::pause(cx, Some(PauseReason::SampleRatio), draft);
            modifiers::lower_traffic(cx, draft);
            None
        }
        Ok(assessment) => Some(assessment),
        Err(error) => {
            let wave = draft.rollout().wave.clone();
            wave::block(
                Some(wave::blocked(error.reason(), &error.to_string(), wave)),
                draft,
            );
            None
        }
    }
}

/// Whether the step's exposure has reached its deadline.
pub(super) fn is_over(cx: &Cx<'_>, look: &Look, rollout: &RolloutStatus) -> bool {
    look.step_exposed_seconds(rollout) >= u64::from(cx.spec().rollout.step_deadline_seconds)
}

/// No approval is required, or it was given.
pub(super) fn approved(rollout: &RolloutStatus) -> bool {
    let required = current_step(rollout).is_some_and(|step| step.approval == Approval::Required);
    !required || rollout.approved.contains(&rollout.step)
}

/// Why the step may end, in words; `None` while it may not.
pub(super) fn summary(
    cx: &Cx<'_>,
    look: &Look,
    assessment: &Assessment,
    rollout: &RolloutStatus,
) -> Option<String> {
    let step = current_step(rollout)?;
    if look.step_exposed_seconds(rollout) < u64::from(step.min_exposure_seconds) {
        return None;
    }
    match step_end(&look.settings, assessment, next_step(cx, look, rollout)) {
        StepEnd::Passed => Some(format!(
            "every objective passes after {} units",
            look.units().total()
        )),
        StepEnd::LittleHarm { requests } => Some(format!(
            "at most {requests:.0} requests of the next step can be harmed"
        )),
        StepEnd::NotYet => None,
    }
}

/// The step that follows, with the requests that it would see at the rate so far. The rate is that of the first, smallest
/// wave, so it is rather too high than too low.
fn next_step(cx: &Cx<'_>, look: &Look, rollout: &RolloutStatus) -> Option<NextStep> {
    let steps = &rollout.frozen.as_ref()?.steps;
    let next = steps.get(rollout.step as usize + 1)?;
    let first = steps.first().map_or(1, |step| wave::size(cx, &step.nodes));
    let nodes = if rollout.step == 0 {
        rollout.wave.len()
    } else {
        first
    };
    let node_seconds = look.exposed.as_secs().saturating_mul(nodes as u64);
    let wanted =
        (wave::size(cx, &next.nodes) as u64).saturating_mul(u64::from(next.min_exposure_seconds));
    let expected = look
        .units()
        .total()
        .saturating_mul(wanted)
        .checked_div(node_seconds);
    Some(NextStep {
        pi_permille: u16::try_from(next.candidate_traffic.permille()).unwrap_or(1000),
        // Without a unit nothing is known of the rate, so it is taken for unbounded.
        expected_requests: expected
            .filter(|expected| *expected > 0)
            .unwrap_or(u64::MAX),
    })
}
