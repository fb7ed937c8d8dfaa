//! Every manifest of `tests/manifests`: the good ones are admitted, each bad one is refused with the message that it names.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smallfleet_crds::SmallModel;

use crate::admit;

struct Manifest {
    path: PathBuf,
    object: Value,
    /// Part of the message, from the comment `# expect: ...`.
    expect: Option<String>,
}

fn manifests(folder: &str) -> Vec<Manifest> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/manifests")
        .join(folder);
    let mut manifests: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| read(entry.unwrap().path()))
        .collect();
    manifests.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !manifests.is_empty(),
        "{} holds manifests",
        folder.display()
    );
    manifests
}

fn read(path: PathBuf) -> Manifest {
    let text = fs::read_to_string(&path).unwrap();
    let object = serde_yaml_ng::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expect = text
        .lines()
        .find_map(|line| line.strip_prefix("# expect: ").map(str::to_owned));
    Manifest {
        path,
        object,
        expect,
    }
}

#[test]
fn good_manifests_are_admitted() {
    let schema = admit::schema();
    for manifest in manifests("good") {
        let admitted = admit::admit(&schema, &manifest.object)
            .unwrap_or_else(|errors| panic!("{}: {errors:#?}", manifest.path.display()));
        serde_json::from_value::<SmallModel>(admitted)
            .unwrap_or_else(|error| panic!("{}: {error}", manifest.path.display()));
    }
}

#[test]
fn bad_manifests_are_refused_with_the_message_that_they_name() {
    let schema = admit::schema();
    for manifest in manifests("bad") {
        let name = manifest.path.display();
        let expect = manifest
            .expect
            .unwrap_or_else(|| panic!("{name} has a line '# expect: <message>'"));
        let errors =
            admit::admit(&schema, &manifest.object).expect_err(&format!("{name} is admitted"));
        assert!(
            errors.iter().any(|error| error.contains(&expect)),
            "{name}: expected {expect:?} among {errors:#?}"
        );
    }
}

/// The server fills in defaults from the schema, the operator from the types: both must mean the same.
#[test]
fn defaults_of_the_schema_are_those_of_the_types() {
    let schema = admit::schema();
    for manifest in manifests("good") {
        let admitted = admit::admit(&schema, &manifest.object).unwrap();
        let by_server: SmallModel = serde_json::from_value(admitted).unwrap();
        let by_types: SmallModel = serde_json::from_value(manifest.object).unwrap();
        assert_eq!(by_server.spec, by_types.spec, "{}", manifest.path.display());
    }
}

#[test]
fn a_safe_canary_is_at_most_twelve_lines() {
    let minimal = manifests("good")
        .into_iter()
        .find(|manifest| manifest.path.ends_with("minimal.yaml"))
        .unwrap();
    assert!(fs::read_to_string(&minimal.path).unwrap().lines().count() <= 12);
    let model: SmallModel = serde_json::from_value(minimal.object).unwrap();
    assert_eq!(model.spec.rollout.steps.len(), 2);
    assert_eq!(model.spec.rollout.analysis.objectives.len(), 2);
}
