//! What an engine tells its pod: `engine.json` in the run folder that router and engine share.
//!
//! The file is the only word between the two containers besides HTTPS. It is replaced as a whole (write and rename), so
//! that a reader never sees half of it, and it outlives the engine: a new instance says `Starting` before anything else.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the file in the run folder.
pub const STATE_FILE: &str = "engine.json";

/// How far an engine instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Loading, warming up or checking the golden probes; `/readyz` answers 503.
    Starting,
    /// Serves.
    Ready,
    /// Cannot serve this model; the process is about to exit with code 1.
    Failed,
}

/// Why an engine cannot serve; the spelling is part of the API (conditions and events carry it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureReason {
    /// The model folder has no `model.json`.
    NoModel,
    /// `model.json`, `probes.json`, the tokenizer or the graph's signature is wrong.
    InvalidModel,
    /// The model is made for another task than the `SmallModel` asks for.
    WrongTask,
    /// ONNX Runtime refuses the graph, or is not there itself.
    LoadFailed,
    /// The model loads but does not answer its golden probes as promised.
    ProbeFailed,
}

impl FailureReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoModel => "NoModel",
            Self::InvalidModel => "InvalidModel",
            Self::WrongTask => "WrongTask",
            Self::LoadFailed => "LoadFailed",
            Self::ProbeFailed => "ProbeFailed",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A failure as it is written to `engine.json` and to the termination log: the message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: {message}")]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub reason: FailureReason,
    pub message: String,
}

/// The content of `engine.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineState {
    pub state: Phase,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo (DER), 64 lower-case hex digits.
    pub fingerprint: String,
    /// Random hex, another one for every process: tells a restart from a change of state.
    pub instance: String,
    /// See [`crate::node_class`].
    pub node_class: String,
    /// Present exactly when `state` is `Failed`.
    pub failure: Option<Failure>,
}

/// Why `engine.json` cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not an engine state: {source}", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write {}: {source}; the run folder must be writable for the engine's user", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl EngineState {
    /// Reads the state from the run folder; `None` where no engine has written one yet.
    pub fn read(run_dir: &Path) -> Result<Option<Self>, StateError> {
        let path = run_dir.join(STATE_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StateError::Parse { path, source })
    }

    /// Replaces the state in the run folder atomically. Only one engine may write to a folder.
    pub fn write(&self, run_dir: &Path) -> Result<(), StateError> {
        let path = run_dir.join(STATE_FILE);
        let fresh = run_dir.join(".engine.json.new");
        let bytes = serde_json::to_vec(self).expect("a struct of strings and enums serialises");
        std::fs::write(&fresh, bytes)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|source| StateError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> EngineState {
        EngineState {
            state: Phase::Failed,
            fingerprint: "ab".repeat(32),
            instance: "0123456789abcdef".into(),
            node_class: "amd64-avx2".into(),
            failure: Some(Failure {
                reason: FailureReason::NoModel,
                message: "no model.json".into(),
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(EngineState::read(dir.path()).unwrap(), None);
        failed().write(dir.path()).unwrap();
        assert_eq!(EngineState::read(dir.path()).unwrap(), Some(failed()));
    }

    #[test]
    fn the_file_has_the_fields_of_the_contract() {
        let json = serde_json::to_value(failed()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "state": "Failed",
                "fingerprint": "ab".repeat(32),
                "instance": "0123456789abcdef",
                "nodeClass": "amd64-avx2",
                "failure": {"reason": "NoModel", "message": "no model.json"},
            })
        );
    }

    #[test]
    fn a_broken_file_and_a_missing_folder_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(STATE_FILE), "{").unwrap();
        assert!(matches!(
            EngineState::read(dir.path()),
            Err(StateError::Parse { .. })
        ));
        assert!(matches!(
            failed().write(&dir.path().join("missing")),
            Err(StateError::Write { .. })
        ));
    }
}
