//! An application on a node: asks its SmallModel's Service at a constant or swinging rate and keeps what came back. `ask TEXT` asks
//! a text generator once and prints its answer as it arrives; `one-by-one` compares the arms.
//!
//! Open loop: a slow answer does not slow the next request down, as with real users.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::{Query, State};
use axum::{Json, Router, routing::get};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::chat;
use smallfleet_e2e::load::{Page, Record, STATS_PORT};
use tokio::sync::Semaphore;

/// Requests under way at most; beyond it a request is recorded as failed, never dropped in silence.
const MAX_IN_FLIGHT: usize = 256;
/// Connections are made anew after this time: what had no local pod when it began does not stay with another node.
const CONNECTIONS_LIVE: Duration = Duration::from_secs(5);
/// Records kept; the program ends with an error rather than forget one.
const MAX_RECORDS: usize = 2_000_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// URL of the endpoint: classify, or chat completions.
    #[arg(long, env = "LOAD_URL")]
    url: String,
    /// Asks for a streamed chat answer of so many tokens instead of a class.
    #[arg(long, env = "LOAD_CHAT_TOKENS")]
    chat_tokens: Option<u32>,
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
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks a text generator once and prints the answer as it arrives.
    Ask {
        text: String,
        #[arg(long, default_value_t = 60)]
        max_tokens: u32,
    },
    /// Asks for so many classifications, each when the last is answered, and prints their records as JSON: whatever makes the
    /// machine slower meets both arms alike.
    OneByOne { requests: usize },
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
    match &arguments.command {
        Some(Command::Ask { text, max_tokens }) => {
            return ask_once(&arguments.url, text, *max_tokens).await;
        }
        Some(Command::OneByOne { requests }) => return one_by_one(&arguments, *requests).await,
        None => {}
    }
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

async fn ask_once(url: &str, text: &str, max_tokens: u32) -> Result<()> {
    let request = chat::request(url, text, max_tokens)?;
    let sent = Instant::now();
    let response = chat::send(request).await?;
    let (status, node) = (response.status(), header(&response, "x-smallfleet-node"));
    if !status.is_success() {
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    let answer = chat::read(response.into_body(), sent, |piece| {
        print!("{piece}");
        // Who reads may have gone: the answer is read to its end all the same.
        let _ = std::io::stdout().flush();
    })
    .await?;
    anyhow::ensure!(answer.flaw().is_empty(), "{}", answer.flaw());
    // Exactly one, or the answer had a flaw.
    println!("\ndata: [DONE]");
    println!(
        "first token after {} ms, then {:.0} tokens a second; {} tokens asked, {} answered by {node}",
        answer.first_token.as_millis(),
        answer.tokens_per_second(),
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens
    );
    Ok(())
}

async fn one_by_one(arguments: &Arguments, requests: usize) -> Result<()> {
    let examples = read_examples(&arguments.requests)?;
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let timeout = Duration::from_secs(arguments.timeout_seconds);
    let mut records = Vec::with_capacity(requests);
    let cycle = examples.iter().enumerate().cycle();
    for (number, (index, example)) in (0..).zip(cycle.take(requests)) {
        let request = request(arguments, example)?;
        let record = ask(&client, request, Some(&example.label), timeout).await;
        records.push(Record {
            number,
            example: index,
            ..record
        });
    }
    println!("{}", serde_json::to_string(&records)?);
    Ok(())
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
    let mut client: Http = Client::builder(TokioExecutor::new()).build_http();
    let mut connected = Instant::now();
    let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let start = tokio::time::Instant::now();
    let mut due = Duration::ZERO;
    let timeout = Duration::from_secs(arguments.timeout_seconds);
    for (number, (index, example)) in (0..).zip(examples.iter().enumerate().cycle()) {
        tokio::time::sleep_until(start + due).await;
        due += arguments.gap(due);
        if connected.elapsed() > CONNECTIONS_LIVE {
            client = Client::builder(TokioExecutor::new()).build_http();
            connected = Instant::now();
        }
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
        let request = request(arguments, example)?;
        let (client, kept, expected) = (client.clone(), app.clone(), example.label.clone());
        let expected = arguments.chat_tokens.is_none().then_some(expected);
        tokio::spawn(async move {
            let record = ask(&client, request, expected.as_deref(), timeout).await;
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

fn request(arguments: &Arguments, example: &Example) -> Result<Request<Full<Bytes>>> {
    if let Some(tokens) = arguments.chat_tokens {
        return chat::request(&arguments.url, &example.text, tokens);
    }
    let body = serde_json::json!({"text": example.text}).to_string();
    Request::post(&arguments.url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("LOAD_URL is no URL")
}

async fn ask(
    client: &Http,
    request: Request<Full<Bytes>>,
    expected: Option<&str>,
    timeout: Duration,
) -> Record {
    let (sent, start) = (now_milliseconds(), Instant::now());
    let answered = tokio::time::timeout(timeout, answer(client, request, expected, start)).await;
    let elapsed = microseconds(start.elapsed());
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

/// `expected` is the label of a classification; without one the answer is a stream of chat.
async fn answer(
    client: &Http,
    request: Request<Full<Bytes>>,
    expected: Option<&str>,
    sent: Instant,
) -> Result<Record> {
    let response = client.request(request).await?;
    let record = Record {
        status: response.status().as_u16(),
        arm: header(&response, "x-smallfleet-arm"),
        revision: header(&response, "x-smallfleet-revision"),
        node: header(&response, "x-smallfleet-node"),
        ..Record::default()
    };
    let body = response.into_body();
    match expected {
        _ if record.status != 200 => {
            let body = body.collect().await?.to_bytes();
            let error = String::from_utf8_lossy(&body).chars().take(200).collect();
            Ok(Record { error, ..record })
        }
        Some(expected) => {
            let answer: Answer = serde_json::from_slice(&body.collect().await?.to_bytes())
                .context("the answer is no classification")?;
            Ok(Record {
                right: answer.label == expected,
                label: answer.label,
                ..record
            })
        }
        None => {
            let answer = chat::read(body, sent, |_| ()).await?;
            let error = answer.flaw();
            Ok(Record {
                first_token_microseconds: microseconds(answer.first_token),
                right: error.is_empty(),
                error,
                ..record
            })
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn header(response: &hyper::Response<hyper::body::Incoming>, name: &str) -> String {
    let value = response.headers().get(name);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
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
