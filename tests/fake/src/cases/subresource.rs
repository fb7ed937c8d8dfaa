//! The status subresource and the generation.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Bench, apply, apply_status, generation, refused, unwritten};

fn condition(name: &str, status: &str) -> Value {
    json!({
        "type": name, "status": status, "reason": "Because", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A status of ours for this model.
fn status(model: &Value, status: &Value) -> Value {
    let mut wish = model.clone();
    if let Some(map) = wish.as_object_mut() {
        map.remove("spec");
    }
    wish["status"] = status.clone();
    wish
}

pub(super) async fn status_and_spec_are_written_apart(bench: Bench) -> Result<()> {
    let (api, name) = (bench.models(), bench.name());
    let mut model = bench.model(&name, "a");
    let text = refused(
        apply_status(
            &api,
            "smallfleet",
            &status(&model, &json!({"phase": "Stable"})),
        )
        .await,
        &[404],
    );
    text?;
    model["status"] = json!({"phase": "Forged"});
    let made = apply(&api, "user", false, &model).await?;
    ensure!(
        made.data["status"].get("phase").is_none(),
        "{:?}",
        made.data
    );
    let mut wish = status(&model, &json!({"phase": "Stable"}));
    wish["spec"] = json!({"task": "Embedding"});
    let written = apply_status(&api, "smallfleet", &wish).await?;
    ensure!(written.data["status"]["phase"] == "Stable");
    ensure!(written.data["spec"]["task"] == "TextClassification");
    let again = apply_status(
        &api,
        "smallfleet",
        &status(&model, &json!({"phase": "Stable"})),
    )
    .await?;
    unwritten(&written, &again)
}

pub(super) async fn the_generation_counts_changes_of_spec_alone(bench: Bench) -> Result<()> {
    let (api, name) = (bench.models(), bench.name());
    let mut model = bench.model(&name, "a");
    let made = apply(&api, "user", false, &model).await?;
    ensure!(generation(&made) == 1);
    let wish = status(&model, &json!({"phase": "Stable"}));
    ensure!(generation(&apply_status(&api, "smallfleet", &wish).await?) == 1);
    model["metadata"]["labels"] = json!({"a": "b"});
    ensure!(generation(&apply(&api, "user", false, &model).await?) == 1);
    let mut next = bench.model(&name, "b");
    next["metadata"]["labels"] = json!({"a": "b"});
    ensure!(generation(&apply(&api, "user", false, &next).await?) == 2);
    Ok(())
}

pub(super) async fn a_status_loses_what_is_not_applied_any_more(bench: Bench) -> Result<()> {
    let (api, name) = (bench.models(), bench.name());
    let model = bench.model(&name, "a");
    let made = apply(&api, "user", false, &model).await?;
    let full = json!({
        "phase": "Analyzing",
        "conditions": [condition("Ready", "True"), condition("Reconciling", "True")],
        "rollout": {"id": "abc", "from": "a", "to": "b", "state": "Analyzing", "wave": ["n1"]},
    });
    let mut wish = status(&model, &full);
    wish["metadata"]["uid"] = json!(made.uid());
    let full = apply_status(&api, "smallfleet", &wish).await?;
    ensure!(full.data["status"]["rollout"]["wave"] == json!(["n1"]));
    let less = json!({"phase": "Stable", "conditions": [condition("Ready", "False")]});
    let less = apply_status(&api, "smallfleet", &status(&model, &less)).await?;
    let left = &less.data["status"];
    ensure!(left.get("rollout").is_none_or(Value::is_null), "{left}");
    ensure!(
        left["conditions"] == json!([condition("Ready", "False")]),
        "{left}"
    );
    Ok(())
}
