//! What clients see: answers, headers and errors of every protocol.

use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{MODEL_NAME, REVISION, TestEngine};

const INFER: &str = "/v2/models/intent/infer";

fn infer_request(texts: &[&str]) -> Value {
    json!({"inputs": [{"name": "text", "shape": [texts.len()], "datatype": "BYTES", "data": texts}]})
}

fn near(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() < 0.001
}

#[tokio::test]
async fn one_text_gets_one_classification() {
    let engine = TestEngine::start().await;
    let answer = engine
        .client()
        .await
        .post("/v1/classify", r#"{"text": "The Bank"}"#)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!(body["label"], "business");
    assert!(near(&body["score"], 0.787), "{body}");
    let labels: Vec<_> = body["scores"].as_object().unwrap().keys().collect();
    assert_eq!(labels, ["business", "politics", "sport"]);
    assert!(near(&body["scores"]["sport"], 0.1065), "{body}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-smallfleet-revision"), Some(REVISION));
    assert_eq!(answer.header("x-smallfleet-confidence"), Some("0.7870"));
    assert_eq!(answer.header("x-smallfleet-truncated"), None);
}

#[tokio::test]
async fn several_texts_get_answers_in_their_order_and_the_smallest_confidence() {
    let engine = TestEngine::start().await;
    let texts = [
        "team match goal",
        "vote",
        "bank bank bank shares profit",
        "team",
        "minister party",
    ];
    let body = json!({"texts": texts}).to_string();
    let answer = engine.client().await.post("/v1/classify", &body).await;
    let results = answer.json()["results"].clone();
    let labels: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["label"].as_str().unwrap())
        .collect();
    assert_eq!(
        labels,
        ["sport", "politics", "business", "sport", "politics"]
    );
    assert_eq!(answer.header("x-smallfleet-confidence"), Some("0.7870"));
}

#[tokio::test]
async fn a_list_of_one_is_answered_with_a_list() {
    let engine = TestEngine::start().await;
    let answer = engine
        .client()
        .await
        .post("/v1/classify", r#"{"texts": ["vote"]}"#)
        .await;
    assert_eq!(answer.json()["results"][0]["label"], "politics");
}

#[tokio::test]
async fn a_text_longer_than_the_model_reads_is_cut_and_says_so() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let fits = format!("vote{}", " filler".repeat(13));
    let answer = client
        .post("/v1/classify", &json!({"text": fits}).to_string())
        .await;
    assert_eq!(answer.header("x-smallfleet-truncated"), None);
    for length in [14, 10_000] {
        let long = format!("vote{} goal goal", " filler".repeat(length));
        let answer = client
            .post(
                "/v1/classify",
                &json!({"texts": ["bank", long]}).to_string(),
            )
            .await;
        assert_eq!(answer.json()["results"][1]["label"], "politics");
        assert_eq!(answer.header("x-smallfleet-truncated"), Some("true"));
    }
}

#[tokio::test]
async fn bad_requests_are_told_what_to_send() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let many = json!({"texts": vec!["vote"; 65]}).to_string();
    let cases: [(&[u8], &str); 12] = [
        (b"", "EOF"),
        (b"{\"text\": ", "EOF"),
        (br#"["vote", null]"#, "not an object"),
        (b"{}", "exactly one of text and texts"),
        (
            br#"{"text": "a", "texts": ["b"]}"#,
            "exactly one of text and texts",
        ),
        (br#"{"text": 5}"#, "expected a string"),
        (
            br#"{"text": "a", "temperature": 1}"#,
            "unknown field `temperature`",
        ),
        (br#"{"text": "  \n "}"#, "text is empty"),
        (br#"{"texts": ["a", ""]}"#, "text 2 is empty"),
        (br#"{"texts": []}"#, "no text"),
        (br#"{"text": "a\u0000b"}"#, "NUL"),
        (b"{\"text\": \"\xff\xfe\"}", "invalid unicode"),
    ];
    for (body, words) in cases.into_iter().chain([(many.as_bytes(), "at most 64")]) {
        let answer = client
            .send(Request::post("/v1/classify"), body.to_vec())
            .await;
        let (kind, message) = answer.error();
        assert_eq!(
            (answer.status, kind.as_str()),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{message}"
        );
        assert!(message.contains(words), "{words:?} is not in {message:?}");
        assert_eq!(answer.header("x-smallfleet-revision"), Some(REVISION));
    }
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let engine = TestEngine::start().await;
    let request = Request::post("/v1/classify").header("content-encoding", "gzip");
    let answer = engine.client().await.send(request, "...").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn inference_protocol_answers_all_outputs() {
    let engine = TestEngine::start().await;
    let mut request = infer_request(&["bank", "goal team"]);
    request["id"] = "request-7".into();
    let answer = engine
        .client()
        .await
        .post(INFER, &request.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["model_name"], MODEL_NAME);
    assert_eq!(body["model_version"], REVISION);
    assert_eq!(body["id"], "request-7");
    assert_eq!(
        body["outputs"][0],
        json!({"name": "label", "shape": [2], "datatype": "BYTES", "data": ["business", "sport"]})
    );
    assert_eq!(body["outputs"][1]["shape"], json!([2]));
    assert!(near(&body["outputs"][1]["data"][0], 0.787));
    assert_eq!(body["outputs"][2]["shape"], json!([2, 3]));
    assert_eq!(body["outputs"][2]["data"].as_array().unwrap().len(), 6);
    assert_eq!(answer.header("x-smallfleet-confidence"), Some("0.7870"));
}

#[tokio::test]
async fn inference_protocol_honours_shape_and_requested_outputs() {
    let engine = TestEngine::start().await;
    let request = json!({
        "inputs": [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["vote"], ["goal"]]}],
        "outputs": [{"name": "scores"}, {"name": "label", "parameters": {}}],
    });
    let path = format!("/v2/models/intent/versions/{REVISION}/infer");
    let body = engine
        .client()
        .await
        .post(&path, &request.to_string())
        .await
        .json();
    let names: Vec<_> = body["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["scores", "label"]);
    assert_eq!(body["outputs"][1]["data"], json!(["politics", "sport"]));
    assert_eq!(body.get("id"), None);
}

#[tokio::test]
async fn inference_protocol_refuses_what_it_does_not_do() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let with = |path: &str, value: Value| {
        let mut request = infer_request(&["vote"]);
        *request.pointer_mut(path).unwrap() = value;
        request
    };
    let mut unknown_output = infer_request(&["vote"]);
    unknown_output["outputs"] = json!([{"name": "embedding"}]);
    let mut binary = infer_request(&["vote"]);
    binary["parameters"] = json!({"binary_data_output": true});
    let cases = [
        (with("/inputs/0/name", "image".into()), "called text"),
        (with("/inputs/0/datatype", "FP32".into()), "BYTES"),
        (with("/inputs/0/shape", json!([3])), "shape"),
        (with("/inputs/0/shape", json!([1, 2])), "shape"),
        (with("/inputs/0/data", json!([1.5])), "array of strings"),
        (with("/inputs", json!([])), "exactly one input"),
        (unknown_output, "embedding"),
        (binary, "parameters"),
        (json!({}), "missing field `inputs`"),
    ];
    let deep = format!(r#"{{"parameters": {{"a": {}"#, "[".repeat(100_000));
    let cases = cases.map(|(request, words)| (request.to_string(), words));
    for (request, words) in cases.into_iter().chain([(deep, "recursion limit")]) {
        let answer = client.post(INFER, &request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let message = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{words:?} is not in {message:?}");
    }
}

#[tokio::test]
async fn inference_protocol_describes_server_and_model() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    assert_eq!(client.get("/v2").await.json()["name"], "smallfleet");
    assert_eq!(
        client.get("/v2/health/live").await.json(),
        json!({"live": true})
    );
    assert_eq!(
        client.get("/v2/health/ready").await.json(),
        json!({"ready": true})
    );
    let ready = client.get("/v2/models/intent/ready").await.json();
    assert_eq!(ready, json!({"name": "intent", "ready": true}));
    for path in ["/v2/models/intent", "/v2/models/intent/versions/b7f2c9d1e0"] {
        let metadata = client.get(path).await.json();
        assert_eq!(metadata["versions"], json!([REVISION]));
        assert_eq!(
            metadata["outputs"][2],
            json!({"name": "scores", "datatype": "FP32", "shape": [-1, 3]})
        );
    }
}

#[tokio::test]
async fn unknown_models_and_versions_are_not_found() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let request = infer_request(&["vote"]).to_string();
    for path in [
        "/v2/models/other/infer",
        "/v2/models/intent/versions/1/infer",
        "/v2/models/%ff/infer",
        "/v2/modelz",
    ] {
        let answer = client.post(path, &request).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(
            answer.json()["error"].as_str().unwrap().contains("intent"),
            "{path}"
        );
    }
    for path in [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/intent/versions/1",
    ] {
        assert_eq!(
            client.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let answer = client.get("/v1/models/other").await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
}

#[tokio::test]
async fn endpoints_of_other_tasks_name_the_right_one() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
        let answer = client.post(path, r#"{"model": "intent"}"#).await;
        let (kind, message) = answer.error();
        assert_eq!(
            (answer.status, kind.as_str()),
            (StatusCode::NOT_FOUND, "wrong_task")
        );
        assert!(
            message.contains("TextClassification") && message.contains("/v1/classify"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_list_of_models_has_the_one() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    let list = client.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL_NAME);
    assert_eq!(
        client.get("/v1/models/intent").await.json(),
        list["data"][0]
    );
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_the_right_ones() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    for (path, allowed) in [("/v1/classify", "POST"), (INFER, "POST")] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, Some(allowed))
        );
        assert!(
            answer.text().contains("called with POST"),
            "{}",
            answer.text()
        );
    }
    for path in [
        "/v1/models",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v2",
        "/v2/health/live",
        "/v2/models/intent",
    ] {
        let answer = client.post(path, "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, Some("GET")),
            "{path}"
        );
    }
    let (kind, message) = client.get("/predict").await.error();
    assert_eq!(kind, "not_found");
    assert!(message.contains("POST /v1/classify"), "{message}");
}

#[tokio::test]
async fn metrics_count_requests_and_time() {
    let engine = TestEngine::start().await;
    let mut client = engine.client().await;
    client
        .post("/v1/classify", r#"{"texts": ["vote", "goal", "bank"]}"#)
        .await;
    client.post("/v1/classify", "{").await;
    let metrics = client.get("/metrics").await;
    for line in [
        r#"smallfleet_engine_requests_total{code="200",endpoint="classify"} 1"#,
        r#"smallfleet_engine_requests_total{code="400",endpoint="classify"} 1"#,
        r#"smallfleet_engine_stage_seconds_count{stage="tokenize"} 1"#,
        r#"smallfleet_engine_stage_seconds_count{stage="run"} 1"#,
        "smallfleet_engine_batch_texts_sum 3",
        "smallfleet_engine_ready 1",
    ] {
        assert!(
            metrics.text().lines().any(|it| it == line),
            "{line} is missing in\n{}",
            metrics.text()
        );
    }
}
