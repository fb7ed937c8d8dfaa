//! Folders that a build, a registry or a disk has spoilt: the engine serves what is still a model, or says in one typed message what
//! is wrong. It never panics and never hangs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use smallfleet_engine::{EngineError, EngineState, Failure, Phase, run};

use crate::support::{config, copied_model};

const FILES: [&str; 4] = ["model.json", "model.onnx", "tokenizer.json", "probes.json"];
/// A model of a few kilobytes is loaded, or refused, long before.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum Spoilt {
    Removed,
    Folder,
    Empty,
    CutAt(f64),
    ByteAt(f64, u8),
    AnotherFile(usize),
    Nested,
    Digits,
}

fn spoilt() -> impl Strategy<Value = (usize, Spoilt)> {
    let how = prop_oneof![
        Just(Spoilt::Removed),
        Just(Spoilt::Folder),
        Just(Spoilt::Empty),
        (0.0..1.0).prop_map(Spoilt::CutAt),
        ((0.0..1.0), any::<u8>()).prop_map(|(at, byte)| Spoilt::ByteAt(at, byte)),
        (0..FILES.len()).prop_map(Spoilt::AnotherFile),
        Just(Spoilt::Nested),
        Just(Spoilt::Digits),
    ];
    (0..FILES.len(), how)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
fn place(bytes: &[u8], at: f64) -> usize {
    (bytes.len() as f64 * at) as usize
}

fn spoil(folder: &Path, file: usize, how: &Spoilt) {
    let path = folder.join(FILES[file]);
    let mut bytes = fs::read(&path).unwrap();
    match how {
        Spoilt::Removed => return fs::remove_file(&path).unwrap(),
        Spoilt::Folder => {
            fs::remove_file(&path).unwrap();
            return fs::create_dir(&path).unwrap();
        }
        Spoilt::Empty => bytes.clear(),
        Spoilt::CutAt(at) => bytes.truncate(place(&bytes, *at)),
        Spoilt::ByteAt(at, byte) => {
            let place = place(&bytes, *at);
            bytes[place] = *byte;
        }
        Spoilt::AnotherFile(other) => bytes = fs::read(folder.join(FILES[*other])).unwrap(),
        Spoilt::Nested => bytes = b"[".repeat(100_000),
        Spoilt::Digits => bytes = [b"{\"schemaVersion\": ".to_vec(), b"9".repeat(10_000)].concat(),
    }
    fs::write(&path, bytes).unwrap();
}

/// `None`: it got ready, and was told to stop.
async fn outcome(folder: &Path) -> Option<Failure> {
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
    let ended = tokio::time::timeout(PATIENCE, run(config(folder, run_dir.path()), ready));
    match ended.await.expect("it neither serves nor fails") {
        Ok(()) => None,
        Err(EngineError::Model(failure)) => Some(failure),
        Err(other) => panic!("no fault of the model: {other}"),
    }
}

#[test]
fn broken_files_are_named_or_served() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Each case loads a model; the environment may ask for more.
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Cases::with_cases(cases.unwrap_or(48)));
    let run = runner.run(&spoilt(), |(file, how)| {
        let model = copied_model();
        spoil(model.path(), file, &how);
        let Some(failure) = runtime.block_on(outcome(model.path())) else {
            return Ok(());
        };
        let name = FILES[file];
        let missing = matches!(how, Spoilt::Removed | Spoilt::Folder);
        prop_assert!(
            !missing || failure.message.contains(name),
            "{name} {how:?}: {failure}"
        );
        prop_assert!(failure.message.len() > 20, "{name} {how:?}: {failure}");
        Ok(())
    });
    run.unwrap();
}
