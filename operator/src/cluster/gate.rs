//! What every call to the API server passes: the rate limit, the time limit, and the counting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tonic::codegen::http::{Request, Response};
use tower::{BoxError, Layer, Service};

use super::limiter::Limiter;
use super::request::RequestKind;
use crate::metrics::Metrics;

/// Longest time until the head of an answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Calls for ever, and at once.
const CALLS_PER_SECOND: u32 = 50;
const CALLS_AT_ONCE: u32 = 100;

/// A call that took too long.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
pub struct CallTimeout;

/// State shared by all calls of a client.
#[derive(Debug)]
pub struct Gate {
    limiter: Option<Mutex<Limiter>>,
    metrics: Metrics,
    watches: Mutex<BTreeMap<String, Instant>>,
    answered: Mutex<Option<Instant>>,
}

impl Gate {
    /// For all calls but the Lease's.
    #[must_use]
    pub fn limited(metrics: Metrics) -> Arc<Self> {
        let limiter = Limiter::new(CALLS_PER_SECOND, CALLS_AT_ONCE);
        Arc::new(Self::new(Some(Mutex::new(limiter)), metrics))
    }

    /// For the Lease, which must not wait behind other calls.
    #[must_use]
    pub fn unlimited(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self::new(None, metrics))
    }

    fn new(limiter: Option<Mutex<Limiter>>, metrics: Metrics) -> Self {
        Self {
            limiter,
            metrics,
            watches: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    /// When each watched resource was last listed or watched anew. Watches end by themselves after a while, so an old
    /// entry is a watch that hangs.
    #[must_use]
    pub fn watches(&self) -> BTreeMap<String, Instant> {
        lock(&self.watches).clone()
    }

    /// When the API server last answered anything.
    #[must_use]
    pub fn answered(&self) -> Option<Instant> {
        *lock(&self.answered)
    }

    fn wait(&self, kind: &RequestKind) -> Duration {
        match &self.limiter {
            Some(limiter) if !kind.is_watch() => lock(limiter).reserve(Instant::now()),
            _ => Duration::ZERO,
        }
    }

    fn finished(&self, kind: &RequestKind, code: &str, started: Instant) {
        let now = Instant::now();
        let seconds = now.duration_since(started).as_secs_f64();
        self.metrics
            .api_call(kind.verb, &kind.resource, code, seconds);
        if code.starts_with(|first: char| first.is_ascii_digit()) {
            *lock(&self.answered) = Some(now);
        }
        if matches!(kind.verb, "watch" | "list") {
            lock(&self.watches).insert(kind.resource.clone(), now);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a gate before a client's service.
#[derive(Clone, Debug)]
pub struct GateLayer {
    gate: Arc<Gate>,
}

impl GateLayer {
    #[must_use]
    pub const fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner,
            gate: self.gate.clone(),
        }
    }
}

/// A service behind a gate.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S, Q, B> Service<Request<Q>> for Gated<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let uri = request.uri();
        let kind = RequestKind::of(request.method().as_str(), uri.path(), uri.query());
        // Nothing is sent before this future is polled, so it can wait for its turn.
        let answer = self.inner.call(request);
        let gate = self.gate.clone();
        Box::pin(async move {
            tokio::time::sleep(gate.wait(&kind)).await;
            let started = Instant::now();
            let result = tokio::time::timeout(CALL_TIMEOUT, answer).await;
            let result = match result {
                Ok(answered) => answered.map_err(Into::into),
                Err(_) => Err(BoxError::from(CallTimeout)),
            };
            let code = match &result {
                Ok(response) => response.status().as_str().to_owned(),
                Err(_) => "failed".to_owned(),
            };
            gate.finished(&kind, &code, started);
            result
        })
    }
}
