//! A client's request, read completely and checked before any coin is tossed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method, Request, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::headers;
use super::refusal::Refusal;
use crate::config::Limits;

/// Bodies up to this many bytes are taken, and kept until an answer begins. Larger ones are refused.
pub(super) const BODY_MAX: usize = 1024 * 1024;
/// Bodies of all requests together, in KiB: the router's memory is bounded whatever clients do.
const BODIES_KIB: usize = 24 * 1024;

/// How errors look in the protocol that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Open Inference Protocol, version 2: the error is a string.
    OpenInference,
    /// OpenAI's chat and completions: the error has a code too, and a stream is complete with its `[DONE]`.
    OpenAi,
    /// The error has a type and a message.
    Other,
}

impl Protocol {
    pub(super) fn of(uri: &Uri) -> Self {
        let path = uri.path();
        if path == "/v2" || path.starts_with("/v2/") {
            Self::OpenInference
        } else if matches!(path, "/v1/chat/completions" | "/v1/completions") {
            Self::OpenAi
        } else {
            Self::Other
        }
    }
}

/// Memory for bodies.
#[derive(Debug, Clone)]
pub(super) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_KIB)))
    }
}

/// Memory of a body.
fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

impl BodyBudget {
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let kib = u32::try_from(kib(bytes)).map_err(|_| Refusal::TooLarge)?;
        self.0
            .clone()
            .try_acquire_many_owned(kib)
            .map_err(|_| Refusal::Memory)
    }
}

/// A request that can be sent to an engine, and again to another.
#[derive(Debug)]
pub(super) struct Kept {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Kept {
    pub(super) async fn read(
        parts: Parts,
        body: Incoming,
        limits: &Limits,
        budget: &BodyBudget,
    ) -> Result<Self, Refusal> {
        let path = parts.uri.into_parts().path_and_query;
        let path = path.ok_or(Refusal::NoPath)?;
        let (body, memory) = timeout(limits.deadline(), read_body(body, budget))
            .await
            .unwrap_or(Err(Refusal::SlowBody(limits.max_request_seconds)))?;
        let mut headers = parts.headers;
        headers::clean_request(&mut headers);
        // HTTP/1.0 clients may send none.
        headers
            .entry(HOST)
            .or_insert(HeaderValue::from_static("engine"));
        Ok(Self {
            method: parts.method,
            path,
            headers,
            body,
            _memory: memory,
        })
    }

    /// Whether it may be a unit of a rollout.
    pub(super) fn is_unit(&self) -> bool {
        self.method == Method::POST
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn to_engine(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.path.clone());
        *request.headers_mut() = self.headers.clone();
        request
    }
}

async fn read_body(
    mut body: Incoming,
    budget: &BodyBudget,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let hint = body.size_hint();
    if hint.lower() > BODY_MAX as u64 {
        return Err(Refusal::TooLarge);
    }
    let exact = hint.exact().and_then(|length| usize::try_from(length).ok());
    let mut memory = budget.take(exact.unwrap_or(BODY_MAX))?;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers mean nothing to an engine.
        let Ok(data) = frame.map_err(|_| Refusal::BadBody)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > BODY_MAX {
            return Err(Refusal::TooLarge);
        }
        if exact == Some(data.len()) {
            return Ok((data, memory));
        }
        whole.extend_from_slice(&data);
    }
    drop(memory.split(memory.num_permits().saturating_sub(kib(whole.len()))));
    Ok((whole.freeze(), memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_look_as_the_protocol_wants() {
        assert_eq!(
            Protocol::of(&Uri::from_static("/v2")),
            Protocol::OpenInference
        );
        assert_eq!(
            Protocol::of(&Uri::from_static("/v2/models/intent/infer")),
            Protocol::OpenInference
        );
        assert_eq!(
            Protocol::of(&Uri::from_static("/v1/classify")),
            Protocol::Other
        );
        assert_eq!(Protocol::of(&Uri::from_static("/v20")), Protocol::Other);
        assert_eq!(
            Protocol::of(&Uri::from_static("/v1/chat/completions?a=b")),
            Protocol::OpenAi
        );
    }
}
