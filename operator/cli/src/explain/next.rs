//! What one may do now.

use smallfleet_crds::names::condition;
use smallfleet_crds::status::{PauseReason, RolloutState, RolloutStatus};

use crate::facts::{Facts, Situation};

use super::Next;

/// The most sensible first.
pub(super) fn all(facts: &Facts<'_>) -> Vec<Next> {
    match facts.situation() {
        Situation::Unseen => vec![kubectl(
            "get pods -A -l app.kubernetes.io/name=smallfleet",
            "see whether the operator runs",
        )],
        Situation::Rejected => vec![edit(
            facts,
            "mend what the message names (or in Git, where the manifest lives)",
        )],
        Situation::Installing => installing(facts),
        Situation::Serving if facts.says(condition::READY, "True") => Vec::new(),
        Situation::Serving => vec![ours(facts, "get", " -w", "watch it")],
        Situation::Rollout(_) => facts
            .rollout()
            .map(|rollout| of_rollout(facts, rollout))
            .unwrap_or_default(),
    }
}

fn installing(facts: &Facts<'_>) -> Vec<Next> {
    let pods = format!(
        "get pods -n {} -l smallfleet.dev/model={}",
        facts.namespace(),
        facts.name()
    );
    vec![
        ours(facts, "get", " -w", "watch it"),
        kubectl(&pods, "see what its pods wait for"),
    ]
}

fn of_rollout(facts: &Facts<'_>, rollout: &RolloutStatus) -> Vec<Next> {
    match rollout.state {
        RolloutState::RolledBack => after_refusal(facts),
        RolloutState::RollingBack | RolloutState::Reverting => {
            vec![ours(facts, "get", " -w", "watch it")]
        }
        RolloutState::Promoting => vec![
            ours(facts, "get", " -w", "watch it"),
            ours(facts, "abort", "", "go back to the old revision"),
        ],
        RolloutState::Gating
        | RolloutState::Preparing
        | RolloutState::Analyzing
        | RolloutState::Inconclusive => in_progress(facts, rollout),
    }
}

fn after_refusal(facts: &Facts<'_>) -> Vec<Next> {
    let what = if facts.has_no_stable() {
        "ask for another revision (or in Git)"
    } else {
        "ask for another revision, or for the stable one again (or in Git)"
    };
    vec![
        edit(facts, what),
        ours(facts, "retry", "", "let the same revision begin anew"),
    ]
}

fn in_progress(facts: &Facts<'_>, rollout: &RolloutStatus) -> Vec<Next> {
    let reason = rollout.paused.as_ref().map(|paused| paused.reason);
    let mut next = vec![after_pause(facts, reason)];
    if facts.flag_is_off() {
        next.push(edit(facts, "set spec.featureFlag.state to Enabled"));
    }
    next.push(ours(
        facts,
        "promote",
        " --full",
        "promote the candidate now, whatever the evidence",
    ));
    next.push(ours(facts, "abort", "", "give the candidate up"));
    next
}

fn after_pause(facts: &Facts<'_>, reason: Option<PauseReason>) -> Next {
    match reason {
        Some(PauseReason::User) => edit(facts, "set spec.rollout.paused to false"),
        Some(PauseReason::Approval) => ours(facts, "promote", "", "approve the step"),
        Some(PauseReason::Inconclusive) => ours(facts, "promote", "", "go on all the same"),
        Some(PauseReason::SampleRatio) => kubectl(
            &format!(
                "logs -n {} -l smallfleet.dev/model={} -c router --tail=100",
                facts.namespace(),
                facts.name()
            ),
            "look for what takes requests from one arm",
        ),
        None => ours(facts, "get", " -w", "watch it"),
    }
}

fn ours(facts: &Facts<'_>, verb: &str, option: &str, what: &str) -> Next {
    Next {
        command: format!(
            "kubectl smallfleet {verb} {} -n {}{option}",
            facts.name(),
            facts.namespace()
        ),
        what: what.to_owned(),
    }
}

fn edit(facts: &Facts<'_>, what: &str) -> Next {
    kubectl(
        &format!("edit smallmodel {} -n {}", facts.name(), facts.namespace()),
        what,
    )
}

fn kubectl(arguments: &str, what: &str) -> Next {
    Next {
        command: format!("kubectl {arguments}"),
        what: what.to_owned(),
    }
}
