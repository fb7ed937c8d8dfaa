//! Answers of the router's own. Each says what to do; the shape is that of the protocol that was called.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use smallfleet_runtime_core::Arm;

use super::request::{BODY_MAX, Protocol};

/// Why the router answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the body is larger than {BODY_MAX} bytes; send several smaller requests")]
    TooLarge,
    #[error("the body could not be read; send it completely and as its headers say")]
    BadBody,
    #[error("the body did not arrive within {0} s; send it faster")]
    SlowBody(u64),
    #[error("the router serves paths only; send a request such as POST /v1/classify")]
    NoPath,
    #[error("the router holds too many bodies; try again after the time in Retry-After")]
    Memory,
    #[error("too many requests wait for the {} engine; try again after the time in Retry-After", .0.name())]
    QueueFull(Arm),
    #[error("the engine of this node gives no answer; try again after the time in Retry-After")]
    NoEngine,
    #[error("no complete answer within {0} s; send less at a time or raise maxRequestSeconds")]
    Deadline(u64),
}

/// An error as OpenAI's clients read it.
pub(super) fn openai_error(status: StatusCode, code: &str, message: &str) -> Value {
    let family = if status == StatusCode::TOO_MANY_REQUESTS {
        "rate_limit_error"
    } else if status.is_server_error() {
        "server_error"
    } else {
        "invalid_request_error"
    };
    json!({ "error": { "message": message, "type": family, "param": null, "code": code } })
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadBody | Self::NoPath => StatusCode::BAD_REQUEST,
            Self::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Memory | Self::QueueFull(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoEngine => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The refusal's name in the body and in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::BadBody => "bad_body",
            Self::SlowBody(_) => "slow_body",
            Self::NoPath => "no_path",
            Self::Memory => "too_many_bodies",
            Self::QueueFull(_) => "too_many_requests",
            Self::NoEngine => "engine_unavailable",
            Self::Deadline(_) => "deadline_exceeded",
        }
    }

    pub(super) fn response(self, protocol: Protocol) -> Response<Bytes> {
        let message = self.to_string();
        let body = match protocol {
            Protocol::OpenInference => json!({ "error": message }),
            Protocol::OpenAi => openai_error(self.status(), self.name(), &message),
            Protocol::Other => json!({ "error": { "type": self.name(), "message": message } }),
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self, Self::Memory | Self::QueueFull(_) | Self::NoEngine) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
