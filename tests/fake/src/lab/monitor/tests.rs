//! The checks notice what they are there for.

use serde_json::json;
use smallfleet_runtime_core::route::{Candidate, Grant};

use super::*;
use crate::server::Key;

fn store() -> Store {
    let mut store = Store::default();
    let model = json!({"metadata": {"uid": "model-uid"}, "status": {}});
    store.put(&model_key(), model);
    store
}

/// A monitor that has seen an operator write this after that.
fn seen(kind: &str, before: Option<&Value>, after: Option<&Value>, status: bool) -> Monitor {
    let store = store();
    let mut monitor = Monitor::new(&store);
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

#[test]
fn a_grant_that_was_never_persisted_is_noticed() {
    let mut monitor = Monitor::new(&store());
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
    };
    let route = Route {
        rollout_id: "abc".to_owned(),
        sequence: 1,
        leader_epoch: 1,
        instruction: Instruction::Grant(std::sync::Arc::new(grant)),
    };
    monitor.took("n0", &route, 1);
    assert!(noticed(&monitor, "I3"));
}

#[test]
fn a_route_that_outlives_its_rollout_is_noticed() {
    let mut monitor = Monitor::new(&store());
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
    let mut monitor = Monitor::new(&store());
    let status = |state: &str, permille: u32, sequence: u64| {
        json!({"status": {"rollout": {
            "id": "abc", "to": "r2", "state": state, "sequence": sequence,
            "candidateTrafficPermille": permille,
        }}})
    };
    monitor.persisted(&status("Analyzing", 500, 2));
    monitor.persisted(&status("RollingBack", 0, 3));
    assert!(monitor.violations().is_empty());
    monitor.persisted(&status("Analyzing", 500, 4));
    assert!(noticed(&monitor, "I4"));
}
