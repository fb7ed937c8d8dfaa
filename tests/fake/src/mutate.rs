//! Mutations of a SmallModel's spec, as careless and hostile users make them. A number names each: the same one every time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// A manifest with every field.
const FULL: &str = include_str!("../../../crds/tests/manifests/good/full.yaml");

/// Spec of a SmallModel with every field, which an API server accepts.
///
/// # Panics
/// When the manifest is no YAML.
#[must_use]
pub fn full_spec() -> Value {
    let manifest: Value = serde_yaml_ng::from_str(FULL).expect("the manifest is YAML");
    manifest["spec"].clone()
}

/// Changes one to three things of a spec; says which.
pub fn mutate(spec: &mut Value, number: u64) -> String {
    let mut random = StdRng::seed_from_u64(number);
    let changes = random.random_range(1..=3);
    let said: Vec<String> = (0..changes).map(|_| change(spec, &mut random)).collect();
    said.join(", ")
}

fn change(spec: &mut Value, random: &mut StdRng) -> String {
    let paths = pointers(spec);
    let Some(path) = pick(&paths, random) else {
        return "nothing is left".to_owned();
    };
    let other = pick(&paths, random).and_then(|other| spec.pointer(other).cloned());
    let Some(place) = spec.pointer_mut(path) else {
        return format!("{path} is gone");
    };
    let what = match random.random_range(0..8) {
        0 => return remove(spec, path),
        1 => replace(place, Value::Null, "null"),
        2 => replace(place, other.unwrap_or_default(), "a value from elsewhere"),
        3 => replace(place, empty(place), "empty"),
        4 => replace(place, of_another_type(place), "of another type"),
        5 => replace(place, huge(place), "huge"),
        6 => replace(place, odd(random), "odd"),
        _ => add(place),
    };
    format!("{path} is {what}")
}

fn pick<'a>(paths: &'a [String], random: &mut StdRng) -> Option<&'a String> {
    (!paths.is_empty()).then(|| &paths[random.random_range(0..paths.len())])
}

/// JSON pointers of everything in it.
fn pointers(value: &Value) -> Vec<String> {
    let inner = |key: String, value: &Value| {
        let below = pointers(value).into_iter();
        let mut all: Vec<String> = below.map(|rest| format!("/{key}{rest}")).collect();
        all.push(format!("/{key}"));
        all
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| inner(name.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .flat_map(|(index, value): (usize, _)| inner(index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    }
}

fn remove(spec: &mut Value, path: &str) -> String {
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    match spec.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = key.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
    format!("{path} is removed")
}

fn replace(place: &mut Value, value: Value, what: &'static str) -> &'static str {
    *place = value;
    what
}

fn empty(value: &Value) -> Value {
    match value {
        Value::String(_) => json!(""),
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
        _ => json!(0),
    }
}

fn of_another_type(value: &Value) -> Value {
    match value {
        Value::String(text) => json!([text]),
        Value::Array(items) => json!({"items": items}),
        Value::Object(_) => json!("an object"),
        Value::Bool(_) => json!("true"),
        number => json!(number.to_string()),
    }
}

fn huge(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text.repeat(2000)),
        Value::Array(items) => items
            .iter()
            .cycle()
            .take(200 * items.len())
            .cloned()
            .collect(),
        Value::Object(fields) => {
            // A real server warns of each unknown field in a header of its own, and a client reads a hundred of them.
            let more = (0..25).map(|index| (format!("more-{index}"), json!("more")));
            Value::Object(fields.clone().into_iter().chain(more).collect())
        }
        _ => json!(u64::MAX),
    }
}

fn odd(random: &mut StdRng) -> Value {
    const ODD: [&str; 8] = [
        "-1",
        "1e400",
        "\u{0}\u{202e}\u{1f9e8}",
        "../../etc/passwd",
        "100%",
        "a@sha256:0",
        "{{ .Values }}",
        "9223372036854775808Gi",
    ];
    match random.random_range(0..ODD.len() + 2) {
        0 => json!(-1),
        1 => json!(0.5),
        index => json!(ODD[index - 2]),
    }
}

/// An unknown field, or an item once more.
fn add(place: &mut Value) -> &'static str {
    match place {
        Value::Object(fields) => {
            fields.insert("unknown".to_owned(), json!({"field": 1}));
            "with an unknown field"
        }
        Value::Array(items) => {
            items.extend(items.first().cloned());
            "with an item twice"
        }
        scalar => replace(scalar, json!({"unknown": 1}), "an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_mutation_and_most_change_something() {
        let full = full_spec();
        let mutated = |number| {
            let mut spec = full.clone();
            (mutate(&mut spec, number), spec)
        };
        assert_eq!(mutated(7), mutated(7));
        let changed = (0..200).filter(|number| mutated(*number).1 != full);
        assert!(changed.count() > 180);
    }
}
