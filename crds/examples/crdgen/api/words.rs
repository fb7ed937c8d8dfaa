//! What a schema says, in words.

use serde_json::Value;

/// A string's text; nothing where there is none.
pub fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Entries of a list; none where there is no list.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The description, without the default that is appended to it for `kubectl explain`.
pub fn meaning(schema: &Value) -> String {
    let description = plain(&schema["description"]);
    let said = description.rsplit_once("Default: ");
    let without =
        said.filter(|(_, default)| default.trim_end_matches('.') == short(&schema["default"]));
    without
        .map_or(description, |(text, _)| text)
        .trim()
        .to_owned()
}

fn short(default: &Value) -> String {
    match default {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The type of a field; one with fields of its own is a link to its table.
pub fn kind(path: &str, schema: &Value) -> String {
    if schema["properties"].is_object() {
        return format!("[object](#{})", anchor(path));
    }
    if schema["items"].is_object() {
        return format!("list of {}", kind(&format!("{path}[]"), &schema["items"]));
    }
    if schema["additionalProperties"].is_object() {
        let entry = kind(path, &schema["additionalProperties"]);
        return format!("map of {entry}");
    }
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        return "integer or string".to_owned();
    }
    let allowed: Vec<_> = items(&schema["enum"])
        .map(|one| format!("`{}`", plain(one)))
        .collect();
    match (allowed.is_empty(), plain(&schema["format"])) {
        (false, _) => allowed.join(", "),
        (true, "date-time") => "time".to_owned(),
        (true, _) => plain(&schema["type"]).to_owned(),
    }
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .collect::<String>()
        .to_lowercase()
}

/// A default that does not fit into a table.
pub fn is_long(default: &Value) -> bool {
    let filled_list = default.as_array().is_some_and(|list| !list.is_empty());
    filled_list || default.as_object().is_some_and(|fields| !fields.is_empty())
}

pub fn default(schema: &Value, required: bool) -> String {
    match &schema["default"] {
        _ if required => "**required**".to_owned(),
        Value::Null => "-".to_owned(),
        default if is_long(default) => "below".to_owned(),
        Value::Object(_) if schema["properties"].is_object() => "of its fields".to_owned(),
        Value::String(text) if !text.is_empty() => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// Bounds of a value, and of each entry of a list or map of scalars.
pub fn bounds(schema: &Value) -> String {
    let own = [
        range(schema, ["minimum", "maximum"], ""),
        range(schema, ["minLength", "maxLength"], " characters"),
        range(schema, ["minItems", "maxItems"], " items"),
        range(schema, ["minProperties", "maxProperties"], " entries"),
        unique(schema),
    ];
    let scalars = [&schema["items"], &schema["additionalProperties"]];
    let of_scalars = scalars
        .into_iter()
        .filter(|inner| inner.is_object() && inner["properties"].is_null());
    let each = of_scalars.map(bounds).filter(|bounds| !bounds.is_empty());
    let own = own.into_iter().filter(|bound| !bound.is_empty());
    own.chain(each.map(|bounds| format!("each {bounds}")))
        .collect::<Vec<_>>()
        .join("; ")
}

fn range(schema: &Value, [least, most]: [&str; 2], unit: &str) -> String {
    let number = |name: &str| schema[name].as_f64().map(|number| number.to_string());
    match (number(least), number(most)) {
        (Some(least), Some(most)) if least == most => format!("exactly {least}{unit}"),
        (Some(least), Some(most)) => format!("{least} to {most}{unit}"),
        (Some(least), None) => format!("at least {least}{unit}"),
        (None, Some(most)) => format!("at most {most}{unit}"),
        (None, None) => String::new(),
    }
}

fn unique(schema: &Value) -> String {
    let keys: Vec<_> = items(&schema["x-kubernetes-list-map-keys"])
        .map(|key| format!("`{}`", plain(key)))
        .collect();
    match plain(&schema["x-kubernetes-list-type"]) {
        "map" => format!("unique by {}", keys.join(", ")),
        "set" => "each once".to_owned(),
        _ => String::new(),
    }
}
