//! What happens when there is too much: of requests, of bytes, of time. `slow` keeps the fixture's model busy for real.

use hyper::{Request, StatusCode};
use serde_json::json;
use std::num::NonZeroUsize;

use crate::support::TestEngine;

const CLASSIFY: &str = "/v1/classify";

/// About a second of one core.
fn slow() -> serde_json::Value {
    json!({"text": "slow ".repeat(8)})
}

fn one_at_a_time(config: &mut smallfleet_engine::Config) {
    config.max_concurrent_requests = NonZeroUsize::MIN;
    config.max_queued_requests = 1;
}

#[tokio::test]
async fn one_request_more_than_the_queue_holds_is_told_to_come_back() {
    let engine = TestEngine::start_with(one_at_a_time).await;
    let working = engine.post_in_background(CLASSIFY, slow());
    let waiting = engine.post_in_background(CLASSIFY, json!({"text": "vote"}));
    engine
        .wait_for_metric("smallfleet_engine_queue_length 1")
        .await;
    let mut client = engine.client().await;
    let refused = client.post(CLASSIFY, r#"{"text": "vote"}"#).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.error().0, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Probes are not behind the queue, and those who waited are served.
    assert_eq!(client.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(working.await.unwrap().status, StatusCode::OK);
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let engine = TestEngine::start_with(one_at_a_time).await;
    let working = engine.post_in_background(CLASSIFY, slow());
    let leaving = engine.post_in_background(CLASSIFY, json!({"text": "vote"}));
    engine
        .wait_for_metric("smallfleet_engine_queue_length 1")
        .await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    engine
        .wait_for_metric("smallfleet_engine_queue_length 0")
        .await;
    assert_eq!(working.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_late_answer_is_a_504_and_the_next_request_is_served() {
    let engine = TestEngine::start_with(|config| {
        one_at_a_time(config);
        config.max_request_seconds = 1;
    })
    .await;
    let mut client = engine.client().await;
    let late = client
        .post(
            CLASSIFY,
            &json!({"texts": vec!["slow ".repeat(14); 2]}).to_string(),
        )
        .await;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    let (kind, message) = late.error();
    assert_eq!(kind, "deadline_exceeded");
    assert!(message.contains("within 1 s"), "{message}");
    // The run itself cannot be taken back, but nobody waits for it in the queue.
    loop {
        let answer = client.post(CLASSIFY, r#"{"text": "vote"}"#).await;
        if answer.status == StatusCode::OK {
            break;
        }
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    }
    assert_eq!(client.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_engine_stuck_in_one_run_is_not_ready_and_then_restarted() {
    let engine = TestEngine::start_with(|config| config.max_request_seconds = 1).await;
    let mut client = engine.client().await;
    let late = client
        .post(
            CLASSIFY,
            &json!({"texts": vec!["slow ".repeat(14); 2]}).to_string(),
        )
        .await;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    loop {
        let answer = client.get("/readyz").await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.error().0, "stuck");
            break;
        }
    }
    // Its run may end in time; what hangs for longer is for the kubelet to end.
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
    loop {
        let answer = client.get("/healthz").await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.error().0, "stuck");
            break;
        }
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let engine = TestEngine::start().await;
    let large = json!({"text": "x".repeat(1 << 20)}).to_string();
    let answer = engine.client().await.post(CLASSIFY, &large).await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
    );
    // A body at the limit is read.
    let most = json!({"text": "x".repeat((1 << 20) - r#"{"text":""}"#.len())}).to_string();
    assert_eq!(most.len(), 1 << 20);
    assert_eq!(
        engine.client().await.post(CLASSIFY, &most).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_model_that_answers_nonsense_fails_that_request_only() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let answer = client.post(CLASSIFY, r#"{"text": "broken"}"#).await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "model_failed")
    );
    assert_eq!(
        client.post(CLASSIFY, r#"{"text": "vote"}"#).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn many_clients_at_once_all_get_their_own_answer() {
    let engine = TestEngine::start_with(|config| config.max_queued_requests = 200).await;
    let words = [
        ("bank", "business"),
        ("vote", "politics"),
        ("goal team match", "sport"),
    ];
    let requests: Vec<_> = (0..150)
        .map(|number| {
            let (text, label) = words[number % words.len()];
            (
                label,
                engine.post_in_background(CLASSIFY, json!({"text": text})),
            )
        })
        .collect();
    for (label, request) in requests {
        assert_eq!(request.await.unwrap().json()["label"], label);
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let engine = TestEngine::start().await;
    let request = Request::get("/healthz").header("x-filler", "x".repeat(64 << 10));
    let answer = engine.client().await.send(request, "").await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}
