//! Commands of people: answered once, in the same write as their effect (`design.md` 2).

use smallfleet_crds::Approval;
use smallfleet_crds::command::{Command, CommandVerb, NONCE_MAX_LENGTH};
use smallfleet_crds::names::ANNOTATION_COMMAND;
use smallfleet_crds::reason;
use smallfleet_crds::status::{LastCommand, PauseReason, RolloutState, RolloutStatus};

use super::begin;
use super::exit::{self, Moved};
use super::preparing::current_step;
use crate::constants::TEXT_MAX;
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::objects;
use crate::revision::Verdict;

const DONE: &str = "Done";

/// What became of a command.
enum Answer {
    /// It moved the rollout.
    Done,
    /// It has no effect; the text says why and what to do.
    Refused(String),
    /// It has to wait until this leader has heard its routers.
    Later,
}

/// Carries out a command that was not answered yet.
pub(crate) fn carry_out(cx: &Cx<'_>, desired: Option<&Desired<'_>>, draft: &mut Draft) -> Moved {
    let Some(text) = unanswered(cx) else {
        return Moved::No;
    };
    let (verb, answer) = match text.parse::<Command>() {
        Ok(command) => (command.verb.to_string(), obey(cx, desired, &command, draft)),
        Err(error) => (String::new(), Answer::Refused(error.to_string())),
    };
    let (result, moved) = match answer {
        Answer::Done => (DONE.to_owned(), Moved::Yes),
        Answer::Refused(why) => {
            draft.warn(reason::COMMAND_REFUSED, format!("{text}: {why}"));
            (why, Moved::No)
        }
        Answer::Later => return Moved::No,
    };
    draft.status.last_command = Some(LastCommand {
        nonce: nonce(text),
        verb,
        result: result.chars().take(TEXT_MAX).collect(),
    });
    moved
}

fn unanswered<'a>(cx: &Cx<'a>) -> Option<&'a str> {
    let annotations = cx.world.model.metadata.annotations.as_ref()?;
    let text = annotations.get(ANNOTATION_COMMAND)?;
    let last = cx.persisted.last_command.as_ref();
    let answered = last.is_some_and(|last| last.nonce == nonce(text));
    (!answered).then_some(text)
}

/// By which the sender finds the answer; for a text that is no command what stands where the nonce should.
fn nonce(text: &str) -> String {
    let last = text.splitn(3, '/').last().unwrap_or_default();
    last.chars().take(NONCE_MAX_LENGTH).collect()
}

fn obey(
    cx: &Cx<'_>,
    desired: Option<&Desired<'_>>,
    command: &Command,
    draft: &mut Draft,
) -> Answer {
    let Some(rollout) = draft.status.rollout.clone() else {
        return Answer::Refused("there is no rollout: edit spec to start one".to_owned());
    };
    if rollout.id != command.rollout {
        return Answer::Refused(format!(
            "rollout {} is over; the current one is {}",
            command.rollout, rollout.id
        ));
    }
    if command.verb == CommandVerb::Abort {
        return abort(cx, &rollout, draft);
    }
    if cx.world.leader.resuming {
        return Answer::Later;
    }
    let Some(desired) = desired else {
        return Answer::Refused(
            "spec cannot be followed, see condition Stalled: correct it first".to_owned(),
        );
    };
    match command.verb {
        CommandVerb::Promote => promote(cx, &rollout, draft),
        CommandVerb::PromoteFull => promote_full(cx, &rollout, draft),
        CommandVerb::Retry => retry(cx, desired, &rollout, draft),
        CommandVerb::Abort => Answer::Later,
    }
}

fn done(_: Moved) -> Answer {
    Answer::Done
}

/// A state in which a command has nothing to do.
fn nothing_to(verb: &str, rollout: &RolloutStatus) -> Answer {
    Answer::Refused(format!(
        "nothing to {verb}: the rollout is {:?}",
        rollout.state
    ))
}

const fn undecided(state: RolloutState) -> bool {
    matches!(
        state,
        RolloutState::Gating
            | RolloutState::Preparing
            | RolloutState::Analyzing
            | RolloutState::Inconclusive
    )
}

fn abort(cx: &Cx<'_>, rollout: &RolloutStatus, draft: &mut Draft) -> Answer {
    let refusal = exit::refusal(&rollout.to, reason::ABORTED, "aborted by command");
    match rollout.state {
        RolloutState::Promoting => done(exit::revert(cx, Some(refusal), draft)),
        state if undecided(state) => done(exit::roll_back(cx, refusal, draft)),
        _ => nothing_to("abort", rollout),
    }
}

fn promote(cx: &Cx<'_>, rollout: &RolloutStatus, draft: &mut Draft) -> Answer {
    let paused = rollout.paused.as_ref().map(|paused| paused.reason);
    if paused == Some(PauseReason::SampleRatio) {
        return Answer::Refused(
            "the counts of this rollout cannot be trusted: abort it, or promote --full".to_owned(),
        );
    }
    if cx.spec().rollout.paused {
        return Answer::Refused(
            "spec.rollout.paused is true: set it to false, or promote --full".to_owned(),
        );
    }
    let required = current_step(rollout).is_some_and(|step| step.approval == Approval::Required);
    match rollout.state {
        RolloutState::Inconclusive => done(exit::forward(cx, "promoted by command", draft)),
        RolloutState::Analyzing if required && !rollout.approved.contains(&rollout.step) => {
            draft.rollout().approved.push(rollout.step);
            draft.note(
                reason::STEP_APPROVED,
                format!("step {} ends once its evidence is there", rollout.step + 1),
            );
            Answer::Done
        }
        RolloutState::Analyzing => Answer::Refused(
            "this step waits for evidence, not for approval: promote --full goes on without it"
                .to_owned(),
        ),
        _ => nothing_to("promote", rollout),
    }
}

fn promote_full(cx: &Cx<'_>, rollout: &RolloutStatus, draft: &mut Draft) -> Answer {
    if !undecided(rollout.state) {
        return nothing_to("promote", rollout);
    }
    if rollout.from.is_empty() {
        return Answer::Refused(
            "the first revision is promoted by its gate alone: lower accuracy.minimum".to_owned(),
        );
    }
    done(exit::promote(cx, "promoted in full by command", draft))
}

/// The refused revision may begin anew; its label goes first.
fn retry(cx: &Cx<'_>, desired: &Desired<'_>, rollout: &RolloutStatus, draft: &mut Draft) -> Answer {
    if rollout.state != RolloutState::RolledBack || desired.hash != rollout.to {
        return nothing_to("retry", rollout);
    }
    if cx.verdict(&rollout.to) == Some(Verdict::Refused) {
        objects::label(cx, &rollout.to, Verdict::Superseded, draft);
    }
    objects::ensure_revision(cx, desired, draft);
    draft
        .status
        .refused
        .retain(|refused| refused.revision != rollout.to);
    if rollout.from.is_empty() && desired.gate().is_none() {
        draft.status.rollout = None;
        draft.status.stable = Some(desired.reference());
    } else {
        begin::start(cx, &rollout.from, &rollout.to, draft);
    }
    Answer::Done
}
