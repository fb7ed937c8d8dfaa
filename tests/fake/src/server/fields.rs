//! Sets of fields, as `metadata.managedFields` writes them (`FieldsV1`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::schema::{self, Shape};

/// One step of a path into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// An item of a keyed list: its key fields as JSON.
    Item(String),
    /// A value of a set, as JSON.
    Value(String),
}

impl Step {
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            Self::Item(_) | Self::Value(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Item(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.get(2..)?.to_owned();
        match text.get(..2)? {
            "f:" => Some(Self::Field(rest)),
            "k:" => Some(Self::Item(rest)),
            "v:" => Some(Self::Value(rest)),
            _ => None,
        }
    }
}

/// Steps from the root.
pub type Path = Vec<Step>;

/// Fields that somebody owns: leaves, and items of keyed lists.
pub type Fields = BTreeSet<Path>;

/// What of `metadata` nobody owns.
const SYSTEM: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
];

/// All fields that an object sets.
pub fn of(kind: &Kind, object: &Value) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        if name != "apiVersion" && name != "kind" {
            collect(
                kind,
                value,
                &mut vec![Step::Field(name.clone())],
                &mut fields,
            );
        }
    }
    fields.retain(|path| !is_system(path));
    fields
}

fn is_system(path: &Path) -> bool {
    let metadata = path.first().and_then(Step::field) == Some("metadata");
    let name = path.get(1).and_then(Step::field).unwrap_or_default();
    metadata && (path.len() == 1 || SYSTEM.contains(&name))
}

fn collect(kind: &Kind, value: &Value, path: &mut Path, fields: &mut Fields) {
    match value {
        Value::Object(map) if !map.is_empty() && schema::object(kind, path) == Shape::Fields => {
            for (name, value) in map {
                path.push(Step::Field(name.clone()));
                collect(kind, value, path, fields);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let shape = schema::list(kind, path);
            if shape == Shape::Atomic {
                fields.insert(path.clone());
                return;
            }
            for item in items {
                path.push(item_step(shape, item));
                fields.insert(path.clone());
                if matches!(shape, Shape::Keyed(_)) {
                    collect(kind, item, path, fields);
                }
                path.pop();
            }
        }
        _ => {
            fields.insert(path.clone());
        }
    }
}

/// How an item of a keyed list or a set is told from the others.
pub fn item_step(shape: Shape, item: &Value) -> Step {
    let Shape::Keyed(keys) = shape else {
        return Step::Value(item.to_string());
    };
    let mut sorted: Vec<_> = keys.to_vec();
    sorted.sort_unstable();
    let key: Map<String, Value> = sorted
        .into_iter()
        .filter_map(|key| {
            let default = || schema::default_of(key).map(Value::from);
            Some((key.to_owned(), item.get(key).cloned().or_else(default)?))
        })
        .collect();
    Step::Item(Value::Object(key).to_string())
}

/// As managedFields write it.
pub fn write(fields: &Fields) -> Value {
    let mut root = json!({});
    for path in fields {
        let mut node = &mut root;
        for step in path {
            node = &mut node[step.text()];
            if node.is_null() {
                *node = json!({});
            }
        }
        if matches!(path.last(), Some(Step::Item(_))) {
            node["."] = json!({});
        }
    }
    root
}

/// The fields of an entry of managedFields.
pub fn read(written: &Value) -> Fields {
    let mut fields = Fields::new();
    read_into(written, &mut Vec::new(), &mut fields);
    fields
}

fn read_into(node: &Value, path: &mut Path, fields: &mut Fields) {
    let children = node.as_object().filter(|map| !map.is_empty());
    let Some(children) = children else {
        fields.insert(path.clone());
        return;
    };
    for (text, child) in children {
        if text == "." {
            fields.insert(path.clone());
        } else if let Some(step) = Step::parse(text) {
            path.push(step);
            read_into(child, path, fields);
            path.pop();
        }
    }
}

/// The value at a path.
pub fn get<'v>(kind: &Kind, object: &'v Value, path: &[Step]) -> Option<&'v Value> {
    let mut value = object;
    for (index, step) in path.iter().enumerate() {
        value = match step {
            Step::Field(name) => value.get(name)?,
            Step::Item(_) | Step::Value(_) => {
                let shape = schema::list(kind, &path[..index]);
                let same = |item: &&Value| item_step(shape, item) == *step;
                value.as_array()?.iter().find(same)?
            }
        };
    }
    Some(value)
}

/// Removes the value at a path, and what is empty above it unless `keep` says that somebody owns it.
pub fn remove(kind: &Kind, object: &mut Value, path: &[Step], keep: &impl Fn(&[Step]) -> bool) {
    remove_at(kind, object, path, 0, keep);
}

fn remove_at(
    kind: &Kind,
    value: &mut Value,
    path: &[Step],
    depth: usize,
    keep: &impl Fn(&[Step]) -> bool,
) {
    let Some(step) = path.get(depth) else { return };
    let here = &path[..=depth];
    let is_last = depth + 1 == path.len();
    let gone = |child: &Value| is_empty(child) && !keep(here);
    match step {
        Step::Field(name) => {
            let Some(map) = value.as_object_mut() else {
                return;
            };
            let Some(child) = map.get_mut(name) else {
                return;
            };
            remove_at(kind, child, path, depth + 1, keep);
            if is_last || gone(child) {
                map.remove(name);
            }
        }
        Step::Item(_) | Step::Value(_) => {
            let shape = schema::list(kind, &path[..depth]);
            let Some(items) = value.as_array_mut() else {
                return;
            };
            let same = |item: &Value| item_step(shape, item) == *step;
            let Some(index) = items.iter().position(same) else {
                return;
            };
            remove_at(kind, &mut items[index], path, depth + 1, keep);
            if is_last {
                items.remove(index);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
