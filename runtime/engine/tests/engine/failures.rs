//! Models that cannot be served: the reason is typed, the message says what to do, and the pod can read both.

use std::path::Path;

use serde_json::json;
use smallfleet_engine::{
    Config, EngineError, EngineState, Failure, FailureReason, Phase, Task, run,
};

use crate::support::{config, copied, copied_model, fixture, set_field};

/// Runs an engine that must fail; checks that state file and termination log say what the error says.
async fn failure(model_dir: &Path, adjust: impl FnOnce(&mut Config)) -> Failure {
    let run_dir = tempfile::tempdir().unwrap();
    let mut config = config(model_dir, run_dir.path());
    adjust(&mut config);
    let Err(EngineError::Model(failure)) = run(config, std::future::pending()).await else {
        panic!("the engine must refuse the model");
    };
    let state = EngineState::read(run_dir.path()).unwrap().unwrap();
    assert_eq!(
        (state.state, state.failure.as_ref()),
        (Phase::Failed, Some(&failure))
    );
    let log = std::fs::read(run_dir.path().join("termination-log")).unwrap();
    assert_eq!(serde_json::from_slice::<Failure>(&log).unwrap(), failure);
    failure
}

async fn assert_refused(model_dir: &Path, reason: FailureReason, words: &str) {
    let failure = failure(model_dir, |_| {}).await;
    assert_eq!(failure.reason, reason, "{failure}");
    assert!(
        failure.message.contains(words),
        "{words:?} is not in {:?}",
        failure.message
    );
}

/// Spoils one field of model.json.
async fn assert_field_refused(
    field: &str,
    value: serde_json::Value,
    reason: FailureReason,
    words: &str,
) {
    let model = copied_model();
    set_field(&model.path().join("model.json"), field, value);
    assert_refused(model.path(), reason, words).await;
}

#[tokio::test]
async fn a_folder_without_model_json_is_no_model() {
    let model = copied_model();
    std::fs::remove_file(model.path().join("model.json")).unwrap();
    assert_refused(model.path(), FailureReason::NoModel, "model.json").await;
    assert_refused(
        &model.path().join("missing"),
        FailureReason::NoModel,
        "spec.model.image",
    )
    .await;
}

#[tokio::test]
async fn every_wrong_field_of_model_json_is_named() {
    use FailureReason::InvalidModel;
    assert_field_refused(
        "threshold",
        json!(0.5),
        InvalidModel,
        "unknown field `threshold`",
    )
    .await;
    assert_field_refused(
        "schemaVersion",
        json!(2),
        InvalidModel,
        "schemaVersion is 2",
    )
    .await;
    assert_field_refused(
        "labels",
        json!(["a", "b", "a"]),
        InvalidModel,
        r#"label "a" is there twice"#,
    )
    .await;
    assert_field_refused(
        "labels",
        json!(["only"]),
        InvalidModel,
        "labels has 1 entries",
    )
    .await;
    assert_field_refused("temperature", json!(0), InvalidModel, "temperature").await;
    assert_field_refused("maxTokens", json!(0), InvalidModel, "nonzero").await;
    assert_field_refused("maxTokens", json!(2), InvalidModel, "special tokens").await;
    assert_field_refused("padding", json!("Shortest"), InvalidModel, "Shortest").await;
}

#[tokio::test]
async fn files_outside_of_the_folder_are_never_opened() {
    use FailureReason::InvalidModel;
    assert_field_refused("graph", json!("../model.onnx"), InvalidModel, "plain name").await;
    assert_field_refused(
        "tokenizer",
        json!("/etc/passwd"),
        InvalidModel,
        "plain name",
    )
    .await;
    assert_field_refused("graph", json!("missing.onnx"), InvalidModel, "missing.onnx").await;
    let model = copied_model();
    std::fs::remove_file(model.path().join("tokenizer.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", model.path().join("tokenizer.json")).unwrap();
    assert_refused(model.path(), InvalidModel, "leads out of the model folder").await;
}

#[tokio::test]
async fn a_model_for_another_task_is_refused() {
    assert_field_refused(
        "task",
        json!("TextGeneration"),
        FailureReason::WrongTask,
        "made for TextGeneration",
    )
    .await;
    let failure = failure(&fixture().join("model"), |config| {
        config.task = Task::Embedding;
    })
    .await;
    assert_eq!(failure.reason, FailureReason::WrongTask);
}

#[tokio::test]
async fn a_task_that_this_runtime_lacks_is_refused() {
    let model = copied_model();
    set_field(&model.path().join("model.json"), "task", json!("Embedding"));
    let failure = failure(model.path(), |config| config.task = Task::Embedding).await;
    assert_eq!(failure.reason, FailureReason::WrongTask);
    assert!(
        failure
            .message
            .contains("serves TextClassification and TextGeneration only"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_broken_tokenizer_is_invalid() {
    let model = copied_model();
    std::fs::write(model.path().join("tokenizer.json"), "{}").unwrap();
    assert_refused(model.path(), FailureReason::InvalidModel, "tokenizer").await;
}

#[tokio::test]
async fn graphs_of_another_form_are_invalid() {
    use FailureReason::InvalidModel;
    assert_field_refused("labels", json!(["a", "b", "c", "d"]), InvalidModel, "").await;
    let model = copied_model();
    std::fs::copy(
        fixture().join("regression.onnx"),
        model.path().join("model.onnx"),
    )
    .unwrap();
    assert_refused(model.path(), InvalidModel, "inputs are features").await;
    std::fs::copy(
        fixture().join("external-data.onnx"),
        model.path().join("model.onnx"),
    )
    .unwrap();
    assert_refused(model.path(), InvalidModel, "self-contained").await;
}

#[tokio::test]
async fn more_labels_than_logits_are_invalid() {
    let model = copied_model();
    let labels = json!(["business", "politics", "sport", "tech"]);
    set_field(&model.path().join("model.json"), "labels", labels);
    assert_refused(model.path(), FailureReason::InvalidModel, "(any, 4)").await;
}

#[tokio::test]
async fn graphs_that_do_not_load_say_so() {
    let model = copied_model();
    let graph = model.path().join("model.onnx");
    let bytes = std::fs::read(&graph).unwrap();
    std::fs::write(&graph, &bytes[..bytes.len() / 2]).unwrap();
    assert_refused(model.path(), FailureReason::LoadFailed, "cut short").await;
    std::fs::write(&graph, "not a graph at all").unwrap();
    assert_refused(
        model.path(),
        FailureReason::LoadFailed,
        "not a complete ONNX file",
    )
    .await;

    let unknown_operator = replace(&bytes, b"MatMul", b"MatMux");
    std::fs::write(&graph, unknown_operator).unwrap();
    assert_refused(
        model.path(),
        FailureReason::LoadFailed,
        "ONNX Runtime refuses the graph",
    )
    .await;
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(old.len())
        .position(|window| window == old)
        .unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[tokio::test]
async fn a_probe_that_does_not_hold_stops_the_start() {
    let model = copied_model();
    let probe = |label: &str, probability: f32| {
        let probe = json!([{"input": "The bank", "label": label, "tolerance": 0.01, "probability": probability}]);
        std::fs::write(model.path().join("probes.json"), probe.to_string()).unwrap();
    };
    probe("sport", 0.787);
    assert_refused(
        model.path(),
        FailureReason::ProbeFailed,
        "got business at 0.787",
    )
    .await;
    probe("business", 0.9);
    assert_refused(
        model.path(),
        FailureReason::ProbeFailed,
        "expected business at 0.900",
    )
    .await;
    probe("weather", 0.9);
    assert_refused(model.path(), FailureReason::InvalidModel, "weather").await;
    std::fs::write(model.path().join("probes.json"), "[]").unwrap();
    assert_refused(model.path(), FailureReason::InvalidModel, "0 probes").await;
}

#[tokio::test]
async fn a_missing_library_is_said_plainly() {
    let model = fixture().join("model");
    let unset = failure(&model, |config| config.onnxruntime = None).await;
    assert_eq!(unset.reason, FailureReason::LoadFailed);
    assert!(
        unset.message.contains("ORT_DYLIB_PATH is not set"),
        "{unset}"
    );
    let wrong = failure(&model, |config| {
        config.onnxruntime = Some("/missing/libonnxruntime.so".into());
    })
    .await;
    assert_eq!(wrong.reason, FailureReason::LoadFailed);
    assert!(wrong.message.contains("ORT_DYLIB_PATH"), "{wrong}");
}

async fn generator_failure(spoil: impl FnOnce(&Path)) -> Failure {
    let model = copied("generator");
    spoil(model.path());
    failure(model.path(), |config| config.task = Task::TextGeneration).await
}

#[tokio::test]
async fn a_generator_must_keep_its_probes() {
    let failure = generator_failure(|dir| {
        let probes = r#"[{"input": "count one", "answerPrefix": "two four"}]"#;
        std::fs::write(dir.join("probes.json"), probes).unwrap();
    })
    .await;
    assert_eq!(failure.reason, FailureReason::ProbeFailed);
    assert!(failure.message.contains("two three"), "{failure}");
}

#[tokio::test]
async fn what_is_wrong_with_a_generator_is_said() {
    type Spoil = fn(&Path);
    let spoilt: [(Spoil, FailureReason, &str); 6] = [
        (
            |dir| std::fs::write(dir.join("chat_template.jinja"), "{% for %}").unwrap(),
            FailureReason::InvalidModel,
            "chat template",
        ),
        (
            |dir| std::fs::remove_file(dir.join("chat_template.jinja")).unwrap(),
            FailureReason::InvalidModel,
            "chat_template.jinja",
        ),
        (
            |dir| set_field(&dir.join("model.json"), "endTokens", json!(["</s>"])),
            FailureReason::InvalidModel,
            "no token \"</s>\"",
        ),
        (
            |dir| set_field(&dir.join("model.json"), "contextTokens", json!(1)),
            FailureReason::InvalidModel,
            "contextTokens",
        ),
        (
            |dir| set_field(&dir.join("model.json"), "labels", json!(["a"])),
            FailureReason::InvalidModel,
            "labels",
        ),
        (
            |dir| {
                let classifier = fixture().join("model/model.onnx");
                std::fs::copy(classifier, dir.join("model.onnx")).unwrap();
            },
            FailureReason::InvalidModel,
            "not a decoder",
        ),
    ];
    for (spoil, reason, words) in spoilt {
        let failure = generator_failure(spoil).await;
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(words), "{words:?}: {failure}");
    }
}

#[tokio::test]
async fn a_generator_is_no_classifier() {
    let failure = failure(&fixture().join("generator"), |_| {}).await;
    assert_eq!(failure.reason, FailureReason::WrongTask);
}

#[tokio::test]
async fn memory_that_is_not_enough_for_an_answer_is_said() {
    let failure = failure(&fixture().join("generator"), |config| {
        config.task = Task::TextGeneration;
        config.kv_memory_mib = 0;
    })
    .await;
    assert_eq!(failure.reason, FailureReason::LoadFailed);
    assert!(failure.message.contains("requests.memory"), "{failure}");
}
