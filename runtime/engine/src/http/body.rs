//! Reading a request's body, and the rules for texts that all protocols share.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::ApiError;

pub const MAX_BODY_SIZE_BYTES: usize = 1 << 20;
pub const MAX_TEXTS: usize = 64;
/// A router sends a body that it holds in memory: whoever needs longer keeps a place in the queue from others.
pub const READ_TIMEOUT_SECONDS: u64 = 10;

pub async fn read(request: Request) -> Result<Bytes, ApiError> {
    if let Some(encoding) = request
        .headers()
        .get(CONTENT_ENCODING)
        .filter(|it| it.as_bytes() != b"identity")
    {
        return Err(ApiError::Encoding(
            String::from_utf8_lossy(encoding.as_bytes()).into_owned(),
        ));
    }
    let body: Body = request.into_body();
    if body.size_hint().lower() > MAX_BODY_SIZE_BYTES as u64 {
        return Err(ApiError::TooLarge);
    }
    let collected = Limited::new(body, MAX_BODY_SIZE_BYTES).collect();
    match tokio::time::timeout(Duration::from_secs(READ_TIMEOUT_SECONDS), collected).await {
        Err(_) => Err(ApiError::SlowBody),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge),
        Ok(Err(_)) => Err(ApiError::BrokenBody),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// Parses a body, a JSON object; `example` shows what it should look like.
pub fn parse_json<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, ApiError> {
    let invalid = |problem: &str| {
        ApiError::Invalid(format!(
            "the body is not the JSON that is expected ({problem}); send {example}"
        ))
    };
    // Serde would also take an array of the fields' values, in an order that nobody promised.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(invalid("it is an array, not an object"));
    }
    serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))
}

/// What every protocol asks of its texts.
pub fn check_texts(texts: &[String]) -> Result<(), ApiError> {
    if texts.is_empty() {
        return Err(ApiError::Invalid(
            "there is no text; send at least one".into(),
        ));
    }
    if texts.len() > MAX_TEXTS {
        return Err(ApiError::Invalid(format!(
            "{} texts are too many; send at most {MAX_TEXTS} a request",
            texts.len()
        )));
    }
    for (index, text) in texts.iter().enumerate() {
        let problem = if text.trim().is_empty() {
            "is empty; send a text to classify"
        } else if text.contains('\0') {
            "holds a NUL character; send plain text"
        } else {
            continue;
        };
        let which = if texts.len() == 1 {
            "text".to_owned()
        } else {
            format!("text {}", index + 1)
        };
        return Err(ApiError::Invalid(format!("{which} {problem}")));
    }
    Ok(())
}
