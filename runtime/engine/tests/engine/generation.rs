//! Chat and completions over the fixture's decoder; what it says can be read off its words (fixture/make_generator.py).

use hyper::StatusCode;
use serde_json::{Value, json};
use smallfleet_engine::{Config, Task};

use crate::support::{Answer, TestEngine, fixture};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

pub fn generator(config: &mut Config) {
    config.model_dir = fixture().join("generator");
    config.task = Task::TextGeneration;
}

async fn start() -> TestEngine {
    TestEngine::start_with(generator).await
}

/// A chat request whose last word decides the answer.
fn chat(content: &str, more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": content}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn ask(engine: &TestEngine, content: &str, more: Value) -> Answer {
    let mut client = engine.client().await;
    client.post(CHAT, &chat(content, &more).to_string()).await
}

fn content(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let content = answer.json()["choices"][0]["message"]["content"].clone();
    content.as_str().unwrap().to_owned()
}

/// The data of each event of a stream.
fn events(answer: &Answer) -> Vec<String> {
    let events = answer.text().split_terminator("\n\n");
    let data = |event: &str| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        data.unwrap().to_owned()
    };
    events.map(data).collect()
}

/// What a stream says, put together.
fn streamed(answer: &Answer) -> String {
    let pieces = events(answer).into_iter().filter(|data| data != "[DONE]");
    let piece = |data: String| {
        let chunk: Value = serde_json::from_str(&data).unwrap();
        let content = chunk["choices"][0]["delta"]["content"].as_str();
        content.unwrap_or_default().to_owned()
    };
    pieces.map(piece).collect()
}

#[tokio::test]
async fn a_chat_is_answered_whole() {
    let engine = start().await;
    let answer = ask(&engine, "count one", json!({"model": "intent"})).await;
    assert_eq!(
        content(&answer),
        "two three four five six seven eight nine ten"
    );
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "intent");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13})
    );
    assert!(answer.header("x-smallfleet-revision").is_some());
}

#[tokio::test]
async fn a_chat_is_streamed_word_by_word_and_ends_with_done() {
    let engine = start().await;
    let answer = ask(&engine, "count seven", json!({"stream": true})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(streamed(&answer), "eight nine ten");
    let events = events(&answer);
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    // Role, three words, the end.
    assert_eq!(chunks.len(), 5);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "eight");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert!(chunk.get("usage").is_none());
    }
}

#[tokio::test]
async fn a_stream_tells_its_usage_when_it_is_asked() {
    let engine = start().await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = events(&ask(&engine, "nine", more).await);
    let chunk = |index: usize| -> Value { serde_json::from_str(&events[index]).unwrap() };
    assert_eq!(chunk(0)["usage"], Value::Null);
    let last = chunk(events.len() - 2);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn an_answer_ends_at_its_most_tokens_and_at_a_stop_text() {
    let engine = start().await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer = ask(&engine, "one", json!({name: 3})).await;
        assert_eq!(content(&answer), "two three four");
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
        assert_eq!(answer.json()["usage"]["completion_tokens"], 3);
    }
    for stop in [json!(" five"), json!(["ten", " five six"])] {
        let answer = ask(&engine, "one", json!({"stop": stop, "stream": true})).await;
        assert_eq!(streamed(&answer), "two three four");
        assert!(answer.text().contains(r#""finish_reason":"stop""#));
    }
}

#[tokio::test]
async fn a_prompt_of_several_chunks_is_remembered_from_its_first_word() {
    let engine = start().await;
    for color in ["red", "blue"] {
        let prompt = format!("{color} {}recall", "count ".repeat(130));
        assert_eq!(content(&ask(&engine, &prompt, json!({})).await), color);
    }
}

#[tokio::test]
async fn answers_at_the_same_time_do_not_mix() {
    let engine = start().await;
    let asked: Vec<_> = (0..16)
        .map(|index| {
            let color = ["red", "blue"][index % 2];
            let body = chat(
                &format!("{color} {}recall", "count ".repeat(5 * index)),
                &json!({}),
            );
            (color, engine.post_in_background(CHAT, body))
        })
        .collect();
    for (color, answer) in asked {
        assert_eq!(content(&answer.await.unwrap()), color);
    }
}

#[tokio::test]
async fn a_seed_repeats_an_answer_and_temperature_0_is_the_most_probable_one() {
    let engine = start().await;
    let mut first_words = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let more = json!({"temperature": 1.0, "seed": seed, "max_tokens": 1});
        let answer = content(&ask(&engine, "dice", more.clone()).await);
        assert_eq!(content(&ask(&engine, "dice", more).await), answer);
        first_words.insert(answer);
    }
    assert!(first_words.len() > 1, "{first_words:?}");
    let greedy = ask(&engine, "dice", json!({"temperature": 0, "max_tokens": 1})).await;
    assert_eq!(content(&greedy), "one");
}

#[tokio::test]
async fn a_completion_goes_on_with_its_prompt() {
    let engine = start().await;
    let mut client = engine.client().await;
    let body = json!({"prompt": "seven", "max_tokens": 2});
    let answer = client.post(COMPLETIONS, &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["choices"][0]["text"], "eight nine");
    let body = json!({"prompt": "nine", "stream": true});
    let answer = client.post(COMPLETIONS, &body.to_string()).await;
    assert!(
        answer.text().contains(r#""text":"ten""#),
        "{}",
        answer.text()
    );
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_model_that_fails_in_a_stream_ends_it_with_an_error_event_and_no_done() {
    let engine = start().await;
    let answer = ask(&engine, "fail", json!({"stream": true})).await;
    assert!(streamed(&answer).starts_with("soon"), "{}", answer.text());
    let last = answer.text().trim_end().rsplit("\n\n").next().unwrap();
    assert!(
        last.starts_with("event: error\ndata: {\"error\":"),
        "{last}"
    );
    assert!(last.contains(r#""code":"model_failed""#), "{last}");
    assert!(!answer.text().contains("[DONE]"));
    let whole = ask(&engine, "fail", json!({})).await;
    assert_eq!(whole.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(whole.json()["error"]["type"], "server_error");
    // Before the first word there is still a status to say it with.
    let early = ask(&engine, "broken", json!({"stream": true})).await;
    assert_eq!(early.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(content(&ask(&engine, "nine", json!({})).await), "ten");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let engine = TestEngine::start_with(|config| {
        generator(config);
        config.max_concurrent_requests = std::num::NonZeroUsize::MIN;
        config.max_queued_requests = 0;
    })
    .await;
    let body = chat("loop", &json!({"max_tokens": 100, "stream": true}));
    let endless = chat("slow", &json!({"max_tokens": 100, "stream": true}));
    let leaving = engine.post_in_background(CHAT, endless);
    let full = r#"smallfleet_engine_requests_total{code="200",endpoint="chat"} 1"#;
    engine.wait_for_metric(full).await;
    let refused = ask(&engine, "one", json!({})).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    leaving.abort();
    let mut client = engine.client().await;
    while client.post(CHAT, &body.to_string()).await.status != StatusCode::OK {}
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_ended_in_its_own_way() {
    let engine = TestEngine::start_with(|config| {
        generator(config);
        config.max_request_seconds = 1;
    })
    .await;
    let whole = ask(&engine, "slow", json!({"max_tokens": 100})).await;
    assert_eq!(whole.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(whole.json()["error"]["code"], "deadline_exceeded");
    let answer = ask(&engine, "slow", json!({"max_tokens": 100, "stream": true})).await;
    if answer.status == StatusCode::OK {
        assert!(answer.text().contains(r#""code":"deadline_exceeded""#));
        assert!(!answer.text().contains("[DONE]"));
    } else {
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    }
}

#[tokio::test]
async fn what_would_change_the_answer_is_honoured_or_refused() {
    let engine = start().await;
    let long = "count ".repeat(200);
    let huge = "count ".repeat(4_000);
    for (body, status, code, param) in [
        (
            chat("one", &json!({"model": "gpt-4"})),
            404,
            "model_not_found",
            "model",
        ),
        (
            chat("one", &json!({"n": 2})),
            400,
            "unsupported_parameter",
            "n",
        ),
        (
            chat("one", &json!({"tools": [{}]})),
            400,
            "unsupported_parameter",
            "tools",
        ),
        (
            chat("one", &json!({"logprobs": true})),
            400,
            "unsupported_parameter",
            "logprobs",
        ),
        (
            chat("one", &json!({"frequency_penalty": 0.5})),
            400,
            "unsupported_parameter",
            "frequency_penalty",
        ),
        (
            chat("one", &json!({"response_format": {"type": "json_object"}})),
            400,
            "unsupported_parameter",
            "response_format",
        ),
        (
            chat("one", &json!({"temprature": 1})),
            400,
            "unsupported_parameter",
            "temprature",
        ),
        (
            chat("one", &json!({"temperature": 3})),
            400,
            "invalid_value",
            "temperature",
        ),
        (
            chat("one", &json!({"top_p": "much"})),
            400,
            "invalid_value",
            "top_p",
        ),
        (
            chat("one", &json!({"max_tokens": 0})),
            400,
            "invalid_value",
            "max_tokens",
        ),
        (
            chat("one", &json!({"max_tokens": 1, "max_completion_tokens": 2})),
            400,
            "invalid_value",
            "max_tokens",
        ),
        (
            chat("one", &json!({"stop": ["a", "b", "c", "d", "e"]})),
            400,
            "invalid_value",
            "stop",
        ),
        (
            chat("one", &json!({"stream_options": {}})),
            400,
            "invalid_value",
            "stream_options",
        ),
        (
            chat("one", &json!({"max_tokens": 1000})),
            400,
            "context_length_exceeded",
            "messages",
        ),
        (
            chat(&long, &json!({})),
            400,
            "context_length_exceeded",
            "messages",
        ),
        (
            chat(&huge, &json!({"stream": true})),
            400,
            "context_length_exceeded",
            "messages",
        ),
        (json!({"messages": []}), 400, "invalid_value", "messages"),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            400,
            "invalid_value",
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            400,
            "invalid_value",
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "name": "bob"}]}),
            400,
            "unsupported_parameter",
            "messages[0].name",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            400,
            "invalid_value",
            "messages[0].content",
        ),
        // The fixture's template takes no assistant first.
        (
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
            400,
            "invalid_value",
            "messages",
        ),
    ] {
        let mut client = engine.client().await;
        let answer = client.post(CHAT, &body.to_string()).await;
        let error = answer.json()["error"].clone();
        let got = (
            answer.status.as_u16(),
            error["code"].as_str(),
            error["param"].as_str(),
        );
        assert_eq!(got, (status, Some(code), Some(param)), "{body} {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().len() > 10);
    }
}

#[tokio::test]
async fn values_that_say_what_is_done_anyway_are_taken() {
    let engine = start().await;
    let more = json!({
        "n": 1, "user": "bob", "tools": [], "logit_bias": {}, "presence_penalty": 0.0, "logprobs": null, "top_p": 0.5,
        "response_format": {"type": "text"}, "store": false, "metadata": {"a": "b"}, "stop": null,
    });
    assert_eq!(content(&ask(&engine, "nine", more).await), "ten");
    let body = json!({"messages": [
        {"role": "developer", "content": "count"},
        {"role": "assistant", "content": "one", "tool_calls": [], "refusal": null},
        {"role": "user", "content": [{"type": "text", "text": "eight"}, {"type": "text", "text": "nine"}]},
    ]});
    let answer = engine.client().await.post(CHAT, &body.to_string()).await;
    assert_eq!(content(&answer), "ten");
}

#[tokio::test]
async fn paths_of_another_task_say_so() {
    let engine = start().await;
    let mut client = engine.client().await;
    for path in ["/v1/classify", "/v1/embeddings", "/v2/models/intent/infer"] {
        let answer = client.post(path, "{}").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(
            answer.text().contains("POST /v1/chat/completions"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        client.get(CHAT).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        client.get("/v1/models").await.json()["data"][0]["id"],
        "intent"
    );
}

#[tokio::test]
async fn tokens_and_the_time_to_the_first_are_measured() {
    let engine = start().await;
    ask(&engine, "nine", json!({})).await;
    for line in [
        r#"smallfleet_engine_tokens_total{kind="prompt"} 2"#,
        r#"smallfleet_engine_tokens_total{kind="answer"} 2"#,
        r#"smallfleet_engine_stage_seconds_count{stage="first_token"} 1"#,
    ] {
        engine.wait_for_metric(line).await;
    }
}
