//! The Open Inference Protocol, version 2, REST form (github.com/kserve/open-inference-protocol): one BYTES tensor `text` in,
//! `label`, `score` and `scores` out.

mod message;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::V2Error;
use super::exchange::exchange;
use super::{ApiError, App};
use crate::config::Task;

#[cfg(test)]
pub use message::parse;

/// A generator has no tensors to describe; it answers the health checks only.
pub fn routes(task: Task) -> Router<Arc<App>> {
    let only_get = || async { V2Error(ApiError::Method { allowed: "GET" }) };
    let only_post = || async { V2Error(ApiError::Method { allowed: "POST" }) };
    let mut router = Router::new()
        .route("/v2", get(server).fallback(only_get))
        .route(
            "/v2/health/live",
            get(async || Json(json!({"live": true}))).fallback(only_get),
        )
        .route("/v2/health/ready", get(ready).fallback(only_get))
        .route("/v2/{*rest}", any(not_found));
    if task != Task::TextClassification {
        return router.route("/v2/models/{*rest}", any(wrong_task));
    }
    for model in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        router = router
            .route(model, get(metadata).fallback(only_get))
            .route(
                &format!("{model}/ready"),
                get(model_ready).fallback(only_get),
            )
            .route(&format!("{model}/infer"), post(infer).fallback(only_post));
    }
    router
}

/// The model that a path names.
#[derive(Deserialize)]
struct Named {
    name: String,
    version: Option<String>,
}

type NamedPath = Result<Path<Named>, PathRejection>;

/// An engine has one model in one version, its revision.
fn check_name(app: &App, path: NamedPath) -> Result<(), ApiError> {
    let fits = |named: &Named| {
        named.name == app.model_name
            && named
                .version
                .as_ref()
                .is_none_or(|version| *version == app.revision)
    };
    let asked = match path {
        Ok(Path(named)) if fits(&named) => return Ok(()),
        Ok(Path(Named {
            name,
            version: None,
        })) => name,
        Ok(Path(Named {
            name,
            version: Some(version),
        })) => format!("{name} in version {version}"),
        Err(_) => "of that name".to_owned(),
    };
    Err(ApiError::NotFound(format!(
        "there is no model {asked} here; this engine serves {} in version {}",
        app.model_name, app.revision
    )))
}

async fn server() -> Json<Value> {
    Json(json!({"name": "smallfleet", "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
}

async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, V2Error> {
    app.is_ready()?;
    Ok(Json(json!({"ready": true})))
}

async fn metadata(State(app): State<Arc<App>>, path: NamedPath) -> Result<Json<Value>, V2Error> {
    check_name(&app, path)?;
    Ok(Json(message::metadata(
        &app.model_name,
        &app.revision,
        app.classifier()?.labels.len(),
    )))
}

async fn model_ready(State(app): State<Arc<App>>, path: NamedPath) -> Result<Json<Value>, V2Error> {
    check_name(&app, path)?;
    app.is_ready()?;
    Ok(Json(json!({"name": app.model_name, "ready": true})))
}

async fn infer(
    State(app): State<Arc<App>>,
    path: NamedPath,
    request: Request,
) -> Result<Response, V2Error> {
    check_name(&app, path)?;
    let response = exchange(&app, request, message::parse, |asked, answer, desk| {
        message::render(&app.model_name, &app.revision, asked, answer, &desk.labels)
    });
    Ok(response.await?)
}

async fn wrong_task(State(app): State<Arc<App>>, uri: Uri) -> V2Error {
    V2Error(app.wrong_task(uri.path()))
}

async fn not_found(State(app): State<Arc<App>>, uri: Uri) -> V2Error {
    V2Error(ApiError::NotFound(format!(
        "there is nothing at {}; call {}",
        uri.path(),
        app.answers()
    )))
}
