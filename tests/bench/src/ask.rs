//! Clients that ask for the class of texts and take the time, each over one kept connection.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use smallfleet_router::engine::EngineClient;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

pub const CLASSIFY: &str = "/v1/classify";
/// Texts whose labels are reported, so that servers can be held to the same answers.
const LABELS: usize = 10;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server of plain HTTP: the router, the Service, the Python server.
    Http(SocketAddr),
    /// An engine, over the very client that the router uses for it: TLS with the engine's pinned key.
    Engine(Arc<EngineClient>),
}

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: usize,
    pub lasting: Duration,
    /// Time between two requests of a client; without it a client asks again as soon as it has an answer.
    pub pace: Option<Duration>,
}

/// What came back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answers {
    pub seconds: f64,
    /// From the request to the last byte of each good answer.
    pub microseconds: Vec<u64>,
    /// Requests without a good answer.
    pub failed: usize,
    /// Labels of the first texts.
    pub labels: Vec<String>,
}

impl Answers {
    pub fn requests_per_second(&self) -> f64 {
        crate::stats::as_f64(self.microseconds.len()) / self.seconds
    }

    /// Milliseconds that the share `q` of the answers does not exceed.
    pub fn milliseconds(&self, q: f64) -> f64 {
        let all: Vec<f64> = self
            .microseconds
            .iter()
            .map(|&value| crate::stats::from_u64(value))
            .collect();
        crate::stats::quantile(&all, q) / 1000.0
    }
}

/// Request bodies from lines of {"text", "label"}.
pub fn bodies(requests: &Path) -> Result<Arc<[Bytes]>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let lines = std::fs::read_to_string(requests)
        .with_context(|| format!("read {}: run `make models`", requests.display()))?;
    let bodies: Vec<Bytes> = lines
        .lines()
        .map(|line| {
            let line: Line = serde_json::from_str(line)?;
            Ok(serde_json::json!({"text": line.text}).to_string().into())
        })
        .collect::<Result<_>>()?;
    ensure!(!bodies.is_empty(), "{} is empty", requests.display());
    Ok(bodies.into())
}

/// Asks for a while. All clients are connected and answered once before the clock starts.
///
/// # Errors
/// When a connection fails; an answer that is an error is counted.
pub async fn ask(target: &Target, bodies: &Arc<[Bytes]>, load: Load) -> Result<Answers> {
    let labels = labels(target, bodies).await?;
    let together = Arc::new(Barrier::new(load.clients));
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        let client = Client {
            target: target.clone(),
            bodies: Arc::clone(bodies),
            number,
            load,
        };
        clients.spawn(client.run(Arc::clone(&together)));
    }
    let mut all = Answers {
        labels,
        ..Answers::default()
    };
    while let Some(one) = clients.join_next().await {
        let one = one??;
        all.microseconds.extend(one.microseconds);
        all.failed += one.failed;
        all.seconds = all.seconds.max(one.seconds);
    }
    Ok(all)
}

async fn labels(target: &Target, bodies: &[Bytes]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Answer {
        label: String,
    }
    let mut line = target.connect().await?;
    let mut labels = Vec::new();
    for body in bodies.iter().take(LABELS) {
        let (status, answer) = line.ask(body).await?;
        ensure!(status == StatusCode::OK, "{status}: {answer:?}");
        let answer: Answer = serde_json::from_slice(&answer)?;
        labels.push(answer.label);
    }
    Ok(labels)
}

struct Client {
    target: Target,
    bodies: Arc<[Bytes]>,
    number: usize,
    load: Load,
}

impl Client {
    async fn run(self, together: Arc<Barrier>) -> Result<Answers> {
        let mut line = self.target.connect().await?;
        line.ask(self.body(0)).await?;
        together.wait().await;
        let start = Instant::now();
        let mut due = tokio::time::Instant::now() + self.phase();
        let mut answers = Answers::default();
        for number in 1.. {
            if let Some(pace) = self.load.pace {
                tokio::time::sleep_until(due).await;
                due += pace;
            }
            if start.elapsed() >= self.load.lasting {
                break;
            }
            let sent = Instant::now();
            let (status, _) = line.ask(self.body(number)).await?;
            match status {
                StatusCode::OK => answers.microseconds.push(microseconds(sent.elapsed())),
                _ => answers.failed += 1,
            }
        }
        answers.seconds = start.elapsed().as_secs_f64();
        Ok(answers)
    }

    /// Paced clients are spread over the time between two requests.
    fn phase(&self) -> Duration {
        let share = crate::stats::as_f64(self.number) / crate::stats::as_f64(self.load.clients);
        self.load.pace.unwrap_or_default().mul_f64(share)
    }

    /// Each client begins at another text, so that they do not ask the same at the same time.
    fn body(&self, number: usize) -> &Bytes {
        &self.bodies[(self.number * 37 + number) % self.bodies.len()]
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Target {
    async fn connect(&self) -> Result<Line> {
        match self {
            Self::Http(address) => Line::open(*address).await,
            Self::Engine(client) => Ok(Line::Engine(Arc::clone(client))),
        }
    }
}

/// One client's connection.
enum Line {
    Http {
        sender: SendRequest<Full<Bytes>>,
        host: String,
    },
    Engine(Arc<EngineClient>),
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        tcp.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        tokio::spawn(connection);
        let host = address.to_string();
        Ok(Self::Http { sender, host })
    }

    /// Status and body of the answer.
    async fn ask(&mut self, body: &Bytes) -> Result<(StatusCode, Bytes)> {
        match self {
            Self::Http { sender, host } => {
                sender.ready().await?;
                let answer = sender.send_request(request(host, body)?).await?;
                let status = answer.status();
                Ok((status, answer.into_body().collect().await?.to_bytes()))
            }
            Self::Engine(client) => {
                let request = request(&client.address().to_string(), body)?;
                let (answer, lent) = client.send(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                lent.give_back();
                Ok((status, body))
            }
        }
    }
}

fn request(host: &str, body: &Bytes) -> Result<Request<Full<Bytes>>> {
    Ok(Request::post(CLASSIFY)
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))?)
}

/// The answer of a plain GET: status and body.
///
/// # Errors
/// When there is no answer within 10 s.
pub async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes)> {
    tokio::time::timeout(Duration::from_secs(10), async {
        let Line::Http { mut sender, host } = Line::open(address).await? else {
            unreachable!("open makes a connection of plain HTTP");
        };
        let request = Request::get(path)
            .header("host", host)
            .body(Full::default())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    })
    .await
    .with_context(|| format!("no answer of {address}{path} within 10 s"))?
}

/// Whether a server classifies a text now.
pub async fn classifies(address: SocketAddr, body: &Bytes) -> bool {
    let once = async {
        let mut line = Line::open(address).await?;
        line.ask(body).await
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), once).await;
    matches!(answer, Ok(Ok((StatusCode::OK, _))))
}
