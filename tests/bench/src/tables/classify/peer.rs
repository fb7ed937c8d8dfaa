//! The Python server (tests/bench/peer/server.py).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::place::Place;
use crate::processes::{Process, required};

/// Where the model runs in the Python process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the event loop: the least work a request, but nothing else goes on meanwhile.
    Inline,
    /// In a thread of its own: parsing and answering go on, at the cost of handing over.
    Thread,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline => "Python, event loop",
            Self::Thread => "Python, thread",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Thread => "thread",
        }
    }
}

/// Starts the server and waits until it answers.
pub async fn start(
    place: &Place,
    model: &Path,
    threads: usize,
    mode: Mode,
) -> Result<(Process, SocketAddr)> {
    let address = place.peer_address(u16::from(mode == Mode::Thread))?;
    let mut command = place.command(&python()?.to_string_lossy())?;
    command
        .arg(script())
        .arg(format!("--model={}", model.display()))
        .args(["--mode", mode.argument()])
        .arg(format!("--threads={threads}"))
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()));
    let mut process = Process::start("the Python server", command)?;
    process.wait_ready(address, "/healthz").await?;
    Ok((process, address))
}

/// Versions of Python and of the packages that matter.
pub fn versions() -> Result<String> {
    let output = Command::new(python()?)
        .arg(script())
        .arg("--versions")
        .output();
    let output = output.context("start Python")?;
    ensure!(
        output.status.success(),
        "the Python server says no versions"
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn python() -> Result<PathBuf> {
    required("SMALLFLEET_PEER_PYTHON")
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/server.py")
}
