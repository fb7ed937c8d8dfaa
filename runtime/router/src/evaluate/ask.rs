use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{Duration, sleep, timeout};
use tracing::info;

use super::dataset::{Dataset, Example};
use super::outcome::{Failure, Reason};
use crate::config::Limits;
use crate::engine::EngineClient;

/// Requests at a time, so that tokenising one overlaps with running another.
const AT_ONCE: usize = 2;
/// Times that an example is asked before the evaluation fails.
const TRIES: u32 = 3;
/// Pause before another try.
const PAUSE: Duration = Duration::from_millis(500);
/// Largest answer.
const ANSWER_MAX: usize = 4 * 1024 * 1024;
/// A line of progress after this many examples.
const PROGRESS: usize = 250;

#[derive(Debug, Deserialize)]
struct Answer {
    label: String,
    /// Every label of the model.
    scores: BTreeMap<String, IgnoredAny>,
}

/// Which examples the engine answers rightly, in their order.
pub(super) async fn all(
    client: &Arc<EngineClient>,
    dataset: &Dataset,
    limits: &Limits,
) -> Result<Vec<bool>, Failure> {
    compare_labels(client, dataset, limits).await?;
    let next = AtomicUsize::new(0);
    let work = async || {
        let mut answered = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(example) = dataset.examples.get(index) else {
                return Ok::<_, Failure>(answered);
            };
            let answer = ask(client, example, index + 1, limits).await?;
            answered.push((index, answer.label == example.label));
            if (index + 1).is_multiple_of(PROGRESS) {
                info!("{} of {} examples", index + 1, dataset.examples.len());
            }
        }
    };
    let workers: [_; AT_ONCE] = tokio::try_join!(work(), work())?.into();
    let mut right = vec![false; dataset.examples.len()];
    for (index, answer) in workers.into_iter().flatten() {
        right[index] = answer;
    }
    Ok(right)
}

async fn compare_labels(
    client: &Arc<EngineClient>,
    dataset: &Dataset,
    limits: &Limits,
) -> Result<(), Failure> {
    let Some(first) = dataset.examples.first() else {
        return Ok(());
    };
    let answer = ask(client, first, 1, limits).await?;
    let model: BTreeSet<String> = answer.scores.into_keys().collect();
    if model == dataset.labels {
        return Ok(());
    }
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        let names: Vec<&str> = one.difference(other).map(String::as_str).take(20).collect();
        names.join(", ")
    };
    Err(Failure::new(
        Reason::LabelsDoNotMatch,
        &format!(
            "the dataset and the model have different labels; only in the dataset: [{}]; only in the model: [{}]; use a dataset made for this model",
            only(&dataset.labels, &model),
            only(&model, &dataset.labels)
        ),
    ))
}

async fn ask(
    client: &Arc<EngineClient>,
    example: &Example,
    number: usize,
    limits: &Limits,
) -> Result<Answer, Failure> {
    let mut tries = 1;
    loop {
        let asked = timeout(limits.deadline(), ask_once(client, example)).await;
        let failed = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failed)) => failed,
            Err(_) => Failed::Passing(format!("no answer within {} s", limits.max_request_seconds)),
        };
        let (again, why) = match failed {
            Failed::Passing(why) => (tries < TRIES, why),
            Failed::ForGood(why) => (false, why),
        };
        if !again {
            let message = format!("example {number}: {why}");
            return Err(Failure::new(Reason::EvaluationFailed, &message));
        }
        tries += 1;
        sleep(PAUSE).await;
    }
}

/// Why an example has no answer.
enum Failed {
    /// Another try may help.
    Passing(String),
    /// It will not.
    ForGood(String),
}

async fn ask_once(client: &Arc<EngineClient>, example: &Example) -> Result<Answer, Failed> {
    let passing = |why: &dyn std::fmt::Display| Failed::Passing(why.to_string());
    let (response, connection) = client
        .send(request(client, example))
        .await
        .map_err(|error| passing(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX);
    let body = body
        .collect()
        .await
        .map_err(|error| passing(&error))?
        .to_bytes();
    connection.give_back();
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| Failed::ForGood(format!("an answer that is none: {error}")));
    }
    let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
    let why = format!("the engine answers {status}: {text}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(Failed::Passing(why))
    } else {
        Err(Failed::ForGood(why))
    }
}

fn request(client: &EngineClient, example: &Example) -> Request<Full<Bytes>> {
    let body = json!({ "text": example.text }).to_string();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = hyper::Uri::from_static("/v1/classify");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let host = HeaderValue::from_str(&client.address().to_string());
    headers.insert(HOST, host.expect("an address is ASCII"));
    request
}
