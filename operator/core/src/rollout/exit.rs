//! Ways out of a state. Lowering exposure: act, then persist. Each leaves the draft with the new status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use smallfleet_analysis::{ObjectiveKind, Verdict as EvidenceVerdict};
use smallfleet_crds::reason;
use smallfleet_crds::status::{LastRollout, Refused, RolloutState, RolloutStatus};

use crate::constants::{REFUSED_MAX, TEXT_MAX};
use crate::draft::{Cx, Draft};
use crate::look::{self, Evidence, Look};
use crate::objects;
use crate::revision::Verdict;
use crate::rollout::begin;
use crate::world::OwnCut;

/// Whether a transition was made; a plan makes at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Yes,
    No,
}

/// How a rollout ended without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Cancelled,
    Superseded,
}

pub(crate) fn refusal(revision: &str, reason: &str, effect: &str) -> Refused {
    Refused {
        revision: revision.to_owned(),
        reason: reason.to_owned(),
        effect: effect.chars().take(TEXT_MAX).collect(),
        ..Refused::default()
    }
}

/// The refusal that the evidence asks for, if it does.
pub(super) fn of_evidence(rollout: &RolloutStatus, look: &Look) -> Option<Refused> {
    let assessment = look.result.as_ref().ok()?;
    let EvidenceVerdict::RollBack { objective } = &assessment.verdict else {
        return None;
    };
    let kind = look
        .settings
        .objectives
        .iter()
        .find(|one| one.name == *objective)
        .map(|one| &one.kind);
    let reason = match kind {
        Some(ObjectiveKind::Latency(_)) => reason::LATENCY_REGRESSION,
        _ => reason::ERROR_REGRESSION,
    };
    let effect = assessment
        .objective(objective)
        .map_or("", |report| &report.effect);
    let nodes = rollout.wave.len();
    let effect = format!(
        "{effect} after {} units on {nodes} node{}",
        look.units().total(),
        if nodes == 1 { "" } else { "s" }
    );
    Some(Refused {
        objective: objective.clone(),
        ..refusal(&rollout.to, reason, &effect)
    })
}

/// Ends traffic at once. What a router did not hear ends with its lease.
fn cut(cx: &Cx<'_>, refusal: Option<&Refused>, draft: &mut Draft) {
    let rollout = cx
        .persisted
        .rollout
        .as_ref()
        .filter(|rollout| !rollout.wave.is_empty());
    if let Some(rollout) = rollout {
        draft.cut(OwnCut {
            rollout: rollout.id.clone(),
            refusal: refusal.cloned(),
        });
    }
}

/// Ends exposure in the draft's rollout.
fn lower(state: RolloutState, draft: &mut Draft) {
    let rollout = draft.rollout();
    rollout.state = state;
    rollout.candidate_traffic_permille = 0;
    rollout.granted.clear();
    rollout.sequence += 1;
    rollout.paused = None;
    rollout.blocked = None;
}

/// Cut, verdict label, status; the pods go when nothing routes to them.
pub(crate) fn roll_back(cx: &Cx<'_>, mut refused: Refused, draft: &mut Draft) -> Moved {
    refused.at.get_or_insert(MicroTime(cx.world.clock.now));
    if let Evidence::Here(look) = look::look(cx, draft.rollout()) {
        refused.exposed_units = look.units().candidate;
    }
    cut(cx, Some(&refused), draft);
    objects::label(cx, &refused.revision, Verdict::Refused, draft);
    refuse(&refused, draft);
    draft.warn(
        reason::REFUSED,
        format!(
            "{}: {}; no request reaches revision {} any more",
            refused.reason, refused.effect, refused.revision
        ),
    );
    lower(RolloutState::RollingBack, draft);
    draft.rollout().refusal = Some(refused);
    Moved::Yes
}

/// Remembers a refused revision, newest first.
pub(super) fn refuse(refused: &Refused, draft: &mut Draft) {
    let list = &mut draft.status.refused;
    list.retain(|before| before.revision != refused.revision);
    list.insert(0, refused.clone());
    list.truncate(REFUSED_MAX);
}

/// What spec names is at fault: over, but not refused.
pub(crate) fn reject(cx: &Cx<'_>, mut refused: Refused, draft: &mut Draft) -> Moved {
    cut(cx, None, draft);
    objects::void_verdict(cx, &refused.revision, draft);
    refused.at = Some(MicroTime(cx.world.clock.now));
    draft.warn(
        reason::REJECTED,
        format!("{}: {}; correct spec", refused.reason, refused.effect),
    );
    lower(RolloutState::RollingBack, draft);
    draft.rollout().refusal = Some(refused);
    Moved::Yes
}

/// Spec does not ask for this candidate any more.
pub(super) fn leave(cx: &Cx<'_>, how: Left, draft: &mut Draft) -> Moved {
    let rollout = draft.rollout().clone();
    cut(cx, None, draft);
    // `Stable` is of a promotion whose status was not written any more. What was found to be bad stays so.
    if cx.verdict(&rollout.to) != Some(Verdict::Refused) {
        objects::label(cx, &rollout.to, Verdict::Superseded, draft);
    }
    let (outcome, summary) = match how {
        Left::Cancelled => (
            "Cancelled",
            format!("spec went back to revision {}", rollout.from),
        ),
        Left::Superseded => (
            "Superseded",
            format!("spec asks for another revision than {}", rollout.to),
        ),
    };
    draft.note(
        reason::ROLLOUT_ENDED,
        format!("{outcome}: {summary}; its candidates are removed"),
    );
    draft.status.rollout = None;
    draft.status.last_rollout = Some(last(&rollout, outcome, summary));
    Moved::Yes
}

pub(super) fn last(rollout: &RolloutStatus, outcome: &str, summary: String) -> LastRollout {
    LastRollout {
        id: rollout.id.clone(),
        outcome: outcome.to_owned(),
        evidence_limited: match outcome {
            "Promoted" => rollout.evidence_limited.clone(),
            _ => String::new(),
        },
        summary,
    }
}

/// What was counted so far is void: a new rolloutID from the first step.
pub(super) fn restart(cx: &Cx<'_>, why: &str, draft: &mut Draft) -> Moved {
    let before = draft.rollout().clone();
    cut(cx, None, draft);
    objects::void_verdict(cx, &before.to, draft);
    draft.note(
        reason::ROLLOUT_RESTARTED,
        format!("the rollout of revision {} begins anew: {why}", before.to),
    );
    draft.status.analysis = None;
    draft.status.last_rollout = Some(last(&before, "Superseded", format!("it began anew: {why}")));
    draft.status.rollout = Some(begin::fresh(cx, &before.from, &before.to));
    Moved::Yes
}

/// Over to the whole fleet: verdict label, then status, then (from the next plan on) cut, candidates, template.
pub(crate) fn promote(cx: &Cx<'_>, summary: &str, draft: &mut Draft) -> Moved {
    let to = draft.rollout().to.clone();
    objects::label(cx, &to, Verdict::Stable, draft);
    lower(RolloutState::Promoting, draft);
    draft.rollout().refusal = None;
    // Those of candidates were judged; from here on the fleet's own pods are.
    draft.rollout().faults.clear();
    draft.rollout().gate = summary.to_owned();
    draft.note(
        reason::PROMOTING,
        format!("revision {to} rolls over the fleet: {summary}"),
    );
    Moved::Yes
}

/// Back from a promotion; with a refusal when the revision is to blame.
pub(crate) fn revert(cx: &Cx<'_>, refused: Option<Refused>, draft: &mut Draft) -> Moved {
    let to = draft.rollout().to.clone();
    let why = match &refused {
        Some(refused) => format!("{}: {}", refused.reason, refused.effect),
        None => "spec went back".to_owned(),
    };
    if refused.is_some() {
        objects::label(cx, &to, Verdict::Refused, draft);
    } else if draft.rollout().gate != begin::PROMOTED_BEFORE {
        objects::label(cx, &to, Verdict::Superseded, draft);
    }
    lower(RolloutState::Reverting, draft);
    if let Some(mut refused) = refused {
        refused.at = Some(MicroTime(cx.world.clock.now));
        refuse(&refused, draft);
        draft.rollout().refusal = Some(refused);
    }
    draft.warn(
        reason::REVERTING,
        format!("the fleet goes back from revision {to}: {why}"),
    );
    Moved::Yes
}

/// The step is over: the next one, or the fleet.
pub(super) fn forward(cx: &Cx<'_>, summary: &str, draft: &mut Draft) -> Moved {
    let rollout = draft.rollout();
    let steps = rollout
        .frozen
        .as_ref()
        .map_or(0, |frozen| frozen.steps.len());
    if rollout.step as usize + 1 >= steps {
        return promote(cx, summary, draft);
    }
    rollout.step += 1;
    rollout.state = RolloutState::Preparing;
    rollout.step_exposed_seconds = 0;
    rollout.step_since = Some(Time(cx.world.clock.now));
    rollout.paused = None;
    rollout.sequence += 1;
    let step = rollout.step as usize;
    let name = rollout
        .frozen
        .as_ref()
        .map_or("", |frozen| &frozen.steps[step].name)
        .to_owned();
    draft.note(
        reason::STEP_STARTED,
        format!(
            "step {}/{steps} ({name}): {summary}; candidates start on more nodes",
            step + 1
        ),
    );
    Moved::Yes
}
