//! A chat client as an application has one: asks `/v1/chat/completions` and reads the events of the stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use serde::Deserialize;

/// Request for a streamed answer of at most `max_tokens`, the likeliest words.
///
/// # Errors
/// When `url` is none.
pub fn request(url: &str, text: &str, max_tokens: u32) -> Result<Request<Full<Bytes>>> {
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    Request::post(url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .with_context(|| format!("{url} is no URL"))
}

/// A streamed answer, once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// From the call of [`read`] to the first piece of text.
    pub first_token: Duration,
    /// Tokens of the answer, as counted by the engine.
    pub tokens: u64,
    /// How many times the stream said `[DONE]`.
    pub done: usize,
    /// The error event, if there was one.
    pub error: Option<String>,
}

impl Answer {
    /// Why it is not whole; empty for a whole one.
    #[must_use]
    pub fn flaw(&self) -> String {
        match (&self.error, self.done) {
            (Some(error), _) => error.clone(),
            (None, 1) => String::new(),
            (None, done) => format!("the stream said [DONE] {done} times"),
        }
    }

    fn take(&mut self, line: &str, start: Instant, piece: &mut impl FnMut(&str)) -> Result<()> {
        let Some(data) = line.strip_prefix("data: ") else {
            return Ok(());
        };
        if data == "[DONE]" {
            self.done += 1;
            return Ok(());
        }
        let event: Event = serde_json::from_str(data).with_context(|| format!("event {data}"))?;
        if let Some(error) = event.error {
            self.error = Some(error.to_string());
        }
        self.tokens = event
            .usage
            .map_or(self.tokens, |usage| usage.completion_tokens);
        for text in event
            .choices
            .into_iter()
            .filter_map(|choice| choice.delta.content)
        {
            if self.text.is_empty() {
                self.first_token = start.elapsed();
            }
            piece(&text);
            self.text += &text;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    completion_tokens: u64,
}

/// Reads a stream to its end; `piece` is shown each piece of text as it arrives.
///
/// # Errors
/// When the connection breaks or an event is no JSON.
pub async fn read(mut body: Incoming, mut piece: impl FnMut(&str)) -> Result<Answer> {
    let start = Instant::now();
    let mut answer = Answer::default();
    let mut open = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the stream broke off")?.into_data() else {
            continue;
        };
        open.extend_from_slice(&data);
        while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            answer.take(String::from_utf8_lossy(&line).trim_end(), start, &mut piece)?;
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Answer {
        let mut answer = Answer::default();
        for line in lines {
            answer.take(line, Instant::now(), &mut |_| ()).unwrap();
        }
        answer
    }

    #[test]
    fn a_whole_stream_has_text_usage_and_one_end() {
        let whole = answer(&[
            r#"data: {"choices":[{"delta":{"role":"assistant"}}]}"#,
            r#"data: {"choices":[{"delta":{"content":"Gra"}}]}"#,
            "",
            r#"data: {"choices":[{"delta":{"content":"vity"}}]}"#,
            r#"data: {"choices":[],"usage":{"completion_tokens":2}}"#,
            "data: [DONE]",
        ]);
        assert_eq!((whole.text.as_str(), whole.tokens), ("Gravity", 2));
        assert_eq!(whole.flaw(), "");
    }

    #[test]
    fn a_stream_that_ends_with_an_error_or_without_its_end_is_not_whole() {
        let broken = answer(&["event: error", r#"data: {"error":{"type":"broken"}}"#]);
        assert!(broken.flaw().contains("broken"));
        assert!(answer(&[]).flaw().contains("0 times"));
    }
}
