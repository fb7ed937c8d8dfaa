//! The texts that are made from the API types: the plain CRD, the chart's template of it, and the API reference.

use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "api/mod.rs"]
mod api;

/// A generated file; `path` is relative to the repository.
pub struct File {
    pub path: &'static str,
    pub text: String,
}

/// Folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in a folder of the repository")
        .to_path_buf()
}

/// Every generated file.
pub fn files() -> [File; 3] {
    let json = crd_json();
    let crd = serde_yaml_ng::to_string(&json).expect("plain JSON is YAML");
    let template = chart_template(&crd);
    [
        File {
            path: "crds/smallmodels.yaml",
            text: format!("{HEADER}{crd}"),
        },
        File {
            path: "charts/smallfleet/templates/crd.yaml",
            text: template,
        },
        File {
            path: "docs/api.md",
            text: api::text(&json),
        },
    ]
}

const HEADER: &str = "# Generated from crds/src by `make crds`. Do not edit.\n";

/// The chart adds what only Helm reads: a switch, labels, and that an uninstall keeps the CRD (and so every SmallModel).
fn chart_template(crd: &str) -> String {
    let metadata = "metadata:\n";
    let chart_metadata = concat!(
        "metadata:\n",
        "  annotations:\n",
        "    helm.sh/resource-policy: keep\n",
        "  labels:\n",
        "    {{- include \"smallfleet.labels\" . | nindent 4 }}\n",
    );
    assert!(!crd.contains("{{"), "Helm would read it as a template");
    let crd = crd.replacen(metadata, chart_metadata, 1);
    format!("{HEADER}{{{{- if .Values.crds.install }}}}\n{crd}{{{{- end }}}}\n")
}

fn crd_json() -> Value {
    let mut crd = serde_json::to_value(smallfleet_crds::crd()).expect("a CRD is plain JSON");
    whole_numbers(&mut crd);
    crd
}

/// The typed schema keeps bounds as floats; `minimum: 1` reads better than `1.0`.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            if number.is_f64() && float.fract() == 0.0 {
                #[allow(clippy::cast_possible_truncation)]
                let whole = float as i64;
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
