//! Create, replace, merge patch.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Bench, generation, object, refused, unwritten, version};

pub(super) async fn a_name_is_taken_once(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({"a": "1"})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    ensure!(made.uid().is_some() && made.creation_timestamp().is_some());
    ensure!(api.get(&name).await?.data == made.data);
    match api.create(&PostParams::default(), &first).await {
        Err(kube::Error::Api(status)) => {
            ensure!((status.code, status.reason.as_str()) == (409, "AlreadyExists"));
        }
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

pub(super) async fn a_replace_from_an_old_version_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({"a": "1"})))?;
    let old = api.create(&PostParams::default(), &first).await?;
    let mut next = old.clone();
    next.data["data"]["a"] = json!("2");
    let new = api.replace(&name, &PostParams::default(), &next).await?;
    ensure!(version(&new) != version(&old));
    next.data["data"]["a"] = json!("3");
    refused(
        api.replace(&name, &PostParams::default(), &next).await,
        &[409],
    )?;
    ensure!(api.get(&name).await?.data["data"]["a"] == "2");
    Ok(())
}

pub(super) async fn a_replace_of_another_uid_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({"a": "1"})))?;
    api.create(&PostParams::default(), &first).await?;
    let mut other = first;
    other.metadata.uid = Some("00000000-0000-4000-8000-00000000dead".to_owned());
    refused(
        api.replace(&name, &PostParams::default(), &other).await,
        &[409],
    )?;
    Ok(())
}

pub(super) async fn a_replace_without_a_change_is_no_write(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({"a": "1"})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    let again = api.replace(&name, &PostParams::default(), &made).await?;
    unwritten(&made, &again)
}

pub(super) async fn an_own_definition_is_replaced_with_a_version_only(bench: Bench) -> Result<()> {
    let (api, name) = (bench.models(), bench.name());
    let first = object(bench.model(&name, "a"))?;
    let made = api.create(&PostParams::default(), &first).await?;
    ensure!(generation(&made) == 1);
    refused(
        api.replace(&name, &PostParams::default(), &first).await,
        &[422],
    )?;
    Ok(())
}

pub(super) async fn a_merge_patch_adds_and_removes(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({"a": "1", "b": "2"})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    let patch = json!({
        "metadata": {"uid": made.uid(), "labels": {"verdict": "stable"}},
        "data": {"a": null, "c": "3"},
    });
    let params = PatchParams::default();
    let patched = api.patch(&name, &params, &Patch::Merge(&patch)).await?;
    ensure!(patched.labels()["verdict"] == "stable");
    ensure!(patched.data["data"] == json!({"b": "2", "c": "3"}));
    let again = api.patch(&name, &params, &Patch::Merge(&patch)).await?;
    unwritten(&patched, &again)
}

pub(super) async fn a_merge_patch_of_another_uid_is_refused(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    let other = json!({"metadata": {
        "uid": "00000000-0000-4000-8000-00000000dead", "labels": {"verdict": "stable"},
    }});
    let params = PatchParams::default();
    let outcome = api.patch(&name, &params, &Patch::Merge(&other)).await;
    refused(outcome, &[409, 422])?;
    let missing = api
        .patch(&bench.name(), &params, &Patch::Merge(&other))
        .await;
    refused(missing, &[404])?;
    unwritten(&made, &api.get(&name).await?)
}
