//! `POST /v1/completions`: the prompt goes to the model as it is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer::Form;
use super::generate::{Asked, Options, generate};
use super::parameters::{Parameters, invalid};
use crate::http::error::OpenAiError;
use crate::http::{ApiError, App};
use crate::model::Prompt;

const EXAMPLE: &str = r#"{"prompt": "..."}"#;

pub async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    Ok(generate(&app, request, parse).await?)
}

pub fn parse(bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut parameters = Parameters::of(bytes, EXAMPLE)?;
    let prompt: Option<String> = parameters.take("prompt")?;
    let prompt = prompt
        .filter(|prompt| !prompt.is_empty())
        .ok_or_else(|| invalid("prompt", "prompt is missing; send one text"))?;
    let asked = Asked {
        form: Form::Completion,
        prompt: Prompt::Text(prompt),
        options: Options::take(&mut parameters)?,
    };
    parameters.finish()?;
    Ok(asked)
}
