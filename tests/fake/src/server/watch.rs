//! Watches: changes of one kind as lines of JSON, with bookmarks, until time is over.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::kinds::{KINDS, KindIndex};
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Change, Store};

/// A quiet watch says this often where it stands.
const BOOKMARK: Duration = Duration::from_secs(60);
/// The last word comes this long before the end.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What a watch is of.
#[derive(Clone, Debug)]
pub struct Wish {
    pub kind: KindIndex,
    pub namespace: Option<String>,
    pub selector: Selector,
    pub after: u64,
    pub bookmarks: bool,
    pub timeout: Duration,
}

struct Watch {
    store: Arc<Mutex<Store>>,
    changes: Arc<Notify>,
    wish: Wish,
    ready: VecDeque<String>,
    ends: Instant,
}

/// The lines of a watch.
pub fn lines(
    store: Arc<Mutex<Store>>,
    changes: Arc<Notify>,
    wish: Wish,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let ends = Instant::now() + wish.timeout;
    let watch = Watch {
        store,
        changes,
        wish,
        ready: VecDeque::new(),
        ends,
    };
    stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Bytes::from(event + "\n"), watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let changes = self.changes.clone();
            let changed = changes.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            self.read();
            if !self.ready.is_empty() {
                continue;
            }
            if Instant::now() >= self.ends {
                return None;
            }
            let pause = self.until_bookmark();
            match tokio::time::timeout(pause, changed).await {
                Ok(()) => {}
                Err(_) if Instant::now() >= self.ends => return None,
                Err(_) if self.wish.bookmarks => return Some(self.bookmark()),
                Err(_) => {}
            }
        }
    }

    /// Like the real one: every minute, and once shortly before the end.
    fn until_bookmark(&self) -> Duration {
        let now = Instant::now();
        let last = self.ends - LAST_BOOKMARK;
        if last > now {
            BOOKMARK.min(last - now)
        } else {
            self.ends - now
        }
    }

    /// Takes what happened since the last look.
    fn read(&mut self) {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wish.after < store.compacted() {
            let gone = Refusal::expired(format!(
                "too old resource version: {} ({})",
                self.wish.after,
                store.compacted()
            ));
            self.ready
                .push_back(json!({"type": "ERROR", "object": gone.body()}).to_string());
            self.ends = Instant::now();
            self.wish.after = store.compacted();
            return;
        }
        let changes = store.changes(self.wish.after);
        let events = changes
            .iter()
            .filter_map(|change| event(&self.wish, change));
        self.ready.extend(events);
        self.wish.after = store.version();
    }

    fn bookmark(&self) -> String {
        let kind = &KINDS[self.wish.kind];
        json!({"type": "BOOKMARK", "object": {
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": {"resourceVersion": self.wish.after.to_string()},
        }})
        .to_string()
    }
}

/// A change as the watcher sees it: what ceases to match its selector is deleted for it.
fn event(wish: &Wish, change: &Change) -> Option<String> {
    let other_namespace = wish
        .namespace
        .as_ref()
        .is_some_and(|namespace| *namespace != change.key.namespace);
    if change.key.kind != wish.kind || other_namespace {
        return None;
    }
    let seen = |object: &&Arc<Value>| wish.selector.matches(object);
    let before = change.before.as_ref().filter(seen);
    let after = change.after.as_ref().filter(seen);
    let (word, object) = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => ("DELETED", change.after.as_ref().unwrap_or(before)),
    };
    Some(format!(r#"{{"type":"{word}","object":{object}}}"#))
}
