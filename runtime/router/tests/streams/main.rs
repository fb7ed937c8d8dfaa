//! Streams through the front: what a client sees, and what is counted, when an engine answers well, slowly, or dies. The engines
//! are scripts behind real TLS; the rest is the router's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod engine;
mod fuzz;
mod lab;

use std::time::Duration;

use smallfleet_runtime_core::route::Signal;

use crate::engine::Script;
use crate::lab::Lab;

const CHAT: &str = "/v1/chat/completions";
const PIECE: &str = "data: {\"choices\":[]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
/// Above the threshold of the labs, below the maturity of errors.
const SLOW: Duration = Duration::from_millis(900);

fn stable() -> Script {
    Script::stream()
        .send("data: {\"stable\":true}\n\n")
        .send(DONE)
        .end()
}

#[tokio::test]
async fn a_candidate_that_dies_in_its_stream_ends_it_with_an_error_event_and_no_done() {
    let candidate = Script::stream().send(PIECE).die();
    let lab = Lab::start(stable(), candidate, Signal::FirstToken).await;
    let answer = lab.post(CHAT).await;
    assert_eq!(answer.header("x-smallfleet-arm"), Some("candidate"));
    assert!(answer.complete, "the stream ends as HTTP wants it");
    let rest = answer.body.strip_prefix(PIECE).unwrap();
    assert!(
        rest.starts_with("event: error\ndata: {\"error\":"),
        "{rest}"
    );
    assert!(rest.contains("\"code\":\"engine_broke_off\""), "{rest}");
    assert!(!answer.body.contains("[DONE]"));
    let counts = lab.counts(1).await;
    assert_eq!(counts.candidate_errors, 1);
    assert_eq!(counts.candidate_slow, 0, "its first token was in time");
    assert_eq!(counts.fallbacks, 0);
}

#[tokio::test]
async fn an_old_connection_ends_with_an_answer_that_says_so() {
    let start = |age| Lab::with_age(stable(), stable(), Signal::FirstToken, age);
    let old = start(Duration::ZERO).await.post(CHAT).await;
    assert_eq!(old.header("connection"), Some("close"));
    assert!(old.complete && old.body.ends_with(DONE));
    let young = start(Duration::from_secs(60)).await.post(CHAT).await;
    assert_eq!(young.header("connection"), None);
}

#[tokio::test]
async fn a_candidate_that_dies_in_an_event_does_not_spoil_the_error() {
    let candidate = Script::stream().send("data: {\"cho").die();
    let lab = Lab::start(stable(), candidate, Signal::FirstToken).await;
    let answer = lab.post(CHAT).await;
    assert!(
        answer.body.starts_with("data: {\"cho\n\nevent: error\n"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_candidate_that_dies_before_its_first_byte_is_answered_for_by_stable() {
    for candidate in [Script::nothing().die(), Script::stream().die()] {
        let lab = Lab::start(stable(), candidate, Signal::FirstToken).await;
        let answer = lab.post(CHAT).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-smallfleet-arm"), Some("stable"));
        assert_eq!(answer.header("x-smallfleet-fallback"), Some("true"));
        assert_eq!(answer.body, format!("data: {{\"stable\":true}}\n\n{DONE}"));
        let counts = lab.counts(1).await;
        assert_eq!((counts.candidate_errors, counts.candidate_slow), (1, 1));
        assert_eq!(counts.fallbacks, 1);
    }
}

#[tokio::test]
async fn the_first_token_is_timed_to_the_first_byte_of_the_content() {
    let prompt = || Script::stream().send(PIECE).wait(SLOW).send(DONE).end();
    let late = || Script::stream().wait(SLOW).send(PIECE).send(DONE).end();
    for (candidate, signal, slow) in [
        (prompt(), Signal::FirstToken, 0),
        (late(), Signal::FirstToken, 1),
        (prompt(), Signal::Total, 1),
    ] {
        let lab = Lab::start(stable(), candidate, signal).await;
        let answer = lab.post(CHAT).await;
        assert_eq!(answer.body, format!("{PIECE}{DONE}"));
        let counts = lab.counts(1).await;
        assert_eq!(counts.candidate_slow, slow, "{signal:?}");
        assert_eq!(counts.candidate_errors, 0);
    }
}

#[tokio::test]
async fn a_stream_that_ends_politely_without_done_is_an_error() {
    let candidate = Script::stream()
        .send(PIECE)
        .send("event: error\ndata: {\"error\":{}}\n\n")
        .end();
    let lab = Lab::start(stable(), candidate, Signal::FirstToken).await;
    let answer = lab.post(CHAT).await;
    assert!(answer.complete && answer.body.ends_with("{\"error\":{}}\n\n"));
    assert_eq!(lab.counts(1).await.candidate_errors, 1);
}

#[tokio::test]
async fn another_answer_that_breaks_off_breaks_the_connection() {
    let candidate = Script::whole("application/json", 100).send_raw("{").die();
    let lab = Lab::start(stable(), candidate, Signal::Total).await;
    let answer = lab.post("/v1/classify").await;
    assert!(!answer.complete);
    assert_eq!(answer.body, "{");
}
