use serde_json::{Value, json};

use super::*;

fn with(pointer: &str, value: Value) -> SmallModelSpec {
    let mut spec = json!({
        "task": "TextClassification",
        "model": {"image": "registry/m@sha256:0a"},
        "runtime": {"env": [], "podMetadata": {}},
        "placement": {},
        "featureFlag": {},
        "rollout": {"analysis": {}, "update": {}},
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    parent[key] = value;
    serde_json::from_value(spec).unwrap()
}

fn step(name: &str, nodes: &Value) -> Value {
    json!({"name": name, "nodes": nodes, "minExposureSeconds": 60})
}

#[test]
fn a_bad_field_is_named_with_what_to_write() {
    let twice = json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]);
    let override_of = |header: &str| json!([{"name": "o", "header": header, "values": ["1"]}]);
    let affinity = |requirement: Value| json!([{"matchExpressions": [requirement]}]);
    let errors = json!({"name": "e", "type": "Errors"});
    for (pointer, value, words) in [
        ("/model/image", json!("registry/m:latest"), "by digest"),
        ("/runtime/env", twice, "\"a\" stands there twice"),
        (
            "/runtime/env",
            json!([{"name": "SMALLFLEET_X"}]),
            "operator's own",
        ),
        (
            "/runtime/podMetadata/labels",
            json!({"smallfleet.dev/role": "stable"}),
            "operator's own",
        ),
        (
            "/runtime/podMetadata/labels",
            json!({"-a": "b"}),
            "no label key",
        ),
        (
            "/runtime/podMetadata/labels",
            json!({"a": "b c"}),
            "no label value",
        ),
        (
            "/runtime/podMetadata/annotations",
            json!({"x.smallfleet.dev/y": ""}),
            "operator's own",
        ),
        (
            "/runtime/resources",
            json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}),
            "requests.memory",
        ),
        (
            "/runtime/resources",
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}),
            "limits.cpu",
        ),
        (
            "/placement/nodeSelector",
            json!({"zone": "a b"}),
            "nodeSelector",
        ),
        (
            "/placement/requiredNodeAffinity",
            json!([{}]),
            "chooses no node",
        ),
        (
            "/placement/requiredNodeAffinity",
            affinity(json!({"key": "a", "operator": "In"})),
            "need values",
        ),
        (
            "/placement/requiredNodeAffinity",
            affinity(json!({"key": "a", "operator": "Gt", "values": ["x"]})),
            "one integer",
        ),
        (
            "/placement/requiredNodeAffinity",
            json!([{"matchFields": [{"key": "zone", "operator": "In", "values": ["a"]}]}]),
            "metadata.name",
        ),
        (
            "/placement/tolerations",
            json!([{"operator": "Equal"}]),
            "tolerations",
        ),
        (
            "/featureFlag/overrides",
            override_of("x-smallfleet-arm"),
            "no header of a client",
        ),
        (
            "/featureFlag/overrides",
            override_of("transfer-encoding"),
            "no header of a client",
        ),
        (
            "/featureFlag/overrides",
            override_of("X-Tenant"),
            "lower-case",
        ),
        (
            "/rollout/update",
            json!({"maxSurge": 1, "maxUnavailable": 1}),
            "not both",
        ),
        (
            "/rollout/update",
            json!({"maxSurge": "0%"}),
            "neither a count",
        ),
        ("/rollout/steps", json!([]), "at least one step"),
        (
            "/rollout/steps",
            json!([
                step("a", &json!(2)),
                step("b", &json!("10%")),
                step("c", &json!(1))
            ]),
            "never shrinks",
        ),
        (
            "/rollout/steps",
            json!([step("a", &json!("50%")), step("b", &json!("10%"))]),
            "never shrinks",
        ),
        (
            "/rollout/steps",
            json!([step("a", &json!(0))]),
            "neither a count",
        ),
        (
            "/rollout/stepDeadlineSeconds",
            json!(30),
            "minExposureSeconds",
        ),
        (
            "/rollout/analysis/objectives",
            json!([errors, {"name": "f", "type": "Errors"}]),
            "second of type",
        ),
        (
            "/rollout/analysis/objectives",
            json!([{"name": "a", "type": "Accuracy"}]),
            "needs accuracy.dataset.image",
        ),
        (
            "/rollout/analysis/objectives",
            json!([{"name": "e", "type": "Errors", "latency": {}}]),
            "only the block",
        ),
        (
            "/rollout/analysis/objectives",
            json!([{"name": "l", "type": "Latency", "latency": {"signal": "FirstToken"}}]),
            "FirstToken is for task TextGeneration",
        ),
        (
            "/rollout/analysis/falseRollbackRate",
            json!("0%"),
            "falseRollbackRate",
        ),
    ] {
        let refused = spec(&with(pointer, value.clone())).expect_err(&format!("{pointer} {value}"));
        assert!(
            refused.to_string().contains(words),
            "{pointer} {value}: {refused}"
        );
    }
}

#[test]
fn what_people_write_is_accepted() {
    let steps = json!([
        step("one", &json!(1)),
        step("quarter", &json!("25%")),
        step("ten", &json!(10)),
        step("all", &json!("100%"))
    ]);
    for (pointer, value) in [
        ("/rollout/steps", steps),
        ("/rollout/update", json!({"maxUnavailable": "10%"})),
        (
            "/runtime/podMetadata/labels",
            json!({"app.kubernetes.io/part-of": "shop"}),
        ),
        (
            "/runtime/resources",
            json!({"requests": {"cpu": "0.5", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1024Mi"}}),
        ),
        ("/placement/tolerations", json!([{"operator": "Exists"}])),
        (
            "/featureFlag/overrides",
            json!([{"name": "staff", "header": "x-tenant", "values": ["internal"]}]),
        ),
    ] {
        spec(&with(pointer, value.clone()))
            .unwrap_or_else(|error| panic!("{pointer} {value}: {error}"));
    }
}
