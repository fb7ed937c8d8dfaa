//! The generated CRD: up to date, and such that an API server takes it.

use std::fs;

use serde_json::Value;

use crate::{admit, render};

#[test]
fn committed_files_are_those_of_the_types() {
    for file in render::files() {
        let committed =
            fs::read_to_string(render::repository().join(file.path)).unwrap_or_default();
        assert!(
            committed == file.text,
            "{} is not what the types say: run `make crds` and commit",
            file.path
        );
    }
}

/// Calls `visit` for a schema and all within it, with its path.
fn each_schema(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(property, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            each_schema(inner, &format!("{path}[]"), visit);
        }
    }
}

#[test]
fn the_schema_is_structural_and_without_surprises() {
    each_schema(&admit::schema(), "", &mut |path, schema| {
        let int_or_string = schema["x-kubernetes-int-or-string"] == Value::Bool(true);
        assert!(
            schema["type"].is_string() || int_or_string,
            "{path} has a type"
        );
        assert!(
            schema.get("properties").is_none() || schema.get("additionalProperties").is_none(),
            "{path} is an object or a map"
        );
        assert!(
            schema.get("nullable").is_none(),
            "{path} is left out, never null"
        );
        let format = schema["format"].as_str().unwrap_or("int64");
        assert!(
            ["int32", "int64", "date-time"].contains(&format),
            "{path}: {format} is no format of Kubernetes"
        );
    });
}

/// The cost of CEL rules is estimated from bounds, and a limit on everything is a rule of this project.
#[test]
fn everything_that_a_user_writes_is_bounded() {
    each_schema(
        &admit::schema()["properties"]["spec"],
        "spec",
        &mut |path, schema| {
            let bound = match schema["type"].as_str() {
                Some("string") if schema.get("enum").is_none() => "maxLength",
                Some("array") => "maxItems",
                Some("object") if schema.get("additionalProperties").is_some() => "maxProperties",
                Some("integer") if !path.ends_with("tolerationSeconds") => "maximum",
                _ => return,
            };
            assert!(schema.get(bound).is_some(), "{path} needs {bound}");
        },
    );
}

#[test]
fn every_field_is_explained() {
    each_schema(
        &admit::schema()["properties"]["spec"],
        "spec",
        &mut |path, schema| {
            let scalar_of_list = path.ends_with("[]") && schema["type"] == "string";
            assert!(
                schema.get("description").is_some() || scalar_of_list,
                "{path} has a description"
            );
        },
    );
}

/// A bound of status that a later release narrows must never make the record of a running rollout unwritable.
#[test]
fn status_has_neither_defaults_nor_rules() {
    each_schema(
        &admit::schema()["properties"]["status"],
        "status",
        &mut |path, schema| {
            for keyword in [
                "default",
                "x-kubernetes-validations",
                "maxLength",
                "maxItems",
            ] {
                assert!(schema.get(keyword).is_none(), "{path} has no {keyword}");
            }
        },
    );
}
