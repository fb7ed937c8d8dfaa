//! Who owns which fields: the entries of `metadata.managedFields`.

use serde_json::{Value, json};

use super::fields::{self, Fields};
use super::kinds::Kind;

/// Who writes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    /// Server-side apply; else an update of whatever kind.
    pub apply: bool,
    pub status: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub manager: Manager,
    pub fields: Fields,
}

/// The entries of an object.
pub fn read(object: &Value) -> Vec<Entry> {
    let entries = object["metadata"]["managedFields"].as_array();
    let entry = |written: &Value| Entry {
        manager: Manager {
            name: written["manager"].as_str().unwrap_or_default().to_owned(),
            apply: written["operation"] == "Apply",
            status: written["subresource"] == "status",
        },
        fields: fields::read(&written["fieldsV1"]),
    };
    entries.into_iter().flatten().map(entry).collect()
}

/// Writes the entries; those that own nothing are left out.
pub fn write(kind: &Kind, object: &mut Value, entries: &[Entry], now: &str) {
    let written = entries
        .iter()
        .filter(|entry| !entry.fields.is_empty())
        .map(|entry| {
            let mut written = json!({
                "manager": entry.manager.name,
                "operation": if entry.manager.apply { "Apply" } else { "Update" },
                "apiVersion": kind.api_version(),
                "time": now,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields::write(&entry.fields),
            });
            if entry.manager.status {
                written["subresource"] = json!("status");
            }
            written
        });
    object["metadata"]["managedFields"] = Value::Array(written.collect());
}

/// After an update: what it changed is its own, what is gone is nobody's.
pub fn updated(kind: &Kind, before: Option<&Value>, after: &Value, by: &Manager) -> Vec<Entry> {
    let mut entries = before.map(read).unwrap_or_default();
    let present = fields::of(kind, after);
    let changed: Fields = present
        .iter()
        .filter(|path| {
            let old = before.and_then(|before| fields::get(kind, before, path));
            old != fields::get(kind, after, path)
        })
        .cloned()
        .collect();
    for entry in &mut entries {
        entry
            .fields
            .retain(|path| present.contains(path) && !changed.contains(path));
    }
    if !changed.is_empty() {
        own(&mut entries, by).extend(changed);
    }
    entries
}

/// Fields of one manager, with a new entry if there is none.
pub fn own<'e>(entries: &'e mut Vec<Entry>, by: &Manager) -> &'e mut Fields {
    let index = entries.iter().position(|entry| entry.manager == *by);
    let index = index.unwrap_or_else(|| {
        entries.push(Entry {
            manager: by.clone(),
            fields: Fields::new(),
        });
        entries.len() - 1
    });
    &mut entries[index].fields
}
