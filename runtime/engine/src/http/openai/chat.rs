//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Form;
use super::generate::{Asked, Options, generate};
use super::parameters::{Parameters, invalid};
use crate::http::error::OpenAiError;
use crate::http::{ApiError, App};
use crate::model::{Message, Prompt, Role};

const EXAMPLE: &str = r#"{"messages": [{"role": "user", "content": "..."}]}"#;
const MAX_MESSAGES: usize = 512;

pub async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    Ok(generate(&app, request, parse).await?)
}

pub fn parse(bytes: &[u8]) -> Result<Asked, ApiError> {
    let mut parameters = Parameters::of(bytes, EXAMPLE)?;
    let messages: Option<Vec<Map<String, Value>>> = parameters.take("messages")?;
    let messages = messages.unwrap_or_default();
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        return Err(invalid(
            "messages",
            &format!(
                "messages has {} entries; send 1 to {MAX_MESSAGES}, as in {EXAMPLE}",
                messages.len()
            ),
        ));
    }
    let messages = messages.into_iter().enumerate();
    let messages: Result<Vec<Message>, ApiError> = messages
        .map(|(index, fields)| message(fields, &format!("messages[{index}]")))
        .collect();
    let asked = Asked {
        form: Form::Chat,
        prompt: Prompt::Chat(messages?),
        options: Options::take(&mut parameters)?,
    };
    parameters.finish()?;
    Ok(asked)
}

/// Reads a message. What the model would not see is refused, but for the empty fields that clients send back.
fn message(mut fields: Map<String, Value>, path: &str) -> Result<Message, ApiError> {
    let role = role(fields.remove("role").as_ref(), path)?;
    let content = content(fields.remove("content"), path)?;
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match fields.iter().find(|(_, value)| !empty(value)) {
        None => Ok(Message { role, content }),
        Some((name, _)) => Err(ApiError::Parameter {
            name: format!("{path}.{name}"),
            code: "unsupported_parameter",
            message: format!("{path}.{name} is not supported by this runtime; leave it out"),
        }),
    }
}

fn role(value: Option<&Value>, path: &str) -> Result<Role, ApiError> {
    match value.and_then(Value::as_str) {
        // What OpenAI calls the system of its newer models.
        Some("system" | "developer") => Ok(Role::System),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        _ => {
            let got = value.map_or_else(|| "missing".to_owned(), Value::to_string);
            let got: String = got.chars().take(40).collect();
            Err(invalid(
                &format!("{path}.role"),
                &format!("{path}.role is {got}; it must be system, user or assistant"),
            ))
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
}

fn content(value: Option<Value>, path: &str) -> Result<String, ApiError> {
    let content = serde_json::from_value(value.unwrap_or_default());
    match content {
        Ok(Content::Text(text)) => Ok(text),
        Ok(Content::Parts(parts)) => {
            let texts: Vec<String> = parts.into_iter().map(|Part::Text { text }| text).collect();
            Ok(texts.join("\n"))
        }
        Err(_) => Err(invalid(
            &format!("{path}.content"),
            &format!(
                "{path}.content must be a text, or a list of {{\"type\": \"text\", \"text\": \"...\"}}"
            ),
        )),
    }
}
