//! Deletion and what follows from it.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::json;

use super::{BACKGROUND, Bench, object, refused};

fn of_uid(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::background()
    }
}

pub(super) async fn a_deletion_of_another_uid_conflicts(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let first = object(bench.config_map(&name, &json!({})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    let other = Some("00000000-0000-4000-8000-00000000dead".to_owned());
    refused(api.delete(&name, &of_uid(other)).await, &[409])?;
    ensure!(api.get_opt(&name).await?.is_some());
    api.delete(&name, &of_uid(made.uid())).await?;
    ensure!(api.get_opt(&name).await?.is_none());
    refused(api.delete(&name, &of_uid(made.uid())).await, &[404])?;
    Ok(())
}

pub(super) async fn dependents_go_with_their_owner(bench: Bench) -> Result<()> {
    let (api, owner, dependent) = (bench.config_maps(), bench.name(), bench.name());
    let first = object(bench.config_map(&owner, &json!({})))?;
    let made = api.create(&PostParams::default(), &first).await?;
    let mut second = bench.config_map(&dependent, &json!({}));
    second["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": made.uid(), "controller": true,
    }]);
    api.create(&PostParams::default(), &object(second)?).await?;
    api.delete(&owner, &DeleteParams::background()).await?;
    let watched = async {
        while api.get_opt(&dependent).await?.is_some() {
            tokio::time::sleep(BACKGROUND / 60).await;
        }
        Ok::<_, kube::Error>(())
    };
    tokio::time::timeout(BACKGROUND, watched).await??;
    Ok(())
}
