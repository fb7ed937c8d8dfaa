//! The public protocols: paths, and what is common to all requests.

mod body;
mod error;
mod exchange;
mod openai;
mod ready;
mod simple;
mod v2;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::config::{Config, Task};
use crate::metrics::{Endpoint, Metrics};
use crate::work::{Admission, ClassifierDesk, Desk, GeneratorDesk, Loaded};

pub use error::ApiError;

const REVISION_HEADER: HeaderName = HeaderName::from_static("x-smallfleet-revision");
const CONFIDENCE_HEADER: HeaderName = HeaderName::from_static("x-smallfleet-confidence");
const TRUNCATED_HEADER: HeaderName = HeaderName::from_static("x-smallfleet-truncated");

/// What every handler knows.
#[derive(Debug)]
pub struct App {
    pub model_name: String,
    pub revision: String,
    revision_header: HeaderValue,
    pub task: Task,
    pub max_request: Duration,
    /// Seconds since 1970, for the list of models.
    pub started_at_seconds: u64,
    pub admission: Admission,
    pub metrics: Arc<Metrics>,
    /// Set once, when the model is ready.
    loaded: OnceLock<Loaded>,
}

impl App {
    /// `None` where the revision cannot be a header's value.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Option<Self> {
        let concurrent: NonZeroUsize = config.max_concurrent_requests;
        Some(Self {
            model_name: config.model_name.clone(),
            revision: config.revision.clone(),
            revision_header: HeaderValue::from_str(&config.revision).ok()?,
            task: config.task,
            max_request: config.max_request(),
            started_at_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            admission: Admission::new(concurrent, config.max_queued_requests),
            metrics,
            loaded: OnceLock::new(),
        })
    }

    /// Opens the gate for requests; a second model is not taken.
    pub fn set_loaded(&self, loaded: Loaded) {
        let _ = self.loaded.set(loaded);
    }

    pub fn loaded(&self) -> Result<&Loaded, ApiError> {
        self.loaded.get().ok_or(ApiError::Starting)
    }

    /// Where requests of the model's task go; the paths of other tasks never ask.
    pub fn classifier(&self) -> Result<&ClassifierDesk, ApiError> {
        match &self.loaded()?.desk {
            Desk::Classifier(desk) => Ok(desk),
            Desk::Generator(_) => Err(self.wrong_task("this path")),
        }
    }

    /// See [`App::classifier`].
    pub fn generator(&self) -> Result<&GeneratorDesk, ApiError> {
        match &self.loaded()?.desk {
            Desk::Generator(desk) => Ok(desk),
            Desk::Classifier(_) => Err(self.wrong_task("this path")),
        }
    }

    /// Says that a path is for models of another task, and which are for this one.
    pub fn wrong_task(&self, path: &str) -> ApiError {
        ApiError::WrongTask(format!(
            "model {} does {}, which {path} is not for; call {}",
            self.model_name,
            self.task,
            self.answers()
        ))
    }

    /// The paths that the model answers.
    fn answers(&self) -> String {
        match self.task {
            Task::TextGeneration => "POST /v1/chat/completions or POST /v1/completions".into(),
            _ => format!(
                "POST /v1/classify or POST /v2/models/{}/infer",
                self.model_name
            ),
        }
    }

    /// Whether requests can be expected to succeed: loaded, and the model not stuck in one run.
    pub fn is_ready(&self) -> Result<(), ApiError> {
        not_stuck(self.loaded()?.progress.current_run(), self.max_request)
    }

    /// No run hangs for twice as long as a request may take; a model that is still being loaded is alive.
    pub fn is_alive(&self) -> Result<(), ApiError> {
        let run = self.loaded().map(|loaded| loaded.progress.current_run());
        not_stuck(run.unwrap_or_default(), self.max_request * 2)
    }
}

fn not_stuck(run: Duration, limit: Duration) -> Result<(), ApiError> {
    if run <= limit {
        return Ok(());
    }
    let seconds = run.as_secs();
    Err(ApiError::Stuck { seconds })
}

/// All endpoints of the engine.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(ready::routes())
        .merge(openai::routes(app.task))
        .merge(simple::routes(app.task))
        .merge(v2::routes(app.task))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), finish))
        .with_state(app)
}

async fn not_found(State(app): State<Arc<App>>, request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::NotFound(format!(
        "there is nothing at {path}; model {} answers {}",
        app.model_name,
        app.answers()
    ))
}

/// A path of another task.
async fn wrong_task(State(app): State<Arc<App>>, request: Request) -> ApiError {
    app.wrong_task(request.uri().path())
}

/// Counts the answer and puts the revision on it.
async fn finish(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let endpoint = Endpoint::of(request.uri().path());
    request.extensions_mut().insert(Arrival(Instant::now()));
    let mut response = next.run(request).await;
    app.metrics.count(endpoint, response.status());
    response
        .headers_mut()
        .insert(REVISION_HEADER, app.revision_header.clone());
    response
}

/// When a request's head was complete: its deadline counts from here.
#[derive(Debug, Clone, Copy)]
struct Arrival(Instant);

impl Arrival {
    fn of(request: &Request) -> Instant {
        request
            .extensions()
            .get::<Self>()
            .map_or_else(Instant::now, |arrival| arrival.0)
    }
}

#[cfg(test)]
mod tests;
