//! What people read, from status values: `tests/golden/NAME.yaml` is shown as `NAME.get.txt` and told as `NAME.explain.txt`.
//!
//! After a wanted change of the wording: `SMALLFLEET_WRITE_GOLDEN=1 cargo test -p kubectl-smallfleet`, and read the difference.

#![allow(clippy::unwrap_used)] // a helper of a test fails the test

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kubectl_smallfleet::{columns, explain, live};
use smallfleet_crds::SmallModel;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn now() -> Timestamp {
    "2026-03-05T12:00:00Z".parse().unwrap()
}

fn models() -> Vec<(String, SmallModel)> {
    let mut models: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let model = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap());
            (
                name.clone(),
                model.unwrap_or_else(|error| panic!("{name}: {error}")),
            )
        })
        .collect();
    models.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(models.len() > 10, "the fixtures are found");
    models
}

fn compare(file: &str, text: &str) {
    let path = folder().join(file);
    if env::var_os("SMALLFLEET_WRITE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{file}");
}

#[test]
fn get_shows_the_rollout_on_one_screen() {
    for (name, model) in models() {
        compare(&format!("{name}.get.txt"), &live::render(&model, now()));
    }
}

#[test]
fn explain_tells_the_story() {
    for (name, model) in models() {
        let story = explain::tell(&model, now());
        compare(&format!("{name}.explain.txt"), &explain::render(&story));
    }
}

#[test]
fn explain_as_json_has_the_facts_for_scripts() {
    let (_, model) = models()
        .into_iter()
        .find(|(name, _)| name == "analyzing")
        .unwrap();
    let story = serde_json::to_value(explain::tell(&model, now())).unwrap();
    assert_eq!(story["evidence"][0]["name"], "latency");
    assert_eq!(story["evidence"][0]["candidateUnits"], 1189);
    assert_eq!(story["evidence"][0]["passed"], false);
    assert_eq!(story["evidence"][1]["passed"], true);
    assert!(
        story["next"][0]["command"]
            .as_str()
            .unwrap()
            .starts_with("kubectl smallfleet")
    );
}

#[test]
fn a_list_has_one_row_a_model() {
    let models: Vec<_> = models()
        .into_iter()
        .map(|(_, model)| model)
        .take(3)
        .collect();
    let table = columns::table(&models, true, now());
    assert_eq!(table.lines().count(), 4);
    assert!(table.starts_with("NAMESPACE   NAME     TASK"));
}

/// Every line is for a person: no debug output, no empty value.
#[test]
fn no_sentence_has_a_hole() {
    for (name, model) in models() {
        let text = explain::render(&explain::tell(&model, now()));
        for hole in ["  (", "Some(", "None", ": \n", "..;", ". .", "..."] {
            let digest = hole == "..." && text.contains("sha256:");
            assert!(
                digest || !text.contains(hole),
                "{name} has {hole:?}:\n{text}"
            );
        }
    }
}
