//! The same ONNX file behind our router and engine, and behind Python onnxruntime and uvicorn: requests a second and latency.
//!
//! One client program asks all of them in turns. Where a cluster is up, ours is its Service, asked from a node's network
//! namespace in which the Python server runs too; otherwise both are processes on loopback.

mod peer;
mod place;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::ask::{self, Answers, Load, Target};
use crate::processes::{self, Node, Settings};
use crate::results::Table;

use peer::Mode;
use place::Place;

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Where ours serves
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    via: Via,
    /// Turns of each server for each number of clients
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of one turn
    #[arg(long, default_value_t = 4)]
    turn_seconds: u64,
    /// Threads of one run of the model, the same everywhere; the cluster's pods have 1
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The Service where a cluster is up
    Auto,
    /// The Service of the local cluster
    Service,
    /// Processes on loopback
    Loopback,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    /// Where ours was asked, in words.
    pub via: String,
    pub threads: usize,
    pub rounds: usize,
    pub turn_seconds: u64,
    /// Versions of the Python server's parts.
    pub peer_versions: String,
    pub samples: Vec<Sample>,
}

impl Table for Data {
    const NAME: &'static str = "classify";
}

/// One turn of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub server: String,
    pub clients: usize,
    pub round: usize,
    pub requests_per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
    pub failed: usize,
}

/// Name of ours in the samples.
pub const OURS: &str = "Smallfleet";
/// Ours with an engine that works on one request at a time, so that it has nothing to batch.
pub const OURS_UNBATCHED: &str = "Smallfleet, batching off";
/// Clients that ask at the same time.
pub const CLIENTS: [usize; 3] = [1, 8, 32];

struct Server {
    name: String,
    address: SocketAddr,
}

/// Measures.
///
/// # Errors
/// When a server cannot be started or gives other answers than the others.
pub async fn run(arguments: Arguments) -> Result<Data> {
    let via_service = match arguments.via {
        Via::Auto => place::a_cluster_is_up()?,
        Via::Service => true,
        Via::Loopback => false,
    };
    ensure!(
        !via_service || arguments.threads == 1,
        "the pods of the local cluster have one thread: use --via loopback for more"
    );
    let place = if via_service {
        Place::service().await?
    } else {
        Place::Loopback
    };
    let data = measure(&arguments, &place).await;
    place.leave()?;
    data
}

async fn measure(arguments: &Arguments, place: &Place) -> Result<Data> {
    let model = processes::required("SMALLFLEET_MODELS")?.join("good");
    let (mut servers, mut running) = (Vec::new(), Vec::new());
    let nodes = ours(arguments, place, &mut servers).await?;
    for mode in [Mode::Inline, Mode::Thread] {
        let (process, address) = peer::start(place, &model, arguments.threads, mode).await?;
        running.push(process);
        servers.push(Server {
            name: mode.name().to_owned(),
            address,
        });
    }
    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        samples.extend(one_round(arguments, place, &servers, round).await?);
    }
    drop((nodes, running));
    Ok(Data {
        via: place.describe(),
        threads: arguments.threads,
        rounds: arguments.rounds,
        turn_seconds: arguments.turn_seconds,
        peer_versions: peer::versions()?,
        samples,
    })
}

/// Ours, as one or two entries of `servers`; on loopback the processes, which end with the value.
async fn ours(
    arguments: &Arguments,
    place: &Place,
    servers: &mut Vec<Server>,
) -> Result<Vec<Node>> {
    if let Some(address) = place.service_address() {
        servers.push(Server {
            name: OURS.to_owned(),
            address,
        });
        return Ok(Vec::new());
    }
    let model = processes::required("SMALLFLEET_MODELS")?.join("good");
    let mut nodes = Vec::new();
    for (name, engine_concurrent) in [(OURS, 8), (OURS_UNBATCHED, 1)] {
        let node = Node::start(&Settings {
            model: model.clone(),
            threads: arguments.threads,
            engine_concurrent,
        })
        .await?;
        servers.push(Server {
            name: name.to_owned(),
            address: node.front,
        });
        nodes.push(node);
    }
    Ok(nodes)
}

/// A turn of every server for every number of clients; who begins changes from round to round.
async fn one_round(
    arguments: &Arguments,
    place: &Place,
    servers: &[Server],
    round: usize,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for clients in CLIENTS {
        let mut labels = None;
        for turn in 0..servers.len() {
            let server = &servers[(turn + round) % servers.len()];
            let answers = client(place, server.address, clients, arguments.turn_seconds)?;
            let known = labels.get_or_insert_with(|| answers.labels.clone());
            ensure!(
                *known == answers.labels,
                "{} gives other answers",
                server.name
            );
            let sample = Sample::new(server, clients, round, &answers);
            println!("{}", sample.describe());
            samples.push(sample);
        }
    }
    Ok(samples)
}

impl Sample {
    fn new(server: &Server, clients: usize, round: usize, answers: &Answers) -> Self {
        Self {
            server: server.name.clone(),
            clients,
            round,
            requests_per_second: answers.requests_per_second(),
            p50: answers.milliseconds(0.5),
            p99: answers.milliseconds(0.99),
            failed: answers.failed,
        }
    }

    fn describe(&self) -> String {
        format!(
            "round {}, {} clients, {}: {:.0} requests/s, p50 {:.1} ms, p99 {:.1} ms",
            self.round + 1,
            self.clients,
            self.server,
            self.requests_per_second,
            self.p50,
            self.p99
        )
    }
}

/// Runs the client program where the servers are.
fn client(place: &Place, address: SocketAddr, clients: usize, seconds: u64) -> Result<Answers> {
    let own = std::env::current_exe()?;
    let output = place
        .command(&own.to_string_lossy())?
        .args([
            "client".to_owned(),
            format!("--address={address}"),
            format!("--clients={clients}"),
            format!("--seconds={seconds}"),
        ])
        .env(
            "SMALLFLEET_MODELS",
            processes::required("SMALLFLEET_MODELS")?,
        )
        .output()
        .context("start the client")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the client failed: {errors}");
    serde_json::from_slice(&output.stdout).context("what the client says")
}

/// The client program: asks one server and prints the answers as JSON.
#[derive(Args, Clone, Debug)]
pub struct ClientArguments {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    seconds: u64,
}

/// See [`ClientArguments`].
///
/// # Errors
/// When a connection fails.
pub async fn run_client(arguments: ClientArguments) -> Result<()> {
    let models = processes::required("SMALLFLEET_MODELS")?;
    let load = Load {
        clients: arguments.clients,
        lasting: Duration::from_secs(arguments.seconds),
        pace: None,
    };
    let bodies = ask::bodies(&models.join("requests.jsonl"))?;
    let answers = ask::ask(&Target::Http(arguments.address), &bodies, load).await?;
    println!("{}", serde_json::to_string(&answers)?);
    Ok(())
}

impl Data {
    /// Samples of one server at one number of clients, in the order of the rounds.
    pub fn of(&self, server: &str, clients: usize) -> Vec<&Sample> {
        let samples = self.samples.iter();
        samples
            .filter(|sample| sample.server == server && sample.clients == clients)
            .collect()
    }

    /// Names of the servers, ours first.
    pub fn servers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for sample in &self.samples {
            if !names.contains(&sample.server) {
                names.push(sample.server.clone());
            }
        }
        names
    }
}
