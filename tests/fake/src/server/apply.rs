//! Server-side apply: a manager's wish is merged into what is there, field by field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{self, Fields, Step, item_step};
use super::kinds::Kind;
use super::managers::{self, Entry, Manager};
use super::refusal::Refusal;
use super::schema::{self, Shape};

/// The object after the apply; `live` is `null` where there is none yet.
///
/// # Errors
/// A conflict that names the other managers, unless `force`.
pub fn apply(
    kind: &Kind,
    live: &Value,
    wish: &Value,
    by: &Manager,
    force: bool,
) -> Result<(Value, Vec<Entry>), Refusal> {
    let wanted = fields::of(kind, wish);
    let mut entries = managers::read(live);
    let conflicts = take_over(kind, live, wish, &wanted, by, &mut entries);
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    let mut merged = live.clone();
    merge(kind, &mut merged, wish, &mut Vec::new());
    let own = managers::own(&mut entries, by);
    let dropped: Vec<_> = own.difference(&wanted).cloned().collect();
    *own = wanted;
    let owned = |path: &[Step]| {
        entries
            .iter()
            .any(|entry| entry.fields.iter().any(|own| own.starts_with(path)))
    };
    // Shortest first: an item goes with all that it holds, while its key still names it.
    for path in dropped.iter().filter(|path| !owned(path)) {
        fields::remove(kind, &mut merged, path, &owned);
    }
    Ok((merged, entries))
}

/// Takes from the others what is wished differently, and says what that was by whom.
fn take_over(
    kind: &Kind,
    live: &Value,
    wish: &Value,
    wanted: &Fields,
    by: &Manager,
    entries: &mut [Entry],
) -> BTreeMap<String, Vec<String>> {
    let mut conflicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.manager != *by) {
        let differs = |path: &&super::fields::Path| {
            let is_item = !matches!(path.last(), Some(Step::Field(_)));
            !is_item && fields::get(kind, live, path) != fields::get(kind, wish, path)
        };
        let contested: Fields = entry
            .fields
            .intersection(wanted)
            .filter(differs)
            .cloned()
            .collect();
        if !contested.is_empty() {
            let texts = contested.iter().map(|path| text(path)).collect();
            conflicts.insert(entry.manager.name.clone(), texts);
        }
        entry.fields.retain(|path| !contested.contains(path));
    }
    conflicts
}

fn conflict(conflicts: &BTreeMap<String, Vec<String>>) -> Refusal {
    let count: usize = conflicts.values().map(Vec::len).sum();
    let texts = conflicts
        .iter()
        .map(|(manager, paths)| format!("conflict with {manager:?}: {}", paths.join(", ")));
    let plural = if count == 1 { "" } else { "s" };
    let texts: Vec<String> = texts.collect();
    Refusal::conflict(format!(
        "Apply failed with {count} conflict{plural}: {}",
        texts.join("; ")
    ))
}

fn text(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Item(key) | Step::Value(key) => format!("[{key}]"),
    };
    path.iter().map(step).collect()
}

/// Lays the wish over what is there.
fn merge(kind: &Kind, live: &mut Value, wish: &Value, path: &mut Vec<Step>) {
    match wish {
        Value::Object(map) if schema::object(kind, path) == Shape::Fields => {
            if !live.is_object() {
                *live = json!({});
            }
            for (name, value) in map {
                path.push(Step::Field(name.clone()));
                merge(kind, &mut live[name], value, path);
                path.pop();
            }
        }
        Value::Array(items) if schema::list(kind, path) != Shape::Atomic => {
            merge_items(kind, live, items, path);
        }
        _ => live.clone_from(wish),
    }
}

fn merge_items(kind: &Kind, live: &mut Value, items: &[Value], path: &mut Vec<Step>) {
    let shape = schema::list(kind, path);
    let mut merged = live.as_array().cloned().unwrap_or_default();
    for item in items {
        let step = item_step(shape, item);
        let index = merged.iter().position(|own| item_step(shape, own) == step);
        let index = index.unwrap_or_else(|| {
            merged.push(Value::Null);
            merged.len() - 1
        });
        path.push(step);
        if matches!(shape, Shape::Keyed(_)) {
            merge(kind, &mut merged[index], item, path);
        } else {
            merged[index].clone_from(item);
        }
        path.pop();
    }
    *live = Value::Array(merged);
}
