//! The runtime's binaries and the Python server as processes, without a cluster. A process ends with its value here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::StatusCode;
use smallfleet_engine::EngineState;
use smallfleet_router::engine::EngineClient;

use crate::ask;

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// For loading a model on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A program that is stopped when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Waits until it answers a path with status 200.
    pub async fn wait_ready(&mut self, address: SocketAddr, path: &str) -> Result<()> {
        let limit = Instant::now() + START_LIMIT;
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}; its words are above", self.name);
            }
            if matches!(ask::get(address, path).await, Ok((StatusCode::OK, _))) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} is not ready within {START_LIMIT:?}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node runs for a model: engine and router, as two processes.
#[derive(Debug)]
pub struct Node {
    pub front: SocketAddr,
    engine_address: SocketAddr,
    run_dir: tempfile::TempDir,
    _router: Process,
    _engine: Process,
}

/// How a node's processes are started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the model.
    pub model: PathBuf,
    /// Threads of one run of the model.
    pub threads: usize,
    /// Requests that the engine works on at a time; 1 leaves nothing to batch.
    pub engine_concurrent: usize,
}

impl Node {
    pub async fn start(settings: &Settings) -> Result<Self> {
        let run_dir = tempfile::tempdir()?;
        let [front, admin, engine_address] = [free()?, free()?, free()?];
        let engine = engine(settings, run_dir.path(), engine_address)?;
        let mut router = router(run_dir.path(), front, admin, engine_address)?;
        router.wait_ready(admin, "/readyz").await?;
        Ok(Self {
            front,
            engine_address,
            run_dir,
            _router: router,
            _engine: engine,
        })
    }

    /// The client that the router has for its engine, for whoever asks the engine himself.
    pub fn engine_client(&self, connections: usize) -> Result<Arc<EngineClient>> {
        let state = EngineState::read(self.run_dir.path())?.context("the engine has a state")?;
        let fingerprint = state.fingerprint.parse()?;
        let client = EngineClient::new(self.engine_address, fingerprint, connections);
        Ok(Arc::new(client))
    }
}

fn engine(settings: &Settings, run_dir: &Path, listen: SocketAddr) -> Result<Process> {
    let mut command = Command::new(beside("smallfleet-runtime")?);
    command.arg("engine").env("SMALLFLEET_LOG", "warn").args([
        format!("--model-dir={}", settings.model.display()),
        format!("--run-dir={}", run_dir.display()),
        format!("--threads={}", settings.threads),
        format!("--max-concurrent-requests={}", settings.engine_concurrent),
        "--max-queued-requests=64".to_owned(),
        "--model-name=bench".to_owned(),
        "--revision=bench".to_owned(),
        format!("--engine-listen={listen}"),
        format!("--onnxruntime={}", required("ORT_DYLIB_PATH")?.display()),
        format!(
            "--termination-log={}",
            run_dir.join("termination-log").display()
        ),
    ]);
    Process::start("the engine", command)
}

fn router(
    run_dir: &Path,
    front: SocketAddr,
    admin: SocketAddr,
    engine: SocketAddr,
) -> Result<Process> {
    let mut command = Command::new(beside("smallfleet-runtime")?);
    command.arg("router").env("SMALLFLEET_LOG", "warn").args([
        format!("--run-dir={}", run_dir.display()),
        format!("--front-listen={front}"),
        format!("--admin-listen={admin}"),
        format!("--pod-ip={}", engine.ip()),
        format!("--engine-port={}", engine.port()),
        "--revision=bench".to_owned(),
    ]);
    Process::start("the router", command)
}

/// A program of this build.
pub fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is not built: run `make build`",
        path.display()
    );
    Ok(path)
}

/// A path that make sets.
pub fn required(variable: &str) -> Result<PathBuf> {
    let value = std::env::var_os(variable);
    value
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set: run this through make"))
}

/// An address of this machine that nobody listens on at this moment.
pub fn free() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
