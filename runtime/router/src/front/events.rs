//! Server-sent events, as far as a router must know them: whether a stream came to its end, and how to say that it did not.
//! It looks at the last bytes only.

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};

use super::refusal::openai_error;
use super::request::Protocol;

const MEDIA_TYPE: &[u8] = b"text/event-stream";
/// The last event of a complete stream of OpenAI's API.
const DONE: &[u8] = b"data: [DONE]";
/// Room for it and the line ends behind it.
const TAIL_BYTES: usize = DONE.len() + 4;

/// What was seen of a stream of events.
#[derive(Debug)]
pub(super) struct Events {
    protocol: Protocol,
    tail: Vec<u8>,
}

impl Events {
    /// `None` for an answer of another kind.
    pub(super) fn of(headers: &HeaderMap, protocol: Protocol) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let kind = kind.get(..MEDIA_TYPE.len())?;
        let is_stream = kind.eq_ignore_ascii_case(MEDIA_TYPE);
        is_stream.then(|| Self {
            protocol,
            tail: Vec::new(),
        })
    }

    pub(super) fn saw(&mut self, data: &[u8]) {
        let new = &data[data.len().saturating_sub(TAIL_BYTES)..];
        self.tail.extend_from_slice(new);
        let old = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
    }

    /// Whether the stream that has ended says that it is complete: an engine may end one politely after an error.
    pub(super) fn complete(&self) -> bool {
        self.protocol != Protocol::OpenAi || self.tail.trim_ascii_end().ends_with(DONE)
    }

    /// The last event of a stream that breaks off. It begins behind whatever was sent of the event before.
    pub(super) fn error(&self, code: &str, message: &str) -> Bytes {
        let between = self.tail.is_empty()
            || self.tail.ends_with(b"\n\n")
            || self.tail.ends_with(b"\r\n\r\n");
        let gap = if between { "" } else { "\n\n" };
        let error = openai_error(StatusCode::BAD_GATEWAY, code, message);
        format!("{gap}event: error\ndata: {error}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn events(protocol: Protocol, pieces: &[&str]) -> Events {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        let mut events = Events::of(&headers, protocol).unwrap();
        for piece in pieces {
            events.saw(piece.as_bytes());
        }
        events
    }

    #[test]
    fn a_stream_is_complete_with_its_done_however_it_is_cut() {
        for pieces in [
            &["data: {}\n\ndata: [DONE]\n\n"][..],
            &["data: {}\n\nda", "ta: [DO", "NE]\r\n\r\n"],
            &["data: [DONE]"],
        ] {
            assert!(events(Protocol::OpenAi, pieces).complete(), "{pieces:?}");
        }
        for pieces in [&["data: {}\n\n"][..], &[], &["data: [DONE]\n\ndata: x\n\n"]] {
            assert!(!events(Protocol::OpenAi, pieces).complete(), "{pieces:?}");
        }
        assert!(events(Protocol::Other, &["data: {}\n\n"]).complete());
    }

    #[test]
    fn an_error_is_an_event_of_its_own() {
        let after = |pieces| {
            let error = events(Protocol::OpenAi, pieces).error("code", "why");
            String::from_utf8(error.to_vec()).unwrap()
        };
        assert!(after(&["data: {}\n\n"]).starts_with("event: error\ndata: {\"error\":"));
        assert!(after(&["data: {}\n"]).starts_with("\n\nevent: error\n"));
    }

    #[test]
    fn other_answers_are_no_streams() {
        let mut headers = HeaderMap::new();
        assert!(Events::of(&headers, Protocol::OpenAi).is_none());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert!(Events::of(&headers, Protocol::OpenAi).is_none());
    }
}
