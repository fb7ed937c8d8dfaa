//! `docs/api.md`: the API reference, made of the CRD's schema and of the documented constants of this crate.

mod constants;
mod words;

use serde_json::{Map, Value};

const HEADER: &str = "<!-- Generated from crds/src by `make crds`. Do not edit. -->\n";
const SMALLEST: &str = include_str!("../../../tests/manifests/good/twelve-lines.yaml");
const FULL: &str = include_str!("../../../tests/manifests/good/full.yaml");

/// The whole file.
pub fn text(crd: &Value) -> String {
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut out = format!("{HEADER}{}", introduction(crd));
    out += "## Spec\n\n";
    out += "What spec names wrongly is refused by the API server with the message of the rule. An unknown field is refused by `kubectl apply`.\n\n";
    out += &format!(
        "### The whole manifest\n\n{}\n",
        rules("the manifest", schema, "")
    );
    block("spec", &schema["properties"]["spec"], true, &mut out);
    out += "## Status\n\nWritten by the operator alone; `spec` is never written by it.\n\n";
    block("status", &schema["properties"]["status"], false, &mut out);
    out += &constants::sections();
    out
}

fn introduction(crd: &Value) -> String {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let version = &spec["versions"][0];
    let mut out = format!(
        "# API reference\n\n`{}` of `{}/{}`, {}; plural `{}`, short name `{}`. {}\n\n",
        words::plain(&names["kind"]),
        words::plain(&spec["group"]),
        words::plain(&version["name"]),
        words::plain(&spec["scope"]).to_lowercase(),
        words::plain(&names["plural"]),
        words::plain(&names["shortNames"][0]),
        words::plain(&version["schema"]["openAPIV3Schema"]["description"]),
    );
    out += &format!(
        "A short manifest, and one with every field:\n\n```yaml\n{SMALLEST}```\n\n```yaml\n{FULL}```\n\n"
    );
    out += "Columns of `kubectl get smallmodels`:\n\n| column | path |\n|---|---|\n";
    for column in words::items(&version["additionalPrinterColumns"]) {
        let (name, path) = (&column["name"], &column["jsonPath"]);
        out += &format!("| {} | `{}` |\n", words::plain(name), words::plain(path));
    }
    out + "\n"
}

/// Writes the table of an object's fields, then the objects inside it. `asked`: a person writes it, so it has defaults and bounds.
fn block(path: &str, schema: &Value, asked: bool, out: &mut String) {
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    *out += &format!("### {path}\n\n{}\n\n", words::meaning(schema));
    *out += if asked {
        "| field | type | default | bounds | meaning |\n|---|---|---|---|---|\n"
    } else {
        "| field | type | meaning |\n|---|---|---|\n"
    };
    for (name, field) in fields {
        *out += &row(path, name, field, schema, asked);
    }
    *out += "\n";
    *out += &long_defaults(fields);
    *out += &all_rules(schema, fields);
    for (name, field) in fields {
        block(&format!("{path}.{name}"), field, asked, out);
        block(&format!("{path}.{name}[]"), &field["items"], asked, out);
    }
}

fn row(path: &str, name: &str, field: &Value, parent: &Value, asked: bool) -> String {
    let kind = words::kind(&format!("{path}.{name}"), field);
    let meaning = words::meaning(field).replace('|', "\\|");
    if !asked {
        return format!("| `{name}` | {kind} | {meaning} |\n");
    }
    let required = words::items(&parent["required"]).any(|one| one == name);
    let default = words::default(field, required);
    let bounds = words::bounds(field);
    format!("| `{name}` | {kind} | {default} | {bounds} | {meaning} |\n")
}

/// Defaults that do not fit into a table.
fn long_defaults(fields: &Map<String, Value>) -> String {
    let long = fields
        .iter()
        .filter(|(_, field)| words::is_long(&field["default"]));
    long.map(|(name, field)| {
        let yaml = serde_yaml_ng::to_string(&field["default"]).expect("plain JSON is YAML");
        format!("Default of `{name}`:\n\n```yaml\n{yaml}```\n\n")
    })
    .collect()
}

/// CEL rules of an object, of its fields, and of the scalars inside them.
fn all_rules(schema: &Value, fields: &Map<String, Value>) -> String {
    let mut out = rules("the whole block", schema, "");
    for (name, field) in fields {
        // The rules of an object inside stand with its own table.
        let inner = [
            (&field["items"], "[]"),
            (&field["additionalProperties"], "{}"),
        ];
        if field["properties"].is_null() {
            out += &rules(name, field, "");
        }
        for (schema, mark) in inner
            .iter()
            .filter(|(schema, _)| schema["properties"].is_null())
        {
            out += &rules(name, schema, mark);
        }
    }
    if out.is_empty() {
        out
    } else {
        format!("Rules:\n\n{out}\n")
    }
}

fn rules(name: &str, schema: &Value, mark: &str) -> String {
    words::items(&schema["x-kubernetes-validations"])
        .map(|one| {
            let (message, rule) = (words::plain(&one["message"]), words::plain(&one["rule"]));
            format!("- `{name}{mark}`: {message}\n\n  ```cel\n  {rule}\n  ```\n")
        })
        .collect()
}
