//! `/healthz`, `/readyz` and `/metrics`. Liveness is bound to real progress, not to an answering thread.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The election must have looked at the Lease within this time, whatever came of it.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);
/// No reconcile may take longer: each of its calls has a limit of its own.
const RECONCILE_LIMIT: Duration = Duration::from_secs(300);

/// What the process has done lately.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    election: Mutex<Option<Instant>>,
    ready: AtomicBool,
    next: AtomicU64,
    running: Mutex<Vec<(u64, Instant)>>,
}

/// A reconcile that is under way.
#[derive(Debug)]
pub struct Running(Arc<Inner>, u64);

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.retain(|(id, _)| *id != self.1);
    }
}

impl Progress {
    /// The election took one more look.
    pub fn election(&self) {
        *self
            .0
            .election
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Sessions are served and the caches are filled.
    pub fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
    }

    /// Counts as under way until dropped.
    #[must_use]
    pub fn reconcile_started(&self) -> Running {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.push((id, Instant::now()));
        Running(Arc::clone(&self.0), id)
    }

    fn stuck(&self) -> Option<&'static str> {
        let election = *self
            .0
            .election
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if election.is_some_and(|at| at.elapsed() > ELECTION_LIMIT) {
            return Some("the election is stuck");
        }
        let running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let stuck = running
            .iter()
            .any(|(_, since)| since.elapsed() > RECONCILE_LIMIT);
        stuck.then_some("a reconcile is stuck")
    }
}

#[derive(Clone)]
struct App {
    progress: Progress,
    metrics: Metrics,
}

/// Serves until shutdown.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    progress: Progress,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let routes = axum::Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(|State(app): State<App>| async move { app.metrics.text() }),
        )
        .with_state(App { progress, metrics });
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
}

async fn healthz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.progress.stuck() {
        None => (StatusCode::OK, "ok"),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, what),
    }
}

async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.progress.0.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches are being filled",
        )
    }
}
