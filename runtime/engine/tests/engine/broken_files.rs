//! Folders that a build, a registry or a disk has spoilt: the engine serves what is still a model, or says in one typed message what
//! is wrong. It never panics and never hangs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};
use smallfleet_engine::{EngineError, EngineState, Failure, FailureReason, Phase, Task, run};

use crate::spoil::{odd, place, replace};
use crate::support::{config, copied};

/// A folder of the fixture, and the files that are spoilt.
#[derive(Clone, Copy, Debug)]
struct Kind {
    folder: &'static str,
    task: Task,
    files: &'static [&'static str],
}

const CLASSIFIER: Kind = Kind {
    folder: "model",
    task: Task::TextClassification,
    files: &["model.json", "model.onnx", "tokenizer.json", "probes.json"],
};
const GENERATOR: Kind = Kind {
    folder: "generator",
    task: Task::TextGeneration,
    files: &[
        "model.json",
        "model.onnx",
        "tokenizer.json",
        "probes.json",
        "chat_template.jinja",
    ],
};

/// Contents that break what reads them, if anything does, and how often they stand in the file.
const HOSTILE: [(&str, usize); 11] = [
    ("", 1),
    ("[", 100_000),
    ("{\"schemaVersion\": 9", 1),
    ("9", 10_000),
    ("\u{feff}{}", 1),
    ("{{ ((", 50_000),
    ("{% if a %}", 50_000),
    ("{% include 'chat' %}", 1),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1),
    ("{{ 'x' * 99999999999999999999 }}", 1),
    (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        1,
    ),
];

/// A model of a few kilobytes is loaded, or refused, long before.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum Spoilt {
    Removed,
    Folder,
    Pipe,
    CutAt(f64),
    ByteAt(f64, u8),
    AnotherFile(usize),
    Hostile(usize),
    Garbage(Vec<u8>),
    /// Another value somewhere in a file of JSON.
    Field(f64, Value),
}

impl Spoilt {
    fn leaves_no_file(&self) -> bool {
        matches!(self, Self::Removed | Self::Folder | Self::Pipe)
    }
}

fn spoilt(kind: Kind) -> impl Strategy<Value = (usize, Spoilt)> {
    let how = prop_oneof![
        1 => Just(Spoilt::Removed),
        1 => Just(Spoilt::Folder),
        1 => Just(Spoilt::Pipe),
        2 => (0.0..1.0).prop_map(Spoilt::CutAt),
        4 => ((0.0..1.0), any::<u8>()).prop_map(|(at, byte)| Spoilt::ByteAt(at, byte)),
        1 => (0..kind.files.len()).prop_map(Spoilt::AnotherFile),
        3 => (0..HOSTILE.len()).prop_map(Spoilt::Hostile),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Spoilt::Garbage),
        6 => ((0.0..1.0), odd()).prop_map(|(at, value)| Spoilt::Field(at, value)),
    ];
    (0..kind.files.len(), how)
}

fn spoil(folder: &Path, kind: Kind, file: usize, how: &Spoilt) {
    let path = folder.join(kind.files[file]);
    let mut bytes = fs::read(&path).unwrap();
    if how.leaves_no_file() {
        fs::remove_file(&path).unwrap();
    }
    match how {
        Spoilt::Removed => return,
        Spoilt::Folder => return fs::create_dir(&path).unwrap(),
        Spoilt::Pipe => {
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            return assert!(made.unwrap().success());
        }
        Spoilt::CutAt(at) => bytes.truncate(place(bytes.len(), *at)),
        Spoilt::ByteAt(at, byte) => {
            let place = place(bytes.len(), *at);
            bytes[place] = *byte;
        }
        Spoilt::AnotherFile(other) => bytes = fs::read(folder.join(kind.files[*other])).unwrap(),
        Spoilt::Hostile(which) => {
            let (text, times) = HOSTILE[*which];
            bytes = text.repeat(times).into_bytes();
        }
        Spoilt::Garbage(garbage) => bytes.clone_from(garbage),
        Spoilt::Field(at, value) => {
            if let Ok(mut json) = serde_json::from_slice(&bytes) {
                replace(&mut json, *at, value.clone());
                bytes = json.to_string().into_bytes();
            }
        }
    }
    fs::write(&path, bytes).unwrap();
}

/// `None`: it got ready, and was told to stop.
async fn outcome(folder: &Path, task: Task) -> Option<Failure> {
    let run_dir = tempfile::tempdir().unwrap();
    let ready = async {
        loop {
            let state = EngineState::read(run_dir.path()).ok().flatten();
            if state.is_some_and(|state| state.state == Phase::Ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut config = config(folder, run_dir.path());
    config.task = task;
    let ended = tokio::time::timeout(PATIENCE, run(config, ready));
    match ended.await.expect("it neither serves nor fails") {
        Ok(()) => None,
        Err(EngineError::Model(failure)) => Some(failure),
        Err(other) => panic!("no fault of the model: {other}"),
    }
}

fn broken_files_are_named_or_served(kind: Kind) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Each case loads a model; the environment may ask for more.
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Cases::with_cases(cases.unwrap_or(64)));
    let run = runner.run(&spoilt(kind), |(file, how)| {
        let model = copied(kind.folder);
        spoil(model.path(), kind, file, &how);
        let Some(failure) = runtime.block_on(outcome(model.path(), kind.task)) else {
            return Ok(());
        };
        let name = kind.files[file];
        prop_assert!(
            !how.leaves_no_file() || failure.message.contains(name),
            "{name} {how:?}: {failure}"
        );
        prop_assert!(failure.message.len() > 20, "{name} {how:?}: {failure}");
        prop_assert!(
            !failure.message.contains("thread ended"),
            "a panic: {name} {how:?}"
        );
        Ok(())
    });
    run.unwrap();
}

/// The library panics over one whose template names a special token that it does not give.
#[test]
fn a_tokenizer_that_makes_its_library_panic_is_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let model = copied(CLASSIFIER.folder);
    let path = model.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["post_processor"]["special_tokens"] = json!({});
    fs::write(&path, json.to_string()).unwrap();
    let failure = runtime.block_on(outcome(model.path(), CLASSIFIER.task));
    let failure = failure.expect("no text can be tokenised");
    assert_eq!(failure.reason, FailureReason::InvalidModel);
    assert!(
        failure.message.contains("panicked over the files"),
        "{failure}"
    );
}

/// The library panicked over one that ends in its decoder.
#[test]
fn a_tokenizer_that_is_cut_off_anywhere_is_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for at in (0..40).map(|at| f64::from(at) / 40.0) {
        let model = copied(GENERATOR.folder);
        spoil(model.path(), GENERATOR, 2, &Spoilt::CutAt(at));
        let failure = runtime.block_on(outcome(model.path(), GENERATOR.task));
        let failure = failure.expect("a cut file is no tokenizer");
        assert!(failure.message.contains("tokenizer"), "{at}: {failure}");
        assert!(!failure.message.contains("thread ended"), "{at}: {failure}");
    }
}

#[test]
fn broken_files_of_a_classifier_are_named_or_served() {
    broken_files_are_named_or_served(CLASSIFIER);
}

#[test]
fn broken_files_of_a_generator_are_named_or_served() {
    broken_files_are_named_or_served(GENERATOR);
}
