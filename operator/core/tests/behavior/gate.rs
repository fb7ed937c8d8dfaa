//! The accuracy gate.

use serde_json::json;
use smallfleet_core::world::Role;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

fn gate(minimum: &str) -> serde_json::Value {
    json!([
        {"name": "latency", "type": "Latency"},
        {"name": "gate", "type": "Accuracy", "accuracy": {"dataset": {"image": "registry/data@sha256:d"}, "minimum": minimum}},
    ])
}

fn gated(nodes: usize) -> Lab {
    let mut lab = Lab::at_rest(nodes);
    lab.edit("/rollout/analysis/objectives", gate("0%"));
    lab
}

#[test]
fn stable_and_candidate_are_evaluated_before_any_traffic() {
    let mut lab = gated(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Gating);
    lab.run_until(60, |lab| lab.state() == Some(RolloutState::Preparing));
    assert!(lab.emitted("GatePassed"));
    let mut revisions: Vec<_> = lab
        .evidence
        .as_ref()
        .unwrap()
        .0
        .evaluations
        .iter()
        .map(|one| one.revision.clone())
        .collect();
    revisions.sort();
    let mut expected = vec![lab.hash("1"), lab.hash("2")];
    expected.sort();
    assert_eq!(revisions, expected);
    lab.run(4);
    assert!(lab.pods_of(Role::Evaluation).is_empty());
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn an_evaluation_that_the_api_server_refuses_is_shown() {
    let mut lab = gated(2);
    lab.quota_exceeded = true;
    lab.ask_for("2");
    lab.run(10);
    assert_eq!(lab.rollout().blocked.unwrap().reason, "PodRefused");
    lab.quota_exceeded = false;
    lab.run_until(60, |lab| lab.state() == Some(RolloutState::Preparing));
    assert_eq!(lab.rollout().blocked, None);
}

#[test]
fn an_evaluation_that_was_evicted_before_it_began_is_made_again() {
    let mut lab = gated(1);
    lab.ask_for("2");
    lab.run_until(20, |lab| !lab.pods_of(Role::Evaluation).is_empty());
    lab.evict(Role::Evaluation, "n0");
    lab.run_until(90, |lab| lab.state() == Some(RolloutState::Preparing));
}

#[test]
fn results_are_cached_over_rollouts() {
    let mut lab = gated(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Preparing);
    lab.ask_for("3");
    lab.run_until(60, |lab| {
        lab.state() == Some(RolloutState::Preparing) && lab.rollout().to == lab.hash("3")
    });
    let evaluations = &lab.evidence.as_ref().unwrap().0.evaluations;
    assert_eq!(
        evaluations
            .iter()
            .filter(|one| one.revision == lab.hash("1"))
            .count(),
        1
    );
    assert_eq!(evaluations.len(), 3);
}

#[test]
fn each_node_class_is_evaluated() {
    let mut lab = Lab::new(3);
    lab.classes.insert("n0".to_owned(), "arm64-neon".to_owned());
    lab.run(30);
    lab.edit("/rollout/analysis/objectives", gate("0%"));
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Preparing);
    let mut classes: Vec<_> = lab
        .evidence
        .as_ref()
        .unwrap()
        .0
        .evaluations
        .iter()
        .map(|one| one.node_class.clone())
        .collect();
    classes.sort();
    assert_eq!(
        classes,
        ["amd64-avx2", "amd64-avx2", "arm64-neon", "arm64-neon"]
    );
}

#[test]
fn a_less_accurate_revision_is_refused_without_a_request() {
    let mut lab = gated(2);
    lab.behave("2", Behavior::Wrong);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::RolledBack);
    let refused = lab.status().refused[0].clone();
    assert_eq!(
        (refused.reason.as_str(), refused.objective.as_str()),
        ("GateFailed", "gate")
    );
    assert!(
        refused.effect.contains("points fewer"),
        "{}",
        refused.effect
    );
    assert!(!lab.emitted("TrafficRaised"));
}

#[test]
fn a_dataset_that_is_missing_or_does_not_fit_is_specs_fault() {
    for (behavior, reason) in [
        (Behavior::Fails("LabelsDoNotMatch"), "LabelsDoNotMatch"),
        (Behavior::Fails("NoDataset"), "NoDataset"),
        (
            Behavior::NoImage("registry/data@sha256:d: manifest unknown"),
            "ImageNotFound",
        ),
    ] {
        let mut lab = gated(2);
        lab.behave("2", behavior);
        lab.ask_for("2");
        lab.run_until_state(RolloutState::RolledBack);
        assert_eq!(lab.status().phase, "Rejected");
        assert!(lab.status().refused.is_empty());
        assert_eq!(lab.condition("Stalled").unwrap().1, reason);
        lab.behave("2", Behavior::Good);
        lab.edit(
            "/rollout/analysis/objectives",
            json!([{"name": "latency", "type": "Latency"}]),
        );
        lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    }
}

#[test]
fn an_engine_that_fails_in_the_gate_is_the_candidates_fault() {
    for nodes in [1, 3] {
        let mut lab = gated(nodes);
        lab.behave("2", Behavior::Fails("ProbeFailed"));
        lab.ask_for("2");
        lab.run_until_state(RolloutState::RolledBack);
        assert_eq!(
            lab.status().refused[0].reason,
            "CandidateFault",
            "{nodes} nodes"
        );
    }
}

#[test]
fn a_registry_that_is_down_blocks_the_gate() {
    let mut lab = gated(1);
    lab.behave("2", Behavior::NoImage("connection refused"));
    lab.ask_for("2");
    lab.run_until(30, |lab| {
        lab.status()
            .rollout
            .is_some_and(|rollout| rollout.blocked.is_some())
    });
    assert_eq!(lab.rollout().blocked.unwrap().reason, "ImagePull");
    lab.behave("2", Behavior::Good);
    lab.run_until_state(RolloutState::Preparing);
    assert!(lab.rollout().blocked.is_none());
}

#[test]
fn a_first_revision_is_held_to_the_minimum_alone() {
    let mut lab = Lab::new(2);
    lab.edit("/rollout/analysis/objectives", gate("90%"));
    lab.behave("1", Behavior::Wrong);
    lab.run_until_state(RolloutState::RolledBack);
    assert!(lab.daemon_set.is_none(), "nothing was installed");
    assert!(lab.is("Available", "False") && lab.is("Stalled", "True"));
    assert_eq!(lab.status().refused[0].reason, "GateFailed");
    lab.ask_for("2");
    lab.run_until(60, |lab| lab.status().phase == "Stable");
    assert_eq!(lab.stable(), lab.hash("2"));
}

#[test]
fn a_first_revision_without_a_minimum_needs_no_gate() {
    let mut lab = Lab::new(2);
    lab.edit("/rollout/analysis/objectives", gate("0%"));
    lab.run(20);
    assert_eq!(lab.status().phase, "Stable");
    assert!(lab.evidence.is_none());
}

#[test]
fn limited_evidence_is_a_condition_as_long_as_it_matters() {
    let mut lab = gated(2);
    lab.edit(
        "/rollout/analysis/objectives/1/accuracy/maxDropPoints",
        json!("0.1%"),
    );
    lab.ask_for("2");
    lab.run_until(60, |lab| lab.state() == Some(RolloutState::Preparing));
    let (status, _, message) = lab.condition("EvidenceLimited").unwrap();
    assert_eq!(status, "True");
    assert!(message.contains("1000 examples"), "{message}");
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert!(lab.is("EvidenceLimited", "True"), "it rests on no more");
    lab.edit(
        "/rollout/analysis/objectives",
        json!([{"name": "latency", "type": "Latency"}]),
    );
    lab.ask_for("3");
    lab.run_until(400, |lab| lab.stable() == lab.hash("3"));
    assert_eq!(lab.condition("EvidenceLimited"), None);
}
