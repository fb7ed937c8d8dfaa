//! Text generation: served, rolled out with evidence on the first token, and a candidate that dies in the middle of its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::header::HeaderValue;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use smallfleet_crds::names::role;
use smallfleet_e2e::app;
use smallfleet_e2e::chat::{self, Answer};
use smallfleet_e2e::fleet::{is_ready, node_of};
use smallfleet_e2e::load::{Record, median_first_token_microseconds};
use smallfleet_e2e::process;
use tokio::sync::Notify;

use crate::common::{World, assert_none_failed};

/// Tokens of the load's answers: what is judged is the first one.
const TOKENS: u32 = 2;
const QUESTION: &str = "What is gravity?";
/// Far more than an engine says before it is killed.
const LONG: u32 = 400;
/// Within it an answer begins, on a busy machine too.
const BEGIN: Duration = Duration::from_secs(30);

async fn world(namespace: &str) -> Result<World> {
    let mut world = World::new(namespace).await?;
    world.chat_tokens = Some(TOKENS);
    world.node = Some("node-1");
    world.rate = 0.8;
    world.install("smollm2").await?;
    Ok(world)
}

/// Where the stable pod's router listens.
async fn router(world: &World) -> Result<String> {
    let addresses = world.fleet.stable_addresses(&world.model).await?;
    let address = addresses.first().context("a stable pod")?;
    Ok(format!("http://{address}"))
}

/// What curl prints of an answer, with the status as its last line.
async fn ask(world: &World, path: &str, body: &Value) -> Result<String> {
    let line = format!(
        "curl -sSN -m 60 -w '\\n%{{http_code}}' -H 'content-type: application/json' --data-binary @- {}{path}",
        router(world).await?
    );
    world.lab.shell.run_with_input(&line, &body.to_string())
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": QUESTION}], "temperature": 0});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

async fn answer(world: &World, more: &Value) -> Result<Value> {
    let text = ask(world, "/v1/chat/completions", &chat(more)).await?;
    let (body, status) = text.rsplit_once('\n').context("a status")?;
    ensure!(status == "200", "{text}");
    Ok(serde_json::from_str(body)?)
}

#[tokio::test]
async fn a_text_generator_answers_whole_and_streamed_and_refuses_what_it_cannot() -> Result<()> {
    let world = world("e2e-chat").await?;
    let whole = answer(&world, &json!({"max_tokens": 5})).await?;
    let choice = &whole["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap_or_default();
    ensure!(
        text.starts_with("Gravity is")
            && choice["finish_reason"] == "length"
            && whole["usage"]["completion_tokens"] == 5,
        "{whole}"
    );
    let stopped = answer(&world, &json!({"max_tokens": 20, "stop": " is"})).await?;
    let choice = &stopped["choices"][0];
    ensure!(
        choice["message"]["content"] == "Gravity" && choice["finish_reason"] == "stop",
        "{stopped}"
    );
    let streamed = ask(
        &world,
        "/v1/chat/completions",
        &chat(&json!({"max_tokens": 5, "stream": true})),
    )
    .await?;
    ensure!(
        streamed.matches("data: [DONE]").count() == 1 && streamed.matches("data: {").count() > 2,
        "{streamed}"
    );
    for (path, body, status, says) in [
        (
            "/v1/classify",
            json!({"text": "x"}),
            "404",
            "TextGeneration",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": []}),
            "400",
            "messages",
        ),
        (
            "/v1/chat/completions",
            chat(&json!({"max_tokens": 0})),
            "400",
            "max_tokens",
        ),
    ] {
        let refused = ask(&world, path, &body).await?;
        let typed = refused.contains("\"error\"") && refused.contains("\"message\"");
        ensure!(
            typed && refused.ends_with(status) && refused.contains(says),
            "{path} {body}: {refused}"
        );
    }
    Ok(())
}

/// The same weights behind a template of 300 tokens: right, and late with the first token.
#[tokio::test]
async fn a_revision_that_is_late_with_its_first_token_is_rolled_back() -> Result<()> {
    let world = world("e2e-first-token").await?;
    let application = world.load().await?;
    world.apply("smollm2-wordy")?;
    let refused = world.wait_refused().await?;
    println!(
        "{} after {} units: {}",
        refused.reason, refused.exposed_units, refused.effect
    );
    ensure!(refused.objective == "latency", "{refused:?}");
    let records = application.all_records().await?;
    let of_arms = app::by_arm(&records);
    ensure!(of_arms.len() == 2, "not both arms answered: {of_arms:?}");
    let (stable, candidate) = (
        first_token(&records, "stable"),
        first_token(&records, "candidate"),
    );
    println!("first token: {stable} us of stable, {candidate} us of the candidate");
    ensure!(candidate > stable, "the candidate was not the later one");
    assert_none_failed(&application).await?;
    Ok(())
}

/// Median of what the application saw of an arm, microseconds.
fn first_token(records: &[Record], arm: &str) -> u64 {
    let of_arm = |record: &&Record| record.good() && record.arm == arm;
    median_first_token_microseconds(records.iter().filter(of_arm))
}

/// Asks for a stream that the override sends to the candidate: the arm that answered, and what it said. `begun` is told of each
/// piece.
async fn ask_candidate(url: String, tokens: u32, begun: Arc<Notify>) -> Result<(String, Answer)> {
    let mut request = chat::request(&url, QUESTION, tokens)?;
    let canary = HeaderValue::from_static("1");
    request.headers_mut().insert("x-canary", canary);
    let sent = Instant::now();
    let response = chat::send(request).await?;
    let arm = response.headers().get("x-smallfleet-arm");
    let arm = arm.context("a header that names the arm")?.to_str()?;
    let arm = arm.to_owned();
    let answer = chat::read(response.into_body(), sent, |_| begun.notify_one()).await?;
    Ok((arm, answer))
}

/// After the first byte nobody else can answer: the stream says so, and never pretends to be whole.
#[tokio::test]
async fn a_stream_whose_candidate_dies_ends_with_an_error_event() -> Result<()> {
    let mut world = world("e2e-stream").await?;
    world.steps = &[("1", 600)];
    let _application = world.load().await?;
    let overridden = world.yaml("smollm2", &[("REVISION", "2")]).replace(
        "spec:\n",
        "spec:\n  featureFlag: {overrides: [{name: canary, header: x-canary, values: [\"1\"]}]}\n",
    );
    world.apply_yaml(&overridden)?;
    world.wait_counting().await?;
    let candidates = world.fleet.pods_of(&world.model, role::CANDIDATE).await?;
    let candidate = candidates
        .iter()
        .find(|pod| is_ready(pod))
        .context("a candidate")?;
    println!("the candidate is on {}", node_of(candidate));
    let uid = candidate.uid().context("a uid")?;
    let url = format!("{}/v1/chat/completions", router(&world).await?);
    let begun = Arc::new(Notify::new());
    let stream = tokio::spawn(ask_candidate(url.clone(), LONG, begun.clone()));
    let first = tokio::time::timeout(BEGIN, begun.notified()).await;
    first.context("the candidate's stream did not begin")?;
    process::signal(&uid, "smallfleet-runtime engine", Signal::SIGKILL)?;
    let (arm, broken) = stream.await??;
    ensure!(arm == "candidate", "{arm} answered: {broken:?}");
    ensure!(
        !broken.text.is_empty() && broken.error.is_some(),
        "no first bytes, or no error event: {broken:?}"
    );
    ensure!(broken.done == 0, "a broken stream says [DONE]: {broken:?}");
    // The kubelet needs a second to start the engine again: until then stable answers for it.
    let (arm, whole) = ask_candidate(url, 3, begun).await?;
    ensure!(
        arm == "stable" && whole.flaw().is_empty() && whole.usage.completion_tokens == 3,
        "{arm} answered: {whole:?}"
    );
    Ok(())
}
