//! Lists and watches.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use super::{Bench, apply, object};

pub(super) async fn a_list_selects_by_label(bench: Bench) -> Result<()> {
    let (api, one, two) = (bench.config_maps(), bench.name(), bench.name());
    for (name, color) in [(&one, "red"), (&two, "blue")] {
        let mut wish = bench.config_map(name, &json!({}));
        wish["metadata"]["labels"] = json!({"list-case": color});
        api.create(&PostParams::default(), &object(wish)?).await?;
    }
    for (selector, count) in [
        ("list-case", 2),
        ("list-case=red", 1),
        ("list-case,list-case!=red", 1),
        ("list-case=green", 0),
    ] {
        let found = api.list(&ListParams::default().labels(selector)).await?;
        ensure!(
            found.items.len() == count,
            "{selector}: {}",
            found.items.len()
        );
        ensure!(found.metadata.resource_version.is_some());
    }
    Ok(())
}

pub(super) async fn a_watch_tells_changes_in_order(bench: Bench) -> Result<()> {
    let (api, name) = (bench.config_maps(), bench.name());
    let selector = format!("watch-case={name}");
    let listed = api.list(&ListParams::default().labels(&selector)).await?;
    let start = listed.metadata.resource_version.context("a version")?;
    let mut wish = bench.config_map(&name, &json!({}));
    wish["metadata"]["labels"] = json!({"watch-case": name});
    apply(&api, "smallfleet", false, &wish).await?;
    let params = WatchParams::default().labels(&selector).timeout(30);
    let mut events = Box::pin(api.watch(&params, &start).await?);
    let mut words = Vec::new();
    for round in 0..4 {
        let event = events.try_next().await?.context("the watch ended")?;
        words.push(word(&event));
        match round {
            // Known to the watcher: changed, then out of its selector and back in it.
            0 => wish["data"]["a"] = json!("1"),
            1 => wish["metadata"]["labels"] = json!({}),
            2 => wish["metadata"]["labels"] = json!({"watch-case": name}),
            _ => break,
        }
        apply(&api, "smallfleet", false, &wish).await?;
    }
    api.delete(&name, &DeleteParams::default()).await?;
    words.push(word(&events.try_next().await?.context("the watch ended")?));
    ensure!(
        words == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"],
        "{words:?}"
    );
    Ok(())
}

fn word(event: &WatchEvent<DynamicObject>) -> &'static str {
    match event {
        WatchEvent::Added(_) => "ADDED",
        WatchEvent::Modified(_) => "MODIFIED",
        WatchEvent::Deleted(_) => "DELETED",
        WatchEvent::Bookmark(_) => "BOOKMARK",
        WatchEvent::Error(_) => "ERROR",
    }
}

pub(super) async fn a_watch_from_too_long_ago_is_gone_and_a_quiet_one_has_bookmarks(
    bench: Bench,
) -> Result<()> {
    // A real server knows a kind of its own from its first version on, and a defined one from its definition on.
    let defined = bench.models();
    let params = WatchParams::default().labels("nobody-has-this").timeout(5);
    let first = match defined.watch(&params, "1").await {
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(error) => return Err(error.into()),
        Ok(events) => match Box::pin(events).try_next().await {
            Ok(Some(WatchEvent::Error(status))) => Some(status.code),
            Err(kube::Error::Api(status)) => Some(status.code),
            other => bail!("a watch from version 1: {other:?}"),
        },
    };
    ensure!(first == Some(410), "{first:?}");
    let (api, name) = (bench.config_maps(), bench.name());
    let wish = object(bench.config_map(&name, &json!({})))?;
    let made = api.create(&PostParams::default(), &wish).await?;
    let start = made.resource_version().context("a version")?;
    let mut events = Box::pin(api.watch(&params, &start).await?);
    // A bookmark has something to say once the kind has changed, though nothing that is watched did.
    let other = object(bench.config_map(&bench.name(), &json!({})))?;
    api.create(&PostParams::default(), &other).await?;
    let limit = Duration::from_secs(20);
    let first = tokio::time::timeout(limit, events.try_next()).await??;
    ensure!(first.as_ref().map(word) == Some("BOOKMARK"), "{first:?}");
    while let Some(more) = tokio::time::timeout(limit, events.try_next()).await?? {
        ensure!(word(&more) == "BOOKMARK", "{more:?}");
    }
    Ok(())
}
