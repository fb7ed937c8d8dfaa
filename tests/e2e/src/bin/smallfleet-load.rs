//! An application on a node: asks its SmallModel's Service at a constant or swinging rate and keeps what came back.
//!
//! Open loop: a slow answer does not slow the next request down, as with real users.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::{Query, State};
use axum::{Json, Router, routing::get};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::load::{Page, Record, STATS_PORT};
use tokio::sync::Semaphore;

/// Requests under way at most; beyond it a request is recorded as failed, never dropped in silence.
const MAX_IN_FLIGHT: usize = 256;
/// Records kept; the program ends with an error rather than forget one.
const MAX_RECORDS: usize = 2_000_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// URL of the classify endpoint.
    #[arg(long, env = "LOAD_URL")]
    url: String,
    /// Requests a second.
    #[arg(long, env = "LOAD_RATE", default_value_t = 20.0)]
    rate: f64,
    /// Share of the rate by which it swings up and down, as a sine: from 0, a constant rate, to below 1.
    #[arg(long, env = "LOAD_SWING", default_value_t = 0.0)]
    swing: f64,
    /// Seconds of one swing.
    #[arg(long, env = "LOAD_SWING_SECONDS", default_value_t = 20.0)]
    swing_seconds: f64,
    /// Lines of {"text", "label"}.
    #[arg(long, env = "LOAD_REQUESTS", default_value = "/requests.jsonl")]
    requests: PathBuf,
    #[arg(long, env = "NODE_NAME", default_value = "")]
    node: String,
    #[arg(long, env = "LOAD_TIMEOUT_SECONDS", default_value_t = 30)]
    timeout_seconds: u64,
}

impl Arguments {
    /// From the request that was due at this time since the start to the next.
    fn gap(&self, due: Duration) -> Duration {
        let turns = due.as_secs_f64() / self.swing_seconds;
        let swing = self.swing.clamp(0.0, 0.95) * (turns * std::f64::consts::TAU).sin();
        Duration::from_secs_f64(1.0 / (self.rate * (1.0 + swing)))
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Example {
    text: String,
    label: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    label: String,
}

type Http = Client<HttpConnector, Full<Bytes>>;

#[derive(Clone)]
struct App {
    node: String,
    records: Arc<Mutex<Vec<Record>>>,
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let examples = read_examples(&arguments.requests)?;
    let app = App {
        node: arguments.node.clone(),
        records: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", STATS_PORT))
        .await
        .context("bind the stats port")?;
    let routes = Router::new()
        .route("/records", get(records))
        .with_state(app.clone());
    tokio::select! {
        served = axum::serve(listener, routes) => served.context("serve the records"),
        ended = send_forever(&arguments, &examples, &app) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
        () = terminated() => Ok(()),
    }
}

async fn terminated() {
    if let Ok(mut signal) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        signal.recv().await;
    }
}

fn read_examples(path: &std::path::Path) -> Result<Vec<Example>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let examples: Vec<Example> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("a line of the requests")?;
    anyhow::ensure!(!examples.is_empty(), "{} has no requests", path.display());
    Ok(examples)
}

async fn send_forever(arguments: &Arguments, examples: &[Example], app: &App) -> Result<()> {
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let start = tokio::time::Instant::now();
    let mut due = Duration::ZERO;
    let timeout = Duration::from_secs(arguments.timeout_seconds);
    for (number, (index, example)) in (0..).zip(examples.iter().enumerate().cycle()) {
        tokio::time::sleep_until(start + due).await;
        due += arguments.gap(due);
        let numbered = move |record| Record {
            number,
            example: index,
            ..record
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            let error = "more than 256 requests are under way".to_owned();
            keep(app, numbered(failed(now_milliseconds(), 0, error)))?;
            continue;
        };
        let request = request(&arguments.url, example)?;
        let (client, kept, expected) = (client.clone(), app.clone(), example.label.clone());
        tokio::spawn(async move {
            let record = ask(&client, request, &expected, timeout).await;
            // The limit is checked again, with its error, by the next request.
            let _ = keep(&kept, numbered(record));
            drop(slot);
        });
        anyhow::ensure!(
            lock(&app.records).len() < MAX_RECORDS,
            "{MAX_RECORDS} records are kept: end the load earlier"
        );
    }
    Ok(())
}

fn request(url: &str, example: &Example) -> Result<Request<Full<Bytes>>> {
    let body = serde_json::json!({"text": example.text}).to_string();
    Request::post(url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("LOAD_URL is no URL")
}

async fn ask(
    client: &Http,
    request: Request<Full<Bytes>>,
    expected: &str,
    timeout: Duration,
) -> Record {
    let (sent, start) = (now_milliseconds(), Instant::now());
    let answered = tokio::time::timeout(timeout, answer(client, request, expected)).await;
    let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    match answered {
        Ok(Ok(record)) => Record {
            sent_milliseconds: sent,
            latency_microseconds: elapsed,
            ..record
        },
        Ok(Err(error)) => failed(sent, elapsed, format!("{error:#}")),
        Err(_) => failed(sent, elapsed, format!("no answer within {timeout:?}")),
    }
}

async fn answer(client: &Http, request: Request<Full<Bytes>>, expected: &str) -> Result<Record> {
    let response = client.request(request).await?;
    let header = |name| {
        let value = response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let record = Record {
        status: response.status().as_u16(),
        arm: header("x-smallfleet-arm"),
        revision: header("x-smallfleet-revision"),
        node: header("x-smallfleet-node"),
        ..Record::default()
    };
    let body = response.into_body().collect().await?.to_bytes();
    if record.status != 200 {
        let error = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Ok(Record { error, ..record });
    }
    let answer: Answer =
        serde_json::from_slice(&body).context("the answer is no classification")?;
    Ok(Record {
        right: answer.label == expected,
        label: answer.label,
        ..record
    })
}

fn failed(sent_milliseconds: u64, latency_microseconds: u64, error: String) -> Record {
    Record {
        sent_milliseconds,
        latency_microseconds,
        error,
        ..Record::default()
    }
}

fn keep(app: &App, record: Record) -> Result<()> {
    let mut records = lock(&app.records);
    anyhow::ensure!(records.len() < MAX_RECORDS, "too many records");
    records.push(record);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Deserialize)]
struct From {
    #[serde(default)]
    from: usize,
}

async fn records(State(app): State<App>, Query(From { from }): Query<From>) -> Json<Page> {
    let records = lock(&app.records);
    let from = from.min(records.len());
    Json(Page {
        node: app.node.clone(),
        next: records.len(),
        records: records[from..].to_vec(),
    })
}
