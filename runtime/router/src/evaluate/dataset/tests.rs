use std::fs;

use proptest::prelude::*;

use super::*;

const EXAMPLES: &str =
    "{\"text\":\"a goal\",\"label\":\"sport\"}\n{\"text\":\"a chip\",\"label\":\"tech\"}\n";
const MANIFEST: &str = r#"{"schemaVersion": 1, "task": "TextClassification", "labels": ["sport", "tech"], "examples": "examples.jsonl", "license": "MIT"}"#;

/// A folder with a good dataset.
fn good() -> tempfile::TempDir {
    folder(MANIFEST, EXAMPLES)
}

fn folder(manifest: &str, examples: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("dataset.json"), manifest).expect("a file");
    fs::write(dir.path().join("examples.jsonl"), examples).expect("a file");
    dir
}

fn read(manifest: &str, examples: &str) -> Result<Dataset, Failure> {
    Dataset::read(folder(manifest, examples).path())
}

#[test]
fn a_good_set_is_read_in_order() {
    let dataset = read(MANIFEST, EXAMPLES).unwrap();
    assert_eq!(dataset.examples[1].label, "tech");
}

#[test]
fn every_wrong_set_says_what_is_wrong() {
    let line = r#"{"text":"a goal","label":"sport"}"#;
    let many = format!("{line}\n").repeat(20_001);
    let cases = [
        (
            MANIFEST.replace("sport", "art"),
            line,
            "label \"sport\" is not among",
        ),
        (
            MANIFEST.replace("1,", "2,"),
            line,
            "schemaVersion 2 is not 1",
        ),
        (
            MANIFEST.replace("TextC", "C"),
            line,
            "is not TextClassification",
        ),
        (
            MANIFEST.replace("examples.jsonl", "../examples.jsonl"),
            line,
            "is not the name of a file",
        ),
        (
            MANIFEST.replace("examples.jsonl", "other.jsonl"),
            line,
            "other.jsonl",
        ),
        (MANIFEST.replace("license", "licence"), line, "licence"),
        (MANIFEST.into(), "", "is empty"),
        (MANIFEST.into(), "{}", "line 1 of examples.jsonl"),
        (
            MANIFEST.into(),
            "{\"text\":\" \",\"label\":\"sport\"}",
            "the text is empty",
        ),
        (MANIFEST.into(), &many, "use at most 20000 examples"),
    ];
    for (manifest, examples, expected) in cases {
        let failure = read(&manifest, examples).unwrap_err().to_string();
        assert!(failure.starts_with("NoDataset"), "{failure}");
        assert!(failure.contains(expected), "{failure}");
    }
}

#[test]
fn what_is_no_regular_file_is_named() {
    for name in ["dataset.json", "examples.jsonl"] {
        for command in ["rm", "mkdir", "mkfifo"] {
            let dir = good();
            let path = dir.path().join(name);
            fs::remove_file(&path).expect("it is there");
            if command != "rm" {
                let made = std::process::Command::new(command).arg(&path).status();
                assert!(made.expect("a command of every Linux").success());
            }
            let failure = Dataset::read(dir.path()).unwrap_err().to_string();
            assert!(failure.starts_with("NoDataset: "), "{failure}");
            assert!(failure.contains(name), "{failure}");
        }
    }
}

/// What a build, a registry or a disk makes of a file.
fn spoilt(good: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let bytes = good.as_bytes();
    prop_oneof![
        Just(Vec::new()),
        (0..bytes.len()).prop_map(|length| bytes[..length].to_vec()),
        (0..bytes.len(), any::<u8>()).prop_map(|(at, byte)| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            bytes
        }),
        (0..bytes.len(), 0..bytes.len()).prop_map(|(from, to)| {
            let mut bytes = bytes.to_vec();
            bytes.swap(from, to);
            bytes
        }),
        prop::collection::vec(any::<u8>(), 0..200),
        Just(b"[".repeat(100_000)),
        Just([b"{\"schemaVersion\": ".to_vec(), b"9".repeat(10_000)].concat()),
        Just(b"\n".repeat(30_000)),
    ]
}

fn spoilt_file() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    prop_oneof![
        spoilt(MANIFEST).prop_map(|bytes| ("dataset.json", bytes)),
        spoilt(EXAMPLES).prop_map(|bytes| ("examples.jsonl", bytes)),
    ]
}

proptest! {
    #[test]
    fn a_spoilt_set_is_named_or_read((name, bytes) in spoilt_file()) {
        let dir = good();
        fs::write(dir.path().join(name), bytes).expect("a file");
        match Dataset::read(dir.path()) {
            Ok(dataset) => {
                let known = |example: &Example| dataset.labels.contains(&example.label);
                prop_assert!(!dataset.examples.is_empty() && dataset.examples.iter().all(known));
            }
            Err(failure) => {
                let failure = failure.to_string();
                prop_assert!(failure.starts_with("NoDataset: ") && failure.len() > 20, "{failure}");
            }
        }
    }
}
