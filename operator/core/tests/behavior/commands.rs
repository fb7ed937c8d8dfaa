//! Commands: answered once, never acting on another rollout.

use smallfleet_crds::names::ANNOTATION_COMMAND;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

fn result(lab: &Lab) -> String {
    lab.status()
        .last_command
        .map(|command| command.result)
        .unwrap_or_default()
}

fn analyzing() -> Lab {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab
}

#[test]
fn abort_refuses_until_a_retry() {
    let mut lab = analyzing();
    let first = lab.rollout().id;
    lab.command("abort");
    lab.run(1);
    assert_eq!(lab.granted(), 0);
    assert_eq!(result(&lab), "Done");
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "Aborted");
    lab.run(30);
    assert_eq!(lab.rollout().id, first, "it is answered once");
    lab.command("retry");
    lab.rate = 2000;
    lab.run(1);
    assert_eq!(result(&lab), "Done");
    assert!(lab.status().refused.is_empty());
    assert_ne!(lab.rollout().id, first);
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn promote_full_skips_the_rest() {
    let mut lab = analyzing();
    lab.command("promote-full");
    lab.run(1);
    assert_eq!(lab.state(), Some(RolloutState::Promoting));
    lab.run_until(60, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn abort_while_promoting_goes_back() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    lab.command("abort");
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "Aborted");
    assert_eq!(lab.stable(), lab.hash("1"));
}

#[test]
fn what_does_not_fit_is_answered_and_changes_nothing() {
    let mut lab = analyzing();
    for (verb, words) in [
        ("promote", "waits for evidence"),
        ("retry", "nothing to retry"),
        ("dance", "not a verb"),
    ] {
        let before = lab.rollout();
        lab.command(verb);
        lab.run(1);
        assert!(result(&lab).contains(words), "{verb}: {}", result(&lab));
        assert_eq!(lab.rollout().id, before.id);
        assert_eq!(lab.rollout().state, before.state);
    }
    lab.command_for("abort", "000000000000");
    lab.run(1);
    assert!(result(&lab).contains("is over"), "{}", result(&lab));
    assert_eq!(lab.state(), Some(RolloutState::Analyzing));
    let annotations = lab.model.metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_COMMAND.to_owned(), "nonsense".to_owned());
    lab.run(1);
    assert!(
        result(&lab).contains("<verb>/<rolloutID>/<nonce>"),
        "{}",
        result(&lab)
    );
    let answered = lab.version;
    lab.run(3);
    assert_eq!(lab.version, answered, "it is answered once");
}

#[test]
fn a_command_without_a_rollout_is_answered() {
    let mut lab = Lab::at_rest(1);
    lab.command_for("abort", "000000000000");
    lab.run(1);
    assert!(result(&lab).contains("no rollout"), "{}", result(&lab));
}

#[test]
fn a_resuming_leader_aborts_but_does_not_promote() {
    let mut lab = analyzing();
    for node in ["n0", "n1"] {
        lab.partition(node, false);
    }
    lab.new_leader();
    lab.command("promote-full");
    lab.run(3);
    assert_eq!(result(&lab), "", "it has not heard its routers yet");
    lab.command("abort");
    lab.run(1);
    assert_eq!(lab.state(), Some(RolloutState::RollingBack));
}

#[test]
fn a_retry_of_what_fails_again_is_refused_again() {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::Slow);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::RolledBack);
    lab.command("retry");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused.len(), 1);
}

#[test]
fn an_abort_says_how_many_units_the_candidate_answered() {
    let mut lab = analyzing();
    lab.run_until(200, |lab| {
        let analysis = lab.status().analysis;
        analysis.is_some_and(|analysis| analysis.objectives[0].units.candidate > 0)
    });
    lab.command("abort");
    lab.run(1);
    assert!(lab.status().refused[0].exposed_units > 0);
}
