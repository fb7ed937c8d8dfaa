//! What schemars says and an API server or a reader does not want.

use serde_json::{Map, Value};

/// Keywords that constrain a value. Status has none of them: it is ours, and a bound that a later release narrows must never
/// make the record of a running rollout unwritable.
const CONSTRAINTS: [&str; 9] = [
    "default",
    "x-kubernetes-validations",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
];

/// Rewrites the root schema of the kind in place.
pub(super) fn tidy(root: &mut Value) {
    each_schema(root, &mut known_formats);
    each_schema(root, &mut not_nullable);
    each_schema(root, &mut one_line);
    let Some(properties) = root["properties"].as_object_mut() else {
        return;
    };
    if let Some(spec) = properties.get_mut("spec") {
        each_schema(spec, &mut short_default);
        each_schema(spec, &mut say_default);
    }
    if let Some(status) = properties.get_mut("status") {
        each_schema(status, &mut unconstrained);
    }
}

/// Calls `change` for a schema and every schema inside it, the inner ones first.
fn each_schema(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            each_schema(property, change);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            each_schema(inner, change);
        }
    }
    change(object);
}

/// `uint32` and the like are no formats of Kubernetes: the server warns about each.
fn known_formats(schema: &mut Map<String, Value>) {
    let known = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "int8" | "uint16" | "int16") => "int32",
        Some("uint32" | "uint64") => "int64",
        _ => return,
    };
    schema.insert("format".to_owned(), known.into());
}

/// An optional field is left out, never null; the server prunes a null before it applies defaults.
fn not_nullable(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
}

/// A doc comment's lines break where the source's did.
fn one_line(schema: &mut Map<String, Value>) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}

/// A block whose fields bring all of its default themselves defaults to `{}`: one place says each default.
fn short_default(schema: &mut Map<String, Value>) {
    let Some(default) = schema.get("default").and_then(Value::as_object) else {
        return;
    };
    let of_field = |name: &String| {
        let field = schema.get("properties")?.get(name)?;
        let default = field.get("default")?;
        let filled = default.as_object().is_some_and(Map::is_empty);
        Some((default.clone(), filled))
    };
    let brought = default.iter().all(|(name, value)| match of_field(name) {
        Some((_, true)) => value.is_object(),
        Some((default, false)) => default == *value,
        None => false,
    });
    if brought {
        schema.insert("default".to_owned(), Value::Object(Map::new()));
    }
}

/// `kubectl explain` shows descriptions but no defaults.
fn say_default(schema: &mut Map<String, Value>) {
    let said = match schema.get("default") {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        _ => return,
    };
    let description = schema.get("description").and_then(Value::as_str);
    let description = format!("{} Default: {said}.", description.unwrap_or_default());
    schema.insert("description".to_owned(), description.trim().into());
}

fn unconstrained(schema: &mut Map<String, Value>) {
    for keyword in CONSTRAINTS {
        schema.remove(keyword);
    }
}
