//! What an API server does with a manifest, as far as it can be done without one: defaults, structure, CEL.
//!
//! Messages are worded as the server words them, so that one list of expectations serves both (the end-to-end suite runs the same
//! manifests against a real server).

use std::collections::HashSet;

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Map, Value};

/// Fields of the object that the CRD's schema says nothing about.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The schema of `SmallModel`.
pub fn schema() -> Value {
    let crd = smallfleet_crds::crd();
    let validation = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(validation.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// The object with defaults, as the server would store it, or every message of its refusal.
pub fn admit(schema: &Value, object: &Value) -> Result<Value, Vec<String>> {
    let object = apply_defaults(schema, object);
    let mut errors = Vec::new();
    check(schema, &object, "", &mut errors);
    if let Err(refused) = Validator::new().validate(schema, &object, None) {
        errors.extend(refused.into_iter().map(|error| error.to_string()));
    }
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(errors)
    }
}

fn check(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    match value {
        Value::Object(fields) => check_object(schema, fields, path, errors),
        Value::Array(items) => check_list(schema, items, path, errors),
        scalar => check_scalar(schema, scalar, path, errors),
    }
}

fn check_object(schema: &Value, fields: &Map<String, Value>, path: &str, errors: &mut Vec<String>) {
    expect_type(schema, "object", path, errors);
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        if !fields.contains_key(name) {
            errors.push(format!("{}: Required value", join(path, name)));
        }
    }
    let entry_schema = schema.get("additionalProperties");
    for (name, value) in fields {
        let path = join(path, name);
        match schema["properties"].get(name).or(entry_schema) {
            Some(schema) => check(schema, value, &path, errors),
            None if OF_EVERY_OBJECT.contains(&path.as_str()) => {}
            None => errors.push(format!("unknown field \"{path}\"")),
        }
    }
}

fn check_list(schema: &Value, items: &[Value], path: &str, errors: &mut Vec<String>) {
    expect_type(schema, "array", path, errors);
    let count = items.len() as u64;
    if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
        errors.push(format!("{path} in body should have at least {least} items"));
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
        errors.push(format!(
            "{path}: Too many: {count}: must have at most {most} items"
        ));
    }
    let keys: Vec<_> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|key| items.iter().map(move |item| &item[key.as_str().unwrap()]))
        .map(Value::to_string)
        .collect();
    if keys.iter().collect::<HashSet<_>>().len() < keys.len() {
        errors.push(format!("{path}: Duplicate value"));
    }
    for (index, item) in items.iter().enumerate() {
        check(&schema["items"], item, &format!("{path}[{index}]"), errors);
    }
}

fn check_scalar(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        return;
    }
    let kind = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        _ => "null",
    };
    expect_type(schema, kind, path, errors);
    if let Some(allowed) = schema["enum"].as_array().filter(|all| !all.contains(value)) {
        let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
        errors.push(format!(
            "{path}: Unsupported value: supported values: {}",
            allowed.join(", ")
        ));
    }
    let (number, length) = (
        value.as_f64(),
        value.as_str().map(|text| text.chars().count() as u64),
    );
    if let Some((bound, _)) = schema["minimum"]
        .as_f64()
        .zip(number)
        .filter(|(bound, n)| n < bound)
    {
        errors.push(format!(
            "{path} in body should be greater than or equal to {bound}"
        ));
    }
    if let Some((bound, _)) = schema["maximum"]
        .as_f64()
        .zip(number)
        .filter(|(bound, n)| n > bound)
    {
        errors.push(format!(
            "{path} in body should be less than or equal to {bound}"
        ));
    }
    if let Some((bound, _)) = schema["maxLength"]
        .as_u64()
        .zip(length)
        .filter(|(bound, n)| n > bound)
    {
        errors.push(format!(
            "{path}: Too long: may not be more than {bound} bytes"
        ));
    }
}

fn expect_type(schema: &Value, kind: &str, path: &str, errors: &mut Vec<String>) {
    if schema["type"] != kind {
        errors.push(format!(
            "{path}: Invalid value: {path} in body must be of type {}",
            schema["type"]
        ));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
