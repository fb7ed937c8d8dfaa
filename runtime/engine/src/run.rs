//! The life of an engine: say that it starts, serve, load, say that it is ready - or why it cannot be.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{self, App};
use crate::identity::{self, Identity, IdentityError};
use crate::metrics::Metrics;
use crate::node::node_class;
use crate::server::Server;
use crate::state::{EngineState, Failure, FailureReason, Phase, StateError};
use crate::work;

/// Beyond the longest request, for the last bytes to leave.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// Why an engine ended by itself. The process should exit with code 1.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Also in engine.json and in the termination log.
    #[error("{0}")]
    Model(#[from] Failure),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error(
        "cannot listen on {address}: {source}; choose a free address with SMALLFLEET_ENGINE_LISTEN"
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the revision {0:?} cannot be sent in a header; use letters and digits")]
    Revision(String),
    #[error("cannot start the engine thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("the engine thread ended while it served; see the log above")]
    ThreadEnded,
}

/// Runs an engine until `shutdown` is done and what was being answered is answered.
///
/// Needs a tokio runtime with time and I/O. One engine a run folder and a port.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), EngineError> {
    Engine::bind(config).await?.run(shutdown).await
}

/// An engine that has its key and its port and has said that it starts.
pub struct Engine {
    config: Config,
    identity: Identity,
    reporter: Reporter,
    metrics: Arc<Metrics>,
    app: Arc<App>,
    listener: TcpListener,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the identity: it holds the key.
        formatter
            .debug_struct("Engine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes the port; connections wait until [`Engine::run`].
    pub async fn bind(config: Config) -> Result<Self, EngineError> {
        let identity = Identity::generate()?;
        let reporter = Reporter::new(&config, &identity);
        reporter.say(Phase::Starting)?;
        let metrics = Arc::new(Metrics::new()?);
        let app = App::new(&config, Arc::clone(&metrics))
            .ok_or_else(|| EngineError::Revision(config.revision.clone()))?;
        let listener =
            TcpListener::bind(config.listen)
                .await
                .map_err(|source| EngineError::Listen {
                    address: config.listen,
                    source,
                })?;
        Ok(Self {
            config,
            identity,
            reporter,
            metrics,
            app: Arc::new(app),
            listener,
        })
    }

    /// The address it listens on: the port is chosen by the system where `config.listen` has port 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// See [`run`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), EngineError> {
        let Self {
            config,
            identity,
            reporter,
            metrics,
            app,
            listener,
        } = self;
        let started = work::start(&config, &metrics).map_err(EngineError::Thread)?;
        // It serves before the model is there, so that the kubelet and Prometheus get an answer while it loads.
        let draining = CancellationToken::new();
        let router = http::router(Arc::clone(&app));
        let server = Server {
            listener,
            tls: identity.tls.into(),
            router,
            draining: draining.clone(),
        };
        let serving = tokio::spawn(server.run());
        let ended = tokio::select! {
            error = supervise(started, &app, &reporter) => Err(error),
            () = shutdown => Ok(()),
        };
        draining.cancel();
        let longest = config.max_request() + DRAIN_MARGIN;
        if ended.is_ok() && tokio::time::timeout(longest, serving).await.is_err() {
            tracing::warn!("connections were still open at the end");
        }
        ended
    }
}

/// Waits for the model, then for the end of its thread; returns only when something went wrong.
async fn supervise(started: work::Started, app: &App, reporter: &Reporter) -> EngineError {
    let loaded = started.loaded.await.unwrap_or_else(|_| {
        let message =
            "the engine thread ended while it loaded the model; see the engine's log".into();
        Err(Failure {
            reason: FailureReason::LoadFailed,
            message,
        })
    });
    match loaded {
        Ok(loaded) => app.set_loaded(loaded),
        Err(failure) => return reporter.fail(failure),
    }
    if let Err(error) = reporter.say(Phase::Ready) {
        return error.into();
    }
    // An error is the only way this channel ends.
    let _ = started.alive.await;
    EngineError::ThreadEnded
}

/// Tells the pod about this instance.
struct Reporter {
    run_dir: PathBuf,
    termination_log: PathBuf,
    fingerprint: String,
    instance: String,
}

impl Reporter {
    fn new(config: &Config, identity: &Identity) -> Self {
        Self {
            run_dir: config.run_dir.clone(),
            termination_log: config.termination_log.clone(),
            fingerprint: identity.fingerprint.clone(),
            instance: identity::instance(),
        }
    }

    fn say(&self, phase: Phase) -> Result<(), StateError> {
        tracing::info!(?phase, fingerprint = %self.fingerprint, "engine");
        self.write(phase, None)
    }

    fn fail(&self, failure: Failure) -> EngineError {
        tracing::error!(reason = %failure.reason, "{}", failure.message);
        // The log above and the exit code tell it too, where a file cannot be written.
        if let Err(error) = self.write(Phase::Failed, Some(failure.clone())) {
            tracing::warn!("{error}");
        }
        let json = serde_json::to_vec(&failure).expect("a struct of strings and enums serialises");
        if let Err(error) = std::fs::write(&self.termination_log, json) {
            tracing::debug!(%error, "no termination log");
        }
        EngineError::Model(failure)
    }

    fn write(&self, state: Phase, failure: Option<Failure>) -> Result<(), StateError> {
        EngineState {
            state,
            fingerprint: self.fingerprint.clone(),
            instance: self.instance.clone(),
            node_class: node_class(),
            failure,
        }
        .write(&self.run_dir)
    }
}
