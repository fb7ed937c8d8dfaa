//! A chat client as an application has one: asks `/v1/chat/completions` and reads the events of the stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
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

/// Sends a request over a connection of its own; its answer once that has begun.
///
/// # Errors
/// When nobody answers.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
    let url = request.uri().to_string();
    let client = Client::builder(TokioExecutor::new()).build_http();
    client
        .request(request)
        .await
        .with_context(|| format!("POST {url}"))
}

/// A streamed answer, once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// From the sending of the request to the first piece of text.
    pub first_token: Duration,
    /// From the sending of the request to the end of the stream.
    pub whole: Duration,
    pub usage: Usage,
    /// How many times the stream said `[DONE]`.
    pub done: usize,
    /// The error event, if there was one.
    pub error: Option<String>,
}

/// Tokens of a question and its answer, as counted by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

impl Answer {
    /// Rate of the tokens after the first one; 0 where there was no other.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.whole.saturating_sub(self.first_token).as_secs_f64();
        let tokens = self.usage.completion_tokens.saturating_sub(1);
        let tokens = u32::try_from(tokens).map_or(0.0, f64::from);
        if seconds > 0.0 { tokens / seconds } else { 0.0 }
    }

    /// Why it is not whole; empty for a whole one.
    #[must_use]
    pub fn flaw(&self) -> String {
        match (&self.error, self.done) {
            (Some(error), _) => error.clone(),
            (None, 1) => String::new(),
            (None, done) => format!("the stream said [DONE] {done} times"),
        }
    }

    fn take(&mut self, line: &str, sent: Instant, piece: &mut impl FnMut(&str)) -> Result<()> {
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
        self.usage = event.usage.unwrap_or(self.usage);
        let texts = event.choices.into_iter();
        // The event that names the speaker has an empty one.
        for text in texts
            .filter_map(|choice| choice.delta.content)
            .filter(|text| !text.is_empty())
        {
            if self.text.is_empty() {
                self.first_token = sent.elapsed();
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

/// Reads the stream of a request sent at `sent` to its end; `piece` is shown each piece of text as it arrives.
///
/// # Errors
/// When the connection breaks or an event is no JSON.
pub async fn read(
    mut body: Incoming,
    sent: Instant,
    mut piece: impl FnMut(&str),
) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut open = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the stream broke off")?.into_data() else {
            continue;
        };
        open.extend_from_slice(&data);
        while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            answer.take(String::from_utf8_lossy(&line).trim_end(), sent, &mut piece)?;
        }
    }
    answer.whole = sent.elapsed();
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
            r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"data: {"choices":[{"delta":{"content":"Gra"}}]}"#,
            "",
            r#"data: {"choices":[{"delta":{"content":"vity"}}]}"#,
            r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            "data: [DONE]",
        ]);
        let usage = Usage {
            prompt_tokens: 9,
            completion_tokens: 2,
        };
        assert_eq!((whole.text.as_str(), whole.usage), ("Gravity", usage));
        assert_eq!(whole.flaw(), "");
    }

    #[test]
    fn the_first_token_is_not_the_event_that_names_the_speaker() {
        let sent = Instant::now()
            .checked_sub(Duration::from_secs(5))
            .unwrap_or_else(Instant::now);
        let mut answer = Answer::default();
        let mut take = |line| answer.take(line, sent, &mut |_| ()).unwrap();
        take(r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#);
        assert_eq!(answer.first_token, Duration::ZERO);
    }

    #[test]
    fn the_rate_is_that_of_the_tokens_after_the_first() {
        let answer = Answer {
            first_token: Duration::from_millis(500),
            whole: Duration::from_millis(1500),
            usage: Usage {
                prompt_tokens: 9,
                completion_tokens: 61,
            },
            ..Answer::default()
        };
        assert!((answer.tokens_per_second() - 60.0).abs() < 1e-9);
    }

    #[test]
    fn a_stream_that_ends_with_an_error_or_without_its_end_is_not_whole() {
        let broken = answer(&["event: error", r#"data: {"error":{"type":"broken"}}"#]);
        assert!(broken.flaw().contains("broken"));
        assert!(answer(&[]).flaw().contains("0 times"));
    }
}
