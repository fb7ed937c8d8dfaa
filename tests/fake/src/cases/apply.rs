//! Server-side apply: ownership, conflicts, preconditions.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;

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
