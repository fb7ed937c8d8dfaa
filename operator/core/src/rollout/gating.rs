//! Gating: the labelled set decides before any traffic.

use smallfleet_analysis::gate::{GateDecision, GateOutcome, decide};
use smallfleet_crds::reason;
use smallfleet_crds::status::{Refused, RevisionRef, RolloutState};

use super::exit;
use super::{modifiers, preparing};
use crate::constants::PATIENCE_TICK;
use crate::draft::{Cx, Draft};
use crate::faults;
use crate::gate::Round;
use crate::settings;

pub(super) fn step(cx: &Cx<'_>, draft: &mut Draft) {
    modifiers::pause(cx, modifiers::users(cx), draft);
    let analysis = draft
        .rollout()
        .frozen
        .as_ref()
        .map(|frozen| frozen.analysis.clone())
        .unwrap_or_default();
    let Some(wanted) = settings::gate(&analysis) else {
        return passed(cx, "no accuracy gate is asked for", draft);
    };
    if cx.world.leader.resuming {
        return;
    }
    draft.look_again(PATIENCE_TICK);
    let round = Round::new(cx, draft.rollout(), &wanted);
    round.store_results(cx, draft);
    if let Some(finding) = round
        .failures(cx, draft)
        .or_else(|| faults::judge(draft.rollout()))
    {
        super::follow_finding(cx, finding, draft);
        return;
    }
    match round.classes(cx) {
        None => round.evaluate(cx, draft),
        Some(_) if cx.held() => {}
        Some(classes) => match decide(&wanted.settings, &classes) {
            Ok(decision) => conclude(cx, &wanted, &decision, draft),
            Err(error) => {
                let refused =
                    exit::refusal(&draft.rollout().to, error.reason(), &error.to_string());
                exit::reject(cx, refused, draft);
            }
        },
    }
}

fn conclude(cx: &Cx<'_>, gate: &settings::Gate<'_>, decision: &GateDecision, draft: &mut Draft) {
    match decision.outcome {
        GateOutcome::Pass => passed(cx, &decision.words, draft),
        GateOutcome::PassEvidenceLimited => {
            passed(cx, &format!("EvidenceLimited: {}", decision.words), draft);
        }
        GateOutcome::Fail => {
            let refused = Refused {
                objective: gate.name.to_owned(),
                ..exit::refusal(&draft.rollout().to, reason::GATE_FAILED, &decision.words)
            };
            exit::roll_back(cx, refused, draft);
        }
    }
}

/// On to the first step; a first revision is installed.
fn passed(cx: &Cx<'_>, words: &str, draft: &mut Draft) {
    let rollout = draft.rollout().clone();
    if rollout.from.is_empty() {
        let digest = cx
            .revision(&rollout.to)
            .map_or_else(String::new, |object| object.revision.digest().to_owned());
        draft.note(
            reason::GATE_PASSED,
            format!(
                "{words}; revision {} is installed on every chosen node",
                rollout.to
            ),
        );
        draft.status.stable = Some(RevisionRef {
            revision: rollout.to,
            digest,
        });
        draft.status.rollout = None;
        return;
    }
    if preparing::nothing_serves(cx) {
        exit::promote(
            cx,
            "no Ready pod of the stable revision is left anywhere",
            draft,
        );
        return;
    }
    draft.note(
        reason::GATE_PASSED,
        format!("{words}; candidates start on the first step's nodes"),
    );
    let next = draft.rollout();
    next.gate = words.to_owned();
    next.state = RolloutState::Preparing;
    next.blocked = None;
}
