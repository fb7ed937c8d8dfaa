//! What can go wrong between a plain machine and a running cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step of the cluster failed. Every message names what was done and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{command}: {source}")]
    NotStarted {
        command: String,
        source: std::io::Error,
    },
    #[error("{command} failed ({status}): {output}")]
    CommandFailed {
        command: String,
        status: std::process::ExitStatus,
        output: String,
    },
    #[error("{what} did not happen within {} s{detail}", limit.as_secs())]
    TimedOut {
        what: String,
        limit: Duration,
        detail: String,
    },
    #[error("{name} ended; the end of {}:\n{tail}", log.display())]
    Died {
        name: String,
        log: PathBuf,
        tail: String,
    },
    #[error("this machine cannot run the cluster: {0}")]
    Machine(String),
    #[error("no cluster is up (start one with `smallfleet-cluster up`)")]
    NotUp,
    #[error("{what} has sha256 {found}, the pin says {pinned}")]
    WrongHash {
        what: String,
        found: String,
        pinned: String,
    },
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("json of {what}: {source}")]
    Json {
        what: String,
        source: serde_json::Error,
    },
    #[error("{0}")]
    Image(String),
    #[error("left behind after down:\n{}", .0.join("\n"))]
    Leftovers(Vec<String>),
}

/// Adds the action and the path to an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
