//! Server-side apply: ownership, conflicts, preconditions.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Bench, apply, object, refused, unwritten};

const OTHER_UID: &str = "00000000-0000-4000-8000-00000000dead";

pub(super) async fn an_apply_creates_and_says_who_owns_what(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let wish = bench.config_map(&name, &json!({"a": "1"}));
    let made = apply(&api, "smallfleet", false, &wish).await?;
    let entries = made.managed_fields();
    ensure!(entries.len() == 1, "{entries:?}");
    ensure!(entries[0].manager.as_deref() == Some("smallfleet"));
    ensure!(entries[0].operation.as_deref() == Some("Apply"));
    let fields = entries[0].fields_v1.as_ref().context("fields")?;
    ensure!(fields.0 == json!({"f:data": {"f:a": {}}}), "{fields:?}");
    Ok(())
}

pub(super) async fn the_same_apply_again_is_no_write(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let wish = bench.config_map(&name, &json!({"a": "1"}));
    let made = apply(&api, "smallfleet", false, &wish).await?;
    let again = apply(&api, "smallfleet", true, &wish).await?;
    unwritten(&made, &again)
}

pub(super) async fn what_is_not_applied_any_more_goes(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let mut wish = bench.config_map(&name, &json!({"a": "1", "b": "2"}));
    wish["metadata"]["labels"] = json!({"x": "y"});
    apply(&api, "smallfleet", false, &wish).await?;
    let less = bench.config_map(&name, &json!({"b": "2"}));
    let after = apply(&api, "smallfleet", false, &less).await?;
    ensure!(after.data["data"] == json!({"b": "2"}), "{:?}", after.data);
    ensure!(after.labels().is_empty(), "{:?}", after.labels());
    Ok(())
}

pub(super) async fn a_field_of_another_manager_conflicts_unless_forced(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let theirs = bench.config_map(&name, &json!({"a": "theirs", "b": "theirs"}));
    apply(&api, "somebody", false, &theirs).await?;
    let ours = bench.config_map(&name, &json!({"a": "ours"}));
    let text = refused(apply(&api, "smallfleet", false, &ours).await, &[409])?;
    ensure!(
        text.contains("\"somebody\"") && text.contains(".data.a"),
        "{text}"
    );
    let forced = apply(&api, "smallfleet", true, &ours).await?;
    ensure!(forced.data["data"] == json!({"a": "ours", "b": "theirs"}));
    let text = refused(apply(&api, "somebody", false, &theirs).await, &[409])?;
    ensure!(text.contains("\"smallfleet\""), "{text}");
    Ok(())
}

pub(super) async fn a_field_of_two_managers_stays_until_both_drop_it(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let both = bench.config_map(&name, &json!({"a": "1"}));
    apply(&api, "somebody", false, &both).await?;
    apply(&api, "smallfleet", false, &both).await?;
    let theirs = bench.config_map(&name, &json!({"b": "1"}));
    let after = apply(&api, "somebody", false, &theirs).await?;
    ensure!(
        after.data["data"] == json!({"a": "1", "b": "1"}),
        "{:?}",
        after.data
    );
    let ours = bench.config_map(&name, &json!({"c": "1"}));
    let after = apply(&api, "smallfleet", false, &ours).await?;
    ensure!(
        after.data["data"] == json!({"b": "1", "c": "1"}),
        "{:?}",
        after.data
    );
    Ok(())
}

pub(super) async fn an_unforced_apply_over_a_posted_object_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let posted = object(bench.config_map(&name, &json!({"a": "theirs"})))?;
    let made = api.create(&PostParams::default(), &posted).await?;
    let ours = bench.config_map(&name, &json!({"a": "ours"}));
    refused(apply(&api, "smallfleet", false, &ours).await, &[409])?;
    unwritten(&made, &api.get(&name).await?)
}

pub(super) async fn an_apply_of_a_uid_that_is_not_there_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let mut wish = bench.config_map(&name, &json!({"a": "1"}));
    wish["metadata"]["uid"] = json!(OTHER_UID);
    refused(apply(&api, "smallfleet", true, &wish).await, &[409])?;
    ensure!(api.get_opt(&name).await?.is_none());
    Ok(())
}

pub(super) async fn an_apply_of_another_uid_is_refused(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let mut wish = bench.config_map(&name, &json!({"a": "1"}));
    let made = apply(&api, "smallfleet", false, &wish).await?;
    wish["metadata"]["uid"] = json!(OTHER_UID);
    wish["data"]["a"] = json!("2");
    refused(apply(&api, "smallfleet", true, &wish).await, &[409, 422])?;
    unwritten(&made, &api.get(&name).await?)
}

pub(super) async fn an_apply_from_an_old_version_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let mut wish = bench.config_map(&name, &json!({"a": "1"}));
    let old = apply(&api, "smallfleet", false, &wish).await?;
    wish["data"]["a"] = json!("2");
    apply(&api, "smallfleet", false, &wish).await?;
    wish["data"]["a"] = json!("3");
    wish["metadata"]["resourceVersion"] = json!(old.resource_version());
    refused(apply(&api, "smallfleet", true, &wish).await, &[409])?;
    ensure!(api.get(&name).await?.data["data"]["a"] == "2");
    Ok(())
}

/// Names of a list's entries.
fn names(list: &Value) -> BTreeSet<&str> {
    let entries = list.as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["name"].as_str()).collect()
}

/// What others add to an entry stays, and what we drop of it goes.
pub(super) async fn lists_of_a_template_are_merged_by_their_keys(bench: Bench) -> Result<()> {
    let (api, name) = (bench.all::<DaemonSet>(), bench.name());
    let wish = |spec: Value| bench.with_spec::<DaemonSet>(&name, &spec);
    let ours = |containers: Value, volumes: Value| {
        let pod =
            json!({"nodeSelector": {"no": "node"}, "containers": containers, "volumes": volumes});
        let template = json!({"metadata": {"labels": {"case": name}}, "spec": pod});
        wish(json!({"selector": {"matchLabels": {"case": name}}, "template": template}))
    };
    let engine = json!({"name": "engine", "image": "a", "env": [{"name": "OURS", "value": "1"}]});
    let volume = json!({"name": "ours", "emptyDir": {}});
    apply(
        &api,
        "smallfleet",
        false,
        &ours(json!([engine]), json!([volume])),
    )
    .await?;
    let theirs = json!({
        "containers": [{"name": "engine", "env": [{"name": "THEIRS", "value": "1"}]}],
        "volumes": [{"name": "theirs", "emptyDir": {}}],
        "imagePullSecrets": [{"name": "theirs"}],
    });
    let theirs = wish(json!({"template": {"spec": theirs}}));
    let both = apply(&api, "somebody", false, &theirs).await?;
    let pod = &both.data["spec"]["template"]["spec"];
    let env = names(&pod["containers"][0]["env"]);
    ensure!(env == BTreeSet::from(["OURS", "THEIRS"]), "{pod}");
    ensure!(
        names(&pod["volumes"]) == BTreeSet::from(["ours", "theirs"]),
        "{pod}"
    );
    let less = json!([{"name": "engine", "image": "b"}, {"name": "router", "image": "c"}]);
    let after = apply(&api, "smallfleet", false, &ours(less, json!([]))).await?;
    let pod = &after.data["spec"]["template"]["spec"];
    ensure!(
        names(&pod["containers"]) == BTreeSet::from(["engine", "router"]),
        "{pod}"
    );
    let engine = pod["containers"].as_array().into_iter().flatten();
    let engine = engine.into_iter().find(|one| one["name"] == "engine");
    let engine = engine.context("the engine")?;
    ensure!(engine["image"] == "b", "{engine}");
    ensure!(
        names(&engine["env"]) == BTreeSet::from(["THEIRS"]),
        "{engine}"
    );
    ensure!(
        names(&pod["volumes"]) == BTreeSet::from(["theirs"]),
        "{pod}"
    );
    ensure!(
        names(&pod["imagePullSecrets"]) == BTreeSet::from(["theirs"]),
        "{pod}"
    );
    Ok(())
}

pub(super) async fn ports_of_a_service_are_merged_by_their_keys(bench: Bench) -> Result<()> {
    let (api, service) = (bench.all::<Service>(), bench.name());
    let one_port = |name: &str, port: u16, target: u16| {
        let port = json!({"name": name, "port": port, "targetPort": target});
        bench.with_spec::<Service>(&service, &json!({"ports": [port]}))
    };
    apply(&api, "smallfleet", false, &one_port("ours", 80, 8080)).await?;
    apply(&api, "somebody", false, &one_port("theirs", 81, 8081)).await?;
    let after = apply(&api, "smallfleet", false, &one_port("ours", 80, 9090)).await?;
    let ports = &after.data["spec"]["ports"];
    ensure!(
        names(ports) == BTreeSet::from(["ours", "theirs"]),
        "{ports}"
    );
    let mut entries = ports.as_array().into_iter().flatten();
    ensure!(
        entries.any(|one| one["port"] == 80 && one["targetPort"] == 9090),
        "{ports}"
    );
    let after = apply(&api, "smallfleet", false, &one_port("ours", 82, 8080)).await?;
    let ports = &after.data["spec"]["ports"];
    let mut entries = ports.as_array().into_iter().flatten();
    ensure!(entries.all(|one| one["port"] != 80), "{ports}");
    ensure!(
        names(ports) == BTreeSet::from(["ours", "theirs"]),
        "{ports}"
    );
    Ok(())
}
