//! From the first byte of engine.json to the last byte of the last answer.

use hyper::StatusCode;
use serde_json::json;
use smallfleet_engine::{Engine, EngineState, Phase, node_class};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, TestEngine, config, fixture};

#[tokio::test]
async fn an_engine_says_that_it_starts_before_it_serves() {
    let run_dir = tempfile::tempdir().unwrap();
    let engine = Engine::bind(config(&fixture().join("model"), run_dir.path()))
        .await
        .unwrap();
    let state = EngineState::read(run_dir.path()).unwrap().unwrap();
    assert_eq!(
        (state.state, state.failure, state.node_class),
        (Phase::Starting, None, node_class())
    );
    drop(engine);
}

#[tokio::test]
async fn probes_are_answered_while_the_model_loads() {
    let run_dir = tempfile::tempdir().unwrap();
    let engine = Engine::bind(config(&fixture().join("model"), run_dir.path()))
        .await
        .unwrap();
    let address = engine.address().unwrap();
    let fingerprint = EngineState::read(run_dir.path())
        .unwrap()
        .unwrap()
        .fingerprint;
    // On this single-threaded runtime the engine accepts before it can have seen that the model is loaded.
    let running = tokio::spawn(engine.run(std::future::pending()));
    let mut client = Client::connect(address, &fingerprint).await;
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
    loop {
        let ready = client.get("/readyz").await;
        let answer = client.post("/v1/classify", r#"{"text": "vote"}"#).await;
        if ready.status == StatusCode::OK {
            assert_eq!(answer.status, StatusCode::OK);
            break;
        }
        assert_eq!(
            (ready.status, ready.error().0.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "starting")
        );
    }
    running.abort();
}

#[tokio::test]
async fn a_stop_lets_the_running_request_finish_and_takes_no_new_one() {
    let engine = TestEngine::start().await;
    let mut idle = engine.client().await;
    idle.get("/healthz").await;
    let working = engine.post_in_background("/v1/classify", json!({"text": "slow ".repeat(8)}));
    // Queue time is booked when the engine thread has taken the request.
    engine
        .wait_for_metric(r#"smallfleet_engine_stage_seconds_count{stage="queue"} 1"#)
        .await;
    engine.stop.send(()).unwrap();
    let answer = working.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    engine.ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(engine.address).await.is_err());
}

#[tokio::test]
async fn plain_http_and_garbage_are_hung_up_on() {
    let engine = TestEngine::start().await;
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n".as_slice(),
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(engine.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"));
    }
    assert_eq!(
        engine.client().await.get("/readyz").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn two_engines_have_two_keys() {
    let (one, other) = (TestEngine::start().await, TestEngine::start().await);
    assert_ne!(one.state.fingerprint, other.state.fingerprint);
    assert_ne!(one.state.instance, other.state.instance);
}

#[tokio::test]
async fn a_taken_port_is_said_plainly() {
    let engine = TestEngine::start().await;
    let run_dir = tempfile::tempdir().unwrap();
    let mut config = config(&fixture().join("model"), run_dir.path());
    config.listen = engine.address;
    let error = Engine::bind(config).await.err().unwrap();
    assert!(
        error.to_string().contains("SMALLFLEET_ENGINE_LISTEN"),
        "{error}"
    );
}
