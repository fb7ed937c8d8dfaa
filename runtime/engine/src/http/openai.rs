//! What is left of OpenAI's API for a model that writes no text: the list of models, and a helpful no.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{ApiError, App};

pub fn routes() -> Router<Arc<App>> {
    let only_get = || async { ApiError::Method { allowed: "GET" } };
    Router::new()
        .route("/v1/models", get(list).fallback(only_get))
        .route("/v1/models/{name}", get(model).fallback(only_get))
        .route("/v1/chat/completions", any(wrong_task))
        .route("/v1/completions", any(wrong_task))
        .route("/v1/embeddings", any(wrong_task))
}

fn description(app: &App) -> Value {
    json!({"id": app.model_name, "object": "model", "created": app.started_at_seconds, "owned_by": "smallfleet"})
}

async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [description(&app)]}))
}

async fn model(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    match name {
        Ok(Path(name)) if name == app.model_name => Ok(Json(description(&app))),
        _ => Err(ApiError::NotFound(format!(
            "there is no such model here; this engine serves {}",
            app.model_name
        ))),
    }
}

async fn wrong_task(State(app): State<Arc<App>>, request: Request) -> ApiError {
    ApiError::WrongTask(format!(
        "model {} does {}, which {} is not for; call POST /v1/classify or POST /v2/models/{}/infer",
        app.model_name,
        app.task,
        request.uri().path(),
        app.model_name
    ))
}
