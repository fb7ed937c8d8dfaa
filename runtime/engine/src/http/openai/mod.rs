//! OpenAI's API: the list of models, and for a text generator chat and completions.

mod answer;
mod chat;
mod completion;
mod generate;
mod parameters;
mod stream;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::{ApiError, App, wrong_task};
use crate::config::Task;

#[cfg(test)]
pub use generate::Asked;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

pub fn routes(task: Task) -> Router<Arc<App>> {
    let only_get = || async { ApiError::Method { allowed: "GET" } };
    let only_post = || async { OpenAiError(ApiError::Method { allowed: "POST" }) };
    let router = Router::new()
        .route("/v1/models", get(list).fallback(only_get))
        .route("/v1/models/{name}", get(model).fallback(only_get))
        .route("/v1/embeddings", any(wrong_task));
    if task == Task::TextGeneration {
        router
            .route(CHAT, post(chat::answer).fallback(only_post))
            .route(COMPLETIONS, post(completion::answer).fallback(only_post))
    } else {
        router
            .route(CHAT, any(wrong_task))
            .route(COMPLETIONS, any(wrong_task))
    }
}

/// The parsers, for property tests.
#[cfg(test)]
pub fn parse_both(bytes: &[u8]) -> [Result<Asked, ApiError>; 2] {
    [chat::parse(bytes), completion::parse(bytes)]
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
