//! The garbage collector: what belongs to nobody any more goes.

use serde_json::Value;

use super::kinds::KINDS;
use super::store::{Key, Store};

/// Removes dependents all of whose owners are gone, until nothing changes. The real one does so in the background.
pub fn collect(store: &mut Store) {
    loop {
        let uids: std::collections::HashSet<&str> = store
            .all()
            .filter_map(|(_, object)| object["metadata"]["uid"].as_str())
            .collect();
        let orphaned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners.is_empty()
                    && owners
                        .iter()
                        .all(|owner| !uids.contains(owner["uid"].as_str().unwrap_or_default()))
            })
        };
        let lost: Vec<Key> = store
            .all()
            .filter(|(key, object)| KINDS[key.kind].namespaced && orphaned(object))
            .map(|(key, _)| key.clone())
            .collect();
        if lost.is_empty() {
            return;
        }
        for key in lost {
            store.remove(&key);
        }
    }
}
