//! How fast this machine may be asked: machines differ several times over, and all nodes of the local cluster share one.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::fleet::Fleet;

const TEXT: &str =
    r#"{"text": "the minister announced a new budget for the schools of the region"}"#;

/// Requests a second for each of so many applications that ask so many engines with a classifier like this one: together they
/// take this share of the machine's cores, or of the engines, which have a core each. Measured: a request alone takes about one
/// core for as long as its answer.
///
/// # Errors
/// When no stable pod of the model answers.
pub async fn bearable(
    share: f64,
    fleet: &Fleet,
    model: &str,
    applications: usize,
    engines: usize,
) -> Result<f64> {
    let seconds = seconds_alone(fleet, model, "v1/classify", TEXT, 40).await?;
    let cores = std::thread::available_parallelism()?.get().min(engines);
    Ok(share * cores as f64 / seconds / applications as f64)
}

/// Requests a second for each of so many applications that ask one text generator: the engine of each arm, with half of them, is
/// half busy at most, also where a revision's template adds 300 tokens, which take a core for a third of a second or for several
/// times as long.
///
/// # Errors
/// When no stable pod of the model answers.
pub async fn bearable_chats(
    fleet: &Fleet,
    model: &str,
    applications: usize,
    tokens: u32,
) -> Result<f64> {
    let messages = json!([{"role": "user", "content": "word ".repeat(300)}]);
    let body = json!({"messages": messages, "max_tokens": tokens}).to_string();
    let seconds = seconds_alone(fleet, model, "v1/chat/completions", &body, 3).await?;
    Ok(1.0 / seconds / applications as f64)
}

/// Seconds until a stable pod of the model has answered such a request, the median of some that are sent one after the other.
///
/// # Errors
/// When there is no stable pod, or it does not answer well.
async fn seconds_alone(
    fleet: &Fleet,
    model: &str,
    path: &str,
    body: &str,
    requests: usize,
) -> Result<f64> {
    let addresses = fleet.stable_addresses(model).await?;
    let address = addresses.first().context("no stable pod")?;
    let url = format!("http://{address}/{path}");
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut seconds = Vec::with_capacity(requests);
    for _ in 0..requests {
        let request = Request::post(&url)
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))?;
        let start = Instant::now();
        let answer = client.request(request).await?;
        ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.into_body().collect().await?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    seconds.get(requests / 2).copied().context("no request")
}
