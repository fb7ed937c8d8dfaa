use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use serde_json::{Value, json};
use smallfleet_crds::{Placement, Update};

use super::*;
use crate::revision::Revision;
use crate::world::Defaults;

fn owner() -> Owner {
    Owner {
        name: "intent".to_owned(),
        namespace: "shop".to_owned(),
        uid: "0a1b".to_owned(),
    }
}

fn revision() -> Revision {
    let spec = json!({
        "task": "TextClassification",
        "model": {"image": "registry/intent@sha256:0"},
        "runtime": {
            "env": [{"name": "LANG", "value": "C"}],
            "podMetadata": {"labels": {"team": "shop", names::LABEL_ROLE: "stable"}},
        },
    });
    Revision::resolve(&serde_json::from_value(spec).unwrap(), "runtime@sha256:1").unwrap()
}

fn defaults() -> Defaults {
    Defaults {
        runtime_image: "runtime@sha256:1".to_owned(),
        stable_priority_class: "smallfleet-stable".to_owned(),
        candidate_priority_class: "smallfleet-candidate".to_owned(),
        session_address: "smallfleet-operator.system.svc:9443".to_owned(),
        session_ca: "PEM".to_owned(),
    }
}

fn with_term() -> Placement {
    let zone = NodeSelectorRequirement {
        key: "zone".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec!["a".to_owned()]),
    };
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![zone]),
        match_fields: None,
    };
    Placement {
        required_node_affinity: vec![term.clone(), term],
        ..Placement::default()
    }
}

/// What release 0.1 rendered is rendered byte by byte in every later one: an upgrade is no rollout.
#[test]
fn revisions_render_as_release_0_1_did() {
    let golden = include_str!("golden/daemonset-v1.json");
    let rendered = daemon_set(
        &owner(),
        &revision(),
        &with_term(),
        &Update::default(),
        &defaults(),
    );
    let rendered = serde_json::to_string_pretty(&rendered).unwrap();
    assert_eq!(
        rendered,
        golden.trim_end(),
        "see render/golden/daemonset-v1.json"
    );
}

#[test]
fn the_node_is_anded_into_every_term_of_a_candidate() {
    let pod = candidate(
        &owner(),
        &revision(),
        &with_term(),
        &defaults(),
        "abcdef123456",
        ("node-1", "uid-1"),
    );
    let pod = serde_json::to_value(pod).unwrap();
    let terms = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let terms = terms.and_then(Value::as_array).unwrap();
    assert_eq!(terms.len(), 2);
    for term in terms {
        assert_eq!(term["matchFields"][0]["values"], json!(["node-1"]));
        assert_eq!(term["matchExpressions"][0]["key"], "zone");
    }
}

#[test]
fn a_candidate_is_not_behind_the_service_and_its_labels_are_ours() {
    let pod = candidate(
        &owner(),
        &revision(),
        &Placement::default(),
        &defaults(),
        "abcdef123456",
        ("n", "u"),
    );
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels[names::LABEL_ROLE], "candidate");
    assert_eq!(labels["team"], "shop");
    assert!(!labels.contains_key(names::LABEL_FRONT));
}

#[test]
fn all_roles_have_equal_containers_but_for_the_role() {
    let stable = daemon_set(
        &owner(),
        &revision(),
        &Placement::default(),
        &Update::default(),
        &defaults(),
    );
    let stable = serde_json::to_value(stable.spec.unwrap().template.spec.unwrap()).unwrap();
    let candidate = candidate(
        &owner(),
        &revision(),
        &Placement::default(),
        &defaults(),
        "abc",
        ("n", "u"),
    );
    let candidate = serde_json::to_value(candidate.spec.unwrap()).unwrap();
    assert_eq!(stable["initContainers"], candidate["initContainers"]);
    assert_eq!(stable["volumes"], candidate["volumes"]);
    let without_role = |spec: &Value| {
        spec["containers"]
            .to_string()
            .replace("Candidate", "Stable")
    };
    assert_eq!(without_role(&stable), without_role(&candidate));
}

#[test]
fn names_fit_with_the_longest_model_name() {
    let model = "m".repeat(40);
    for name in [
        name::candidate(&model, "abcdef123456", "uid"),
        name::evaluation(&model, "0123456789", "sha256:0", "uid"),
        name::revision(&model, "0123456789"),
        name::evidence(&model),
    ] {
        assert!(name.len() <= 63, "{name}");
    }
}

#[test]
fn each_locality_is_a_distribution_and_a_policy_of_the_service() {
    for (locality, distribution, policy) in [
        ("PreferSameNode", Some("PreferSameNode"), "Cluster"),
        ("PreferSameZone", Some("PreferSameZone"), "Cluster"),
        ("SameNodeOnly", None, "Local"),
        ("Any", None, "Cluster"),
    ] {
        let settings = serde_json::from_value(json!({"locality": locality, "port": 81})).unwrap();
        let spec = service(&owner(), &settings).spec.unwrap();
        assert_eq!(spec.traffic_distribution.as_deref(), distribution);
        assert_eq!(spec.internal_traffic_policy.as_deref(), Some(policy));
        assert_eq!(spec.ports.unwrap()[0].port, 81);
    }
}
