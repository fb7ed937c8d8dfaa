//! What becomes of files and requests on their way.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON: what programs send by mistake, and what is larger than anybody expects.
pub fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, -1, i64::MIN, i64::MAX, 1 << 32]).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        Just(Value::from("count ".repeat(10_000))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let fields = prop::collection::vec(("[a-z_]{0,9}", inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::from(Map::from_iter(fields))),
        ]
    })
}

/// Where `at`, from 0 to 1, is among `length` things, of which there is at least one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
pub fn place(length: usize, at: f64) -> usize {
    (length as f64 * at) as usize
}

/// Puts another value where one of the values of `json` is.
pub fn replace(json: &mut Value, at: f64, with: Value) {
    let mut pointers = Vec::new();
    collect(json, String::new(), &mut pointers);
    let pointer = &pointers[place(pointers.len(), at)];
    *json.pointer_mut(pointer).unwrap_or(&mut json!(null)) = with;
}

fn collect(json: &Value, here: String, pointers: &mut Vec<String>) {
    match json {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect(value, format!("{here}/{index}"), pointers);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{here}/{name}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(here);
}
