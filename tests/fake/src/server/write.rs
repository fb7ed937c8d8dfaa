//! What writes do: create, replace, patch, apply, delete. Each checks its preconditions first and changes nothing when one fails.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::apply;
use super::kinds::{KINDS, Kind};
use super::managers::{self, Entry, Manager};
use super::refusal::Refusal;
use super::store::{Key, Store};

/// A write's circumstances.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: Key,
    pub manager: String,
    /// Of the status subresource.
    pub status: bool,
    /// The server's clock, RFC 3339.
    pub now: String,
}

/// What a deletion asks for.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub grace_seconds: Option<u64>,
}

type Done = Result<Arc<Value>, Refusal>;

impl Write {
    fn kind(&self) -> &'static Kind {
        &KINDS[self.key.kind]
    }

    fn updater(&self) -> Manager {
        self.by(false)
    }

    fn by(&self, apply: bool) -> Manager {
        Manager {
            name: self.manager.clone(),
            apply,
            status: self.status,
        }
    }

    /// POST.
    pub fn create(&self, store: &mut Store, mut object: Value) -> Done {
        if store.get(&self.key).is_some() {
            return Err(Refusal::already_exists(&self.key.text()));
        }
        if object["metadata"]["resourceVersion"].is_string() {
            return Err(Refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.begin(store, &mut object);
        let entries = managers::updated(self.kind(), None, &object, &self.updater());
        managers::write(self.kind(), &mut object, &entries, &self.now);
        Ok(store.put(&self.key, object))
    }

    /// PUT.
    pub fn replace(&self, store: &mut Store, object: Value) -> Done {
        let live = self.live(store)?;
        if self.kind().custom && !object["metadata"]["resourceVersion"].is_string() {
            return Err(Refusal::invalid(
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
            ));
        }
        self.check_version(&live, &object)?;
        let uid = object["metadata"]["uid"].as_str();
        if uid.is_some_and(|uid| live["metadata"]["uid"] != uid) {
            return Err(self.wrong_uid(&live, uid.unwrap_or_default()));
        }
        self.update(store, &live, object)
    }

    /// PATCH with `application/merge-patch+json`.
    pub fn merge(&self, store: &mut Store, patch: &Value) -> Done {
        let live = self.live(store)?;
        self.check_version(&live, patch)?;
        self.check_immutable(&live, patch)?;
        let mut object = live.as_ref().clone();
        merge_patch(&mut object, patch);
        self.update(store, &live, object)
    }

    /// PATCH with `application/apply-patch+yaml`.
    pub fn apply(&self, store: &mut Store, wish: &Value, force: bool) -> Done {
        let Some(live) = store.get(&self.key).cloned() else {
            return self.apply_first(store, wish);
        };
        self.check_version(&live, wish)?;
        self.check_immutable(&live, wish)?;
        let wish = self.visible(wish);
        let (object, entries) = apply(self.kind(), &live, &wish, &self.by(true), force)?;
        self.finish(store, &live, object, &entries)
    }

    /// Server-side apply creates what is not there, unless it names a uid that it expects.
    fn apply_first(&self, store: &mut Store, wish: &Value) -> Done {
        if self.status {
            return Err(Refusal::not_found(&self.key.text()));
        }
        if let Some(uid) = wish["metadata"]["uid"].as_str() {
            return Err(Refusal::conflict(format!(
                "Operation cannot be fulfilled on {}: uid mismatch: the provided object specified uid {uid}, and no existing object was found",
                self.key.text()
            )));
        }
        let wish = self.visible(wish);
        let (mut object, entries) = apply(self.kind(), &json!({}), &wish, &self.by(true), false)?;
        self.begin(store, &mut object);
        managers::write(self.kind(), &mut object, &entries, &self.now);
        Ok(store.put(&self.key, object))
    }

    /// DELETE. A pod on a node ends when its kubelet says so; everything else is gone at once.
    pub fn delete(&self, store: &mut Store, how: &Deletion) -> Done {
        let live = self.live(store)?;
        let metadata = &live["metadata"];
        if let Some(uid) = how.uid.as_deref().filter(|uid| metadata["uid"] != *uid) {
            return Err(self.wrong_uid(&live, uid));
        }
        let version = how.resource_version.as_deref();
        if version.is_some_and(|version| metadata["resourceVersion"] != version) {
            return Err(Refusal::conflict(format!(
                "Precondition failed: ResourceVersion in precondition: {}, in object meta: {}",
                version.unwrap_or_default(),
                metadata["resourceVersion"]
            )));
        }
        let runs = self.kind().kind == "Pod"
            && live["spec"]["nodeName"].is_string()
            && how.grace_seconds != Some(0);
        if !runs {
            store.remove(&self.key);
            super::garbage::collect(store);
            return Ok(live);
        }
        if metadata["deletionTimestamp"].is_string() {
            return Ok(live);
        }
        let mut object = live.as_ref().clone();
        object["metadata"]["deletionTimestamp"] = json!(self.now);
        object["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        Ok(store.put(&self.key, object))
    }

    fn live(&self, store: &Store) -> Done {
        let live = store.get(&self.key).cloned();
        live.ok_or_else(|| Refusal::not_found(&self.key.text()))
    }

    /// What the server itself writes into a new object.
    fn begin(&self, store: &mut Store, object: &mut Value) {
        let kind = self.kind();
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let uid = store.new_uid();
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(self.key.name);
        if kind.namespaced {
            metadata["namespace"] = json!(self.key.namespace);
        }
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(self.now);
        if kind.generation {
            metadata["generation"] = json!(1);
        }
        if kind.status
            && let Some(object) = object.as_object_mut()
        {
            object.remove("status");
        }
        if kind.kind == "Pod" {
            object["status"] = json!({"phase": "Pending"});
        }
    }

    fn check_version(&self, live: &Value, wish: &Value) -> Result<(), Refusal> {
        let version = wish["metadata"]["resourceVersion"].as_str();
        if version.is_none_or(|version| live["metadata"]["resourceVersion"] == version) {
            return Ok(());
        }
        Err(Refusal::conflict(format!(
            "Operation cannot be fulfilled on {}: the object has been modified; please apply your changes to the latest version and try again",
            self.key.text()
        )))
    }

    /// A patch cannot change the uid.
    fn check_immutable(&self, live: &Value, wish: &Value) -> Result<(), Refusal> {
        let uid = wish["metadata"]["uid"].as_str();
        if uid.is_none_or(|uid| live["metadata"]["uid"] == uid) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "{} is invalid: metadata.uid: Invalid value: {uid:?}: field is immutable",
            self.key.text()
        )))
    }

    fn wrong_uid(&self, live: &Value, uid: &str) -> Refusal {
        Refusal::conflict(format!(
            "Operation cannot be fulfilled on {}: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            self.key.text(),
            live["metadata"]["uid"]
        ))
    }

    /// The part of a wish that this endpoint takes: the status alone, or everything else.
    fn visible(&self, wish: &Value) -> Value {
        let mut wish = wish.clone();
        let Some(map) = wish.as_object_mut() else {
            return wish;
        };
        if self.status {
            map.retain(|name, _| ["apiVersion", "kind", "status"].contains(&name.as_str()));
        } else if self.kind().status {
            map.remove("status");
        }
        wish
    }

    fn update(&self, store: &mut Store, live: &Value, wish: Value) -> Done {
        let mut object = wish;
        if self.status {
            let status = object["status"].take();
            object = live.clone();
            object["status"] = status;
        } else {
            keep_system_fields(live, &mut object, self.kind().status);
        }
        let entries = managers::updated(self.kind(), Some(live), &object, &self.updater());
        self.finish(store, live, object, &entries)
    }

    /// Keeps the object, unless nothing changed but times.
    fn finish(
        &self,
        store: &mut Store,
        live: &Value,
        mut object: Value,
        entries: &[Entry],
    ) -> Done {
        let same_content = same_but_managers(&object, live);
        if same_content && entries_equal(entries, &managers::read(live)) {
            return self.live(store);
        }
        let kind = self.kind();
        if kind.generation && !self.status && object["spec"] != live["spec"] {
            let generation = live["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        managers::write(kind, &mut object, entries, &self.now);
        Ok(store.put(&self.key, object))
    }
}

fn entries_equal(left: &[Entry], right: &[Entry]) -> bool {
    let some = |entries: &[Entry]| -> Vec<Entry> {
        let owning = entries.iter().filter(|entry| !entry.fields.is_empty());
        owning.cloned().collect()
    };
    some(left) == some(right)
}

fn same_but_managers(left: &Value, right: &Value) -> bool {
    let fields = |object: &Value| object.as_object().map_or(0, serde_json::Map::len);
    let names = left.as_object().into_iter().flat_map(serde_json::Map::keys);
    fields(left) == fields(right)
        && names
            .filter(|name| *name != "metadata")
            .all(|name| left.get(name) == right.get(name))
        && without_managers(left) == without_managers(right)
}

fn without_managers(object: &Value) -> Value {
    let mut metadata = object["metadata"].clone();
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("managedFields");
    }
    metadata
}

fn keep_system_fields(live: &Value, object: &mut Value, status: bool) {
    let kept = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
    ];
    for name in kept {
        match live["metadata"].get(name) {
            Some(value) => object["metadata"][name] = value.clone(),
            None => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove(name);
                }
            }
        }
    }
    object["apiVersion"] = live["apiVersion"].clone();
    object["kind"] = live["kind"].clone();
    if !status {
        return;
    }
    match live.get("status") {
        Some(before) => object["status"] = before.clone(),
        None => {
            if let Some(map) = object.as_object_mut() {
                map.remove("status");
            }
        }
    }
}

/// RFC 7386.
fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        object.clone_from(patch);
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(map) = object.as_object_mut() {
                map.remove(name);
            }
        } else {
            merge_patch(&mut object[name], value);
        }
    }
}
