//! The checks notice what they are there for.

use std::time::Duration;

use serde_json::json;
use smallfleet_analysis::counts::{ArmCounts, BinaryCounts};
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_operator::observe::EVIDENCE_KEY;
use smallfleet_protocol::v1;
use smallfleet_runtime_core::route::{Candidate, Grant, Instruction, Route, Signal};

use super::*;
use crate::lab::{MODEL, model_key};

fn store() -> Store {
    let mut store = Store::default();
    let model = json!({"metadata": {"uid": "model-uid"}, "status": {}});
    store.put(&model_key(), model);
    store
}

/// A monitor that has seen an operator write this after that.
fn seen(kind: &str, before: Option<&Value>, after: Option<&Value>, status: bool) -> Monitor {
    let store = store();
    let mut monitor = Monitor::new(MODEL, &store);
    let key = Key::new(kinds::named(kind), NAMESPACE, "intent");
    monitor.wrote(&Written {
        by: "operator-1",
        key: &key,
        before,
        after,
        status,
        store: &store,
    });
    monitor
}

fn owned(mut object: Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"uid": "model-uid", "controller": true}]);
    object
}

fn noticed(monitor: &Monitor, what: &str) -> bool {
    let violations = monitor.violations();
    violations.iter().any(|text| text.contains(what))
}

#[test]
fn a_written_spec_and_a_strangers_object_are_noticed() {
    let model = json!({"spec": {}, "status": {}});
    assert!(noticed(
        &seen("SmallModel", Some(&model), Some(&model), false),
        "I6"
    ));
    assert!(
        seen("SmallModel", Some(&model), Some(&model), true)
            .violations()
            .is_empty()
    );
    let stranger = json!({"metadata": {"name": "intent"}});
    assert!(noticed(
        &seen("Service", None, Some(&stranger), false),
        "I6"
    ));
    assert!(
        seen("Service", None, Some(&owned(stranger)), false)
            .violations()
            .is_empty()
    );
}

#[test]
fn a_pod_that_status_does_not_name_and_a_template_that_was_not_promoted_are_noticed() {
    let labels = json!({LABEL_ROLE: role::CANDIDATE, LABEL_ROLLOUT: "abc"});
    let pod = owned(json!({"metadata": {"labels": labels}}));
    assert!(noticed(&seen("Pod", None, Some(&pod), false), "I9"));
    let template = json!({"metadata": {"labels": {LABEL_REVISION: "r2"}}});
    let daemon_set = owned(json!({"metadata": {}, "spec": {"template": template}}));
    assert!(noticed(
        &seen("DaemonSet", None, Some(&daemon_set), false),
        "I11"
    ));
    assert!(noticed(
        &seen("DaemonSet", Some(&daemon_set), None, false),
        "I1"
    ));
}

/// A grant of rollout `abc`, sequence 2, by leader 3.
fn grant() -> Route {
    let grant = Grant {
        permille: 500,
        candidate: Candidate {
            revision: "r2".to_owned(),
            address: ([198, 18, 0, 1], 8443).into(),
            fingerprint: [0; 32],
        },
        overrides: Vec::new(),
        freeze: None,
        lease: ROUTE_LEASE,
        burn_in_units: 50,
        errors_maturity: Duration::from_secs(1),
        signal: Signal::Total,
    };
    Route {
        rollout_id: "abc".to_owned(),
        sequence: 2,
        leader_epoch: 3,
        instruction: Instruction::Grant(std::sync::Arc::new(grant)),
    }
}

/// Rollout `abc` of revision `r2`.
fn rollout(state: &str, permille: u32, sequence: u64) -> Value {
    json!({"status": {
        "stable": {"revision": "r1", "digest": "sha256:1"},
        "rollout": {
            "id": "abc", "from": "r1", "to": "r2", "state": state, "sequence": sequence,
            "candidateTrafficPermille": permille,
        },
    }})
}

fn pod(node: &str, role: &str, revision: &str) -> Value {
    json!({
        "metadata": {"namespace": NAMESPACE, "labels": {
            LABEL_MODEL: MODEL, LABEL_ROLE: role, LABEL_REVISION: revision, LABEL_ROLLOUT: "abc",
        }},
        "spec": {"nodeName": node},
        "status": {
            "podIP": "198.18.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn store_with(pods: &[Value]) -> Store {
    let mut store = store();
    for (index, pod) in pods.iter().enumerate() {
        let key = Key::new(kinds::named("Pod"), NAMESPACE, &format!("p{index}"));
        store.put(&key, pod.clone());
    }
    store
}

/// Status allows the grant, and the candidate that it names is on `n0`.
fn exposed() -> Monitor {
    let mut monitor = Monitor::new(MODEL, &store());
    monitor.persisted("operator-1", &rollout("Analyzing", 500, 2));
    monitor.nodes(&store_with(&[pod("n0", role::CANDIDATE, "r2")]));
    monitor
}

#[test]
fn a_grant_that_status_allows_is_no_violation() {
    let mut monitor = exposed();
    monitor.took("n0", &grant(), 1);
    assert_eq!(monitor.violations(), [""; 0]);
}

#[test]
fn a_grant_that_was_never_persisted_is_noticed() {
    let mut monitor = Monitor::new(MODEL, &store());
    monitor.took("n0", &grant(), 1);
    assert!(noticed(&monitor, "I3"));
}

#[test]
fn a_grant_of_another_revision_is_noticed() {
    let mut monitor = exposed();
    let mut other = rollout("Analyzing", 500, 2);
    other["status"]["rollout"]["to"] = json!("r3");
    monitor.persisted("operator-1", &other);
    monitor.took("n0", &grant(), 1);
    assert!(noticed(&monitor, "for revision r2"));
}

#[test]
fn a_grant_to_another_nodes_candidate_is_noticed() {
    let mut monitor = exposed();
    monitor.took("n1", &grant(), 1);
    assert!(noticed(&monitor, "I2: n1 is granted"));
}

#[test]
fn a_grant_of_a_replaced_leader_is_noticed() {
    let mut monitor = exposed();
    let newer = Route {
        leader_epoch: 4,
        instruction: Instruction::Withdraw,
        ..grant()
    };
    monitor.took("n0", &newer, 1);
    monitor.took("n0", &grant(), 1);
    assert!(noticed(&monitor, "by leader 3 after leader 4"));
}

#[tokio::test(start_paused = true)]
async fn a_grant_long_after_a_cut_is_noticed() {
    let mut monitor = exposed();
    let cut = Route {
        instruction: Instruction::Cut,
        ..grant()
    };
    monitor.took("n1", &cut, 1);
    monitor.took("n0", &grant(), 1);
    assert!(!noticed(&monitor, "I4"), "it was on its way");
    tokio::time::sleep(Duration::from_secs(2)).await;
    monitor.took("n0", &grant(), 1);
    assert!(noticed(&monitor, "I4"));
}

/// A router with a grant and a stream, and status ends the rollout.
fn ended(state: &str, told: Option<v1::route::Kind>) -> Monitor {
    let mut monitor = exposed();
    let (sender, stream) = tokio::sync::mpsc::channel(1);
    if let Some(kind) = told {
        let mut route = v1::Route {
            rollout_id: "abc".to_owned(),
            ..v1::Route::default()
        };
        route.set_kind(kind);
        let message = Some(v1::operator_message::Message::Route(route));
        let sent = sender.try_send(v1::OperatorMessage { message });
        sent.expect("there is room");
    }
    let held = ("abc".to_owned(), "r2".to_owned());
    monitor.routing.insert("n0".to_owned(), held);
    let leads = ("operator-1".to_owned(), Mailbox::new(stream));
    monitor.mailboxes.insert("n0".to_owned(), leads);
    monitor.persisted("operator-1", &rollout(state, 0, 3));
    monitor
}

#[test]
fn a_rollback_that_is_written_before_the_routers_are_told_is_noticed() {
    use v1::route::Kind;
    for told in [None, Some(Kind::Grant), Some(Kind::Withdraw)] {
        assert!(noticed(&ended("RollingBack", told), "I3"), "{told:?}");
    }
    assert!(!noticed(&ended("RollingBack", Some(Kind::Cut)), "I3"));
    assert!(!noticed(&ended("Promoting", None), "I3"));
}

/// I9 counts over all SmallModels.
#[test]
fn a_candidate_beside_that_of_another_model_is_noticed() {
    let mut monitor = exposed();
    let (ours, mut other) = (
        pod("n0", role::CANDIDATE, "r2"),
        pod("n0", role::CANDIDATE, "r9"),
    );
    other["metadata"]["labels"][LABEL_MODEL] = json!("search");
    monitor.created(&ours, &store_with(&[ours.clone(), other]));
    assert!(noticed(&monitor, "I9: 2 trial pods on n0"));
}

#[test]
fn a_node_without_a_pod_is_noticed_beyond_what_may_be_unavailable() {
    let on = |nodes: &[&str], most: u32| {
        let pods: Vec<_> = nodes
            .iter()
            .map(|node| pod(node, role::STABLE, "r1"))
            .collect();
        let mut store = store_with(&pods);
        for name in ["n0", "n1", "n2"] {
            cluster::add_node(&mut store, name);
        }
        let strategy = json!({"rollingUpdate": {"maxUnavailable": most}});
        let key = Key::new(kinds::named("DaemonSet"), NAMESPACE, MODEL);
        store.put(&key, json!({"spec": {"updateStrategy": strategy}}));
        store
    };
    for (most, wrong) in [(0, true), (1, true), (2, false)] {
        let mut monitor = Monitor::new(MODEL, &store());
        monitor.nodes(&on(&["n0", "n1", "n2"], most));
        monitor.nodes(&on(&["n0", "n1"], most));
        monitor.nodes(&on(&["n0"], most));
        assert_eq!(noticed(&monitor, "I1:"), wrong, "{most}");
    }
}

#[test]
fn a_pod_that_serves_another_revision_is_noticed() {
    let serving = store_with(&[pod("n0", role::STABLE, "r2")]);
    for (state, wrong) in [("Analyzing", true), ("Promoting", false)] {
        let mut monitor = Monitor::new(MODEL, &store());
        monitor.persisted("operator-1", &rollout(state, 0, 2));
        monitor.nodes(&serving);
        assert_eq!(noticed(&monitor, "I11"), wrong, "{state}");
    }
}

#[test]
fn traffic_pods_and_a_template_of_a_refused_revision_are_noticed() {
    let mut refused = rollout("Promoting", 500, 2);
    refused["status"]["refused"] = json!([{"revision": "r2"}]);
    let mut monitor = Monitor::new(MODEL, &store());
    monitor.persisted("operator-1", &refused);
    assert!(noticed(&monitor, "I5: traffic"));
    monitor.created(&pod("n0", role::CANDIDATE, "r2"), &store());
    assert!(noticed(&monitor, "I5: a candidate"));
    let labels = json!({"metadata": {"labels": {LABEL_REVISION: "r2"}}});
    monitor.template(&json!({"spec": {"template": labels}}));
    assert!(noticed(&monitor, "I5: the template"));
}

#[tokio::test(start_paused = true)]
async fn a_second_of_exposure_that_counts_twice_is_noticed() {
    let mut monitor = exposed();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut status = rollout("Analyzing", 500, 2);
    for (seconds, wrong) in [(11, false), (12, true)] {
        status["status"]["rollout"]["exposedSeconds"] = json!(seconds);
        monitor.persisted("operator-1", &status);
        assert_eq!(noticed(&monitor, "I8"), wrong, "{seconds} s");
    }
}

/// A monitor to which a router reported epoch 1 of rollout `abc` with ten units an arm, and that saw this stored.
fn kept(closed_ids: &[u64], units: u64) -> Monitor {
    let mut monitor = Monitor::new(MODEL, &store());
    let ten = v1::ErrorCounts {
        stable_units: 10,
        candidate_units: 10,
        ..v1::ErrorCounts::default()
    };
    let epoch = v1::Epoch {
        id: 1,
        rollout_id: "abc".to_owned(),
        errors: Some(ten),
        ..v1::Epoch::default()
    };
    monitor.reports(&v1::Report {
        epochs: vec![epoch],
        ..v1::Report::default()
    });
    let mut store = EvidenceStore {
        rollout: "abc".to_owned(),
        closed_ids: closed_ids.to_vec(),
        ..EvidenceStore::default()
    };
    let arms = ArmCounts {
        stable: units,
        candidate: units,
    };
    let none = ArmCounts::default();
    let counts = BinaryCounts::new(arms, none).expect("no events are few enough");
    let added = store.evidence.closed.add_errors(500, &counts);
    added.expect("half is a share");
    let text = serde_json::to_string(&store).expect("it is plain data");
    monitor.stored(&json!({"data": {EVIDENCE_KEY: text}}));
    monitor
}

#[test]
fn units_that_no_router_reported_and_epochs_that_count_twice_are_noticed() {
    assert_eq!(kept(&[1], 10).violations(), [""; 0]);
    assert!(noticed(&kept(&[1], 11), "I8: [0, 0, 11, 11]"));
    assert!(noticed(&kept(&[1, 1], 10), "I8: an epoch is stored twice"));
    assert!(noticed(&kept(&[1, 2], 10), "I8: epoch 2"));
}

#[test]
fn a_route_that_outlives_its_rollout_is_noticed() {
    let mut monitor = Monitor::new(MODEL, &store());
    let held = ("abc".to_owned(), "r2".to_owned());
    monitor.routing.insert("n0".to_owned(), held);
    for _ in 0..ROUTE_ENDS_SECONDS {
        monitor.second();
    }
    assert!(monitor.violations().is_empty());
    monitor.second();
    assert!(noticed(&monitor, "I2"));
}

#[test]
fn a_cut_that_is_undone_is_noticed() {
    let mut monitor = Monitor::new(MODEL, &store());
    monitor.persisted("operator-1", &rollout("Analyzing", 500, 2));
    monitor.persisted("operator-1", &rollout("RollingBack", 0, 3));
    assert!(monitor.violations().is_empty());
    monitor.persisted("operator-1", &rollout("Analyzing", 500, 4));
    assert!(noticed(&monitor, "I4"));
}
