//! Bodies that no client should send: each is answered, or refused with a typed error, and the next client is served.

use std::time::Duration;

use hyper::{Request, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use smallfleet_engine::Config;

use crate::generation::generator;
use crate::spoil::{odd, place, replace};
use crate::support::{Answer, TestEngine};

/// A request that is not answered within this time hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A body and its path.
type Sent<T> = (&'static str, T);

/// Bodies about a text: answered, where the text can be.
fn classifications(text: &str) -> Vec<Sent<Value>> {
    let tensor =
        json!({"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a goal", text]});
    let nested = json!({"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [[text]]});
    let outputs = json!([{"name": "label"}]);
    let infer = "/v2/models/intent/infer";
    vec![
        ("/v1/classify", json!({"text": text})),
        ("/v1/classify", json!({"texts": [text, "a chip"]})),
        (
            infer,
            json!({"id": "1", "inputs": [tensor], "outputs": outputs}),
        ),
        (infer, json!({"inputs": [nested], "parameters": {}})),
    ]
}

/// Answered as they are.
fn generations(text: &str) -> Vec<Sent<Value>> {
    let messages = json!([
        {"role": "system", "content": "count"},
        {"role": "user", "content": [{"type": "text", "text": text}]},
    ]);
    let sampled =
        json!({"messages": messages, "temperature": 2, "top_p": 0.5, "seed": 1, "max_tokens": 5});
    let streamed =
        json!({"messages": messages, "stream": true, "stream_options": {"include_usage": true}});
    let (chat, completion) = ("/v1/chat/completions", "/v1/completions");
    vec![
        (chat, sampled),
        (chat, streamed),
        (
            chat,
            json!({"messages": messages, "n": 1, "tools": [], "model": "intent"}),
        ),
        (
            completion,
            json!({"prompt": text, "max_completion_tokens": 5, "stop": [" four"]}),
        ),
        (
            completion,
            json!({"prompt": text, "stream": true, "echo": false}),
        ),
    ]
}

/// Words that the generator knows among them, more than fit.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        any::<String>(),
        "(count |one |red |recall ){1,200}",
        Just("é".repeat(100_000)),
    ]
}

/// A parameter that clients send, with a value that one of them takes.
fn parameter() -> impl Strategy<Value = (&'static str, Value)> {
    let names = [
        "max_tokens",
        "top_p",
        "seed",
        "stop",
        "stream",
        "n",
        "logprobs",
        "echo",
        "user",
        "model",
        "tools",
        "id",
        "outputs",
    ];
    let values = json!([
        null,
        true,
        false,
        0,
        1,
        -1,
        3,
        0.5,
        200,
        u64::MAX,
        "",
        " four",
        "intent",
        [],
        {},
        ["", "a"],
    ]);
    let values = values.as_array().unwrap().clone();
    (
        prop::sample::select(names.to_vec()),
        prop::sample::select(values),
    )
}

fn changed((path, mut body): Sent<Value>, changes: Vec<(f64, Value)>) -> Sent<Vec<u8>> {
    for (at, value) in changes {
        replace(&mut body, at, value);
    }
    (path, body.to_string().into_bytes())
}

/// Cut, or with another byte.
fn damaged((path, body): Sent<Value>, at: f64, byte: Option<u8>) -> Sent<Vec<u8>> {
    let mut bytes = body.to_string().into_bytes();
    let place = place(bytes.len(), at);
    match byte {
        Some(byte) => bytes[place] = byte,
        None => bytes.truncate(place),
    }
    (path, bytes)
}

fn good(about: fn(&str) -> Vec<Sent<Value>>) -> BoxedStrategy<Sent<Value>> {
    let about = move |text: String| prop::sample::select(about(&text));
    let parameters = prop::collection::vec(parameter(), 0..2);
    let good = (texts().prop_flat_map(about), parameters);
    let with_parameters = good.prop_map(|((path, mut body), parameters)| {
        for (name, value) in parameters {
            body[name] = value;
        }
        (path, body)
    });
    with_parameters.boxed()
}

/// Whatever clients send.
fn bodies(about: fn(&str) -> Vec<Sent<Value>>) -> impl Strategy<Value = Sent<Vec<u8>>> {
    let good = good(about);
    let changes = prop::collection::vec((0.0..1.0, odd()), 0..2);
    let damage = (0.0..1.0, prop::option::of(any::<u8>()));
    let other = prop_oneof![
        odd().prop_map(|value| value.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
        Just(br#"{"a":"#.repeat(100_000)),
    ];
    prop_oneof![
        6 => (good.clone(), changes).prop_map(|(good, changes)| changed(good, changes)),
        2 => (good.clone(), damage).prop_map(|(good, (at, byte))| damaged(good, at, byte)),
        1 => (good, other).prop_map(|((path, _), bytes)| (path, bytes)),
    ]
}

async fn ask(engine: &TestEngine, (path, body): Sent<Vec<u8>>) -> Answer {
    let exchange = async {
        let mut client = engine.client().await;
        client.send(Request::post(path), body).await
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    answer.expect("a request hangs")
}

/// A whole answer, or an error in the form of its protocol. The fixture has a word that makes it fail, which may be sampled.
fn is_fit(path: &str, answer: &Answer) -> bool {
    if answer.text().contains("\"model_failed\"") {
        return true;
    }
    if answer.header("content-type") == Some("text/event-stream") {
        return answer.text().ends_with("data: [DONE]\n\n");
    }
    let error = &answer.json()["error"];
    if answer.status == StatusCode::OK {
        return error.is_null();
    }
    let message = if path.starts_with("/v2") {
        error
    } else {
        &error["message"]
    };
    let typed = path.starts_with("/v2") || error["type"].is_string();
    answer.status.is_client_error() && typed && message.as_str().is_some_and(|it| it.len() > 10)
}

/// As many requests as PROPTEST_CASES says.
fn no_body_breaks(adjust: fn(&mut Config), about: fn(&str) -> Vec<Sent<Value>>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(TestEngine::start_with(adjust));
    let mut runner = TestRunner::default();
    let outcome = runner.run(&bodies(about), |(path, body)| {
        let answer = runtime.block_on(ask(&engine, (path, body)));
        prop_assert!(is_fit(path, &answer), "{} {}", answer.status, answer.text());
        Ok(())
    });
    outcome.unwrap();
    for (path, body) in about("one") {
        let body = body.to_string().into_bytes();
        let answer = runtime.block_on(ask(&engine, (path, body)));
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(is_fit(path, &answer), "{}", answer.text());
    }
    assert!(!engine.ended.is_finished());
}

#[test]
fn no_body_breaks_a_classifier() {
    no_body_breaks(|_| {}, classifications);
}

#[test]
fn no_body_breaks_a_generator() {
    no_body_breaks(generator, generations);
}
