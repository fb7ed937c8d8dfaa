//! `/healthz`, `/readyz`, `/metrics`: for the kubelet, the routers and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{ApiError, App};

pub fn routes() -> Router<Arc<App>> {
    let only_get = || async { ApiError::Method { allowed: "GET" } };
    Router::new()
        .route("/healthz", get(healthz).fallback(only_get))
        .route("/readyz", get(readyz).fallback(only_get))
        .route("/metrics", get(metrics).fallback(only_get))
}

/// Answers as long as the event loop turns: a model that fails must not be restarted for it. Only a run that hangs is, after
/// its readiness has been gone for as long as a request may take.
async fn healthz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    app.is_alive().map(|()| "ok\n")
}

async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    app.is_ready().map(|()| "ok\n")
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app
        .metrics
        .render(app.admission.waiting(), app.is_ready().is_ok())
    {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            ApiError::Model(format!("the metrics cannot be written: {error}")).into_response()
        }
    }
}
