//! What a client is told when there is no answer: a status, a type for programs, and a sentence that says what to do.

use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::{MAX_BODY_SIZE_BYTES, READ_TIMEOUT_SECONDS};
use crate::work::WorkError;

/// A queue of a few requests empties in well under a second.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("the model is being loaded; try again in a few seconds")]
    Starting,
    #[error("the model has been busy with one run for {seconds} s; the engine must be restarted")]
    Stuck { seconds: u64 },
    #[error(
        "too many requests are waiting for the model; try again, or raise maxQueuedRequests or the CPU request"
    )]
    Overloaded,
    #[error("the body is larger than {MAX_BODY_SIZE_BYTES} bytes; send fewer or shorter texts")]
    TooLarge,
    #[error("the body did not arrive within {READ_TIMEOUT_SECONDS} s; send it at once")]
    SlowBody,
    #[error("the body could not be read to its end; send it again")]
    BrokenBody,
    #[error("content-encoding {0} is not supported; send the body as it is")]
    Encoding(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{message}")]
    Parameter {
        /// Name of the parameter, as it was sent.
        name: String,
        code: &'static str,
        message: String,
    },
    #[error("{0}")]
    UnknownModel(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    WrongTask(String),
    #[error("this path is called with {allowed}")]
    Method { allowed: &'static str },
    #[error(
        "there was no answer within {seconds} s (maxRequestSeconds); send fewer texts, or try again when the model is less busy"
    )]
    Deadline { seconds: u64 },
    #[error("{0}")]
    Model(String),
}

impl From<WorkError> for ApiError {
    fn from(error: WorkError) -> Self {
        Self::Model(error.to_string())
    }
}

impl ApiError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Starting | Self::Stuck { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody | Self::Invalid(_) | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound(_) | Self::WrongTask(_) | Self::UnknownModel(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Model(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The `type` in the body; never changes, programs compare it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Stuck { .. } => "stuck",
            Self::Overloaded => "overloaded",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::BrokenBody | Self::Invalid(_) => "invalid_request",
            Self::Encoding(_) => "unsupported_encoding",
            Self::Parameter { code, .. } => code,
            Self::UnknownModel(_) => "model_not_found",
            Self::NotFound(_) => "not_found",
            Self::WrongTask(_) => "wrong_task",
            Self::Method { .. } => "method_not_allowed",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::Model(_) => "model_failed",
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Starting | Self::Stuck { .. } | Self::Overloaded => {
                Some((RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
            Self::Method { allowed } => Some((ALLOW, HeaderValue::from_static(allowed))),
            // The rest of the body is still to come: the connection cannot carry another request.
            Self::TooLarge | Self::SlowBody | Self::BrokenBody => {
                Some((CONNECTION, HeaderValue::from_static("close")))
            }
            _ => None,
        }
    }

    fn respond(&self, body: &Value) -> Response {
        let mut response = (
            self.status(),
            [(CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
            .into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The form of OpenAI's API, used everywhere but below /v2.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(&json!({"error": {"type": self.kind(), "message": self.to_string()}}))
    }
}

/// The same with the fields that OpenAI's clients read: they tell errors apart by status, type and code.
#[derive(Debug)]
pub struct OpenAiError(pub ApiError);

impl OpenAiError {
    pub fn body(&self) -> Value {
        let error = &self.0;
        let status = error.status();
        let family = if status == StatusCode::TOO_MANY_REQUESTS {
            "rate_limit_error"
        } else if status.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        };
        let param = match error {
            ApiError::Parameter { name, .. } => Some(name.as_str()),
            ApiError::UnknownModel(_) => Some("model"),
            _ => None,
        };
        json!({"error": {"message": error.to_string(), "type": family, "param": param, "code": error.kind()}})
    }
}

impl From<ApiError> for OpenAiError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        self.0.respond(&self.body())
    }
}

/// The same in the form of the Open Inference Protocol.
#[derive(Debug)]
pub struct V2Error(pub ApiError);

impl From<ApiError> for V2Error {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for V2Error {
    fn into_response(self) -> Response {
        self.0.respond(&json!({"error": self.0.to_string()}))
    }
}
