//! What the router costs: an engine asked through its router, and asked directly with the router's own client for it.
//!
//! Short turns of both in an order that alternates, so that a busy moment of the machine hits both; the figure is the median of the
//! differences of each round.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::ask::{self, Answers, Load, Target};
use crate::processes::{self, Node, Settings};
use crate::results::Table;

/// A paced client sends this share of what the engine can do, so that nothing queues.
const PACED_SHARE: f64 = 0.5;

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Rounds of each situation
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Milliseconds of one turn
    #[arg(long, default_value_t = 500)]
    turn_milliseconds: u64,
    /// Model folder; by default the demo's `good`
    #[arg(long)]
    model: Option<PathBuf>,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    pub model: String,
    pub rounds: usize,
    pub turn_milliseconds: u64,
    pub situations: Vec<Situation>,
}

impl Table for Data {
    const NAME: &'static str = "router";
}

/// Some clients and how they ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Situation {
    pub clients: usize,
    /// All clients together; 0 where each asks as soon as it has an answer.
    pub requests_per_second: f64,
    pub rounds: Vec<Round>,
}

/// A turn of both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    pub direct: Turn,
    pub routed: Turn,
}

/// What one turn took, milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Turn {
    pub requests: usize,
    pub p50: f64,
    pub p99: f64,
    pub failed: usize,
}

impl From<&Answers> for Turn {
    fn from(answers: &Answers) -> Self {
        Self {
            requests: answers.microseconds.len(),
            p50: answers.milliseconds(0.5),
            p99: answers.milliseconds(0.99),
            failed: answers.failed,
        }
    }
}

/// Measures.
///
/// # Errors
/// When the processes cannot be started or a connection fails.
pub async fn run(arguments: Arguments) -> Result<Data> {
    let models = processes::required("SMALLFLEET_MODELS")?;
    let model = arguments.model.unwrap_or_else(|| models.join("good"));
    let node = Node::start(&Settings {
        model: model.clone(),
        threads: 1,
        engine_concurrent: 8,
    })
    .await?;
    let bench = Bench {
        direct: Target::Engine(node.engine_client(32)?),
        routed: Target::Http(node.front),
        bodies: ask::bodies(&models.join("requests.jsonl"))?,
        rounds: arguments.rounds,
        turn: Duration::from_millis(arguments.turn_milliseconds),
    };
    let mut situations = Vec::new();
    situations.push(bench.situation(1, None).await?);
    let busy = bench.situation(16, None).await?;
    let pace = bench.pace_of(&busy);
    situations.push(busy);
    situations.push(bench.situation(16, Some(pace)).await?);
    Ok(Data {
        model: model
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        rounds: arguments.rounds,
        turn_milliseconds: arguments.turn_milliseconds,
        situations,
    })
}

struct Bench {
    direct: Target,
    routed: Target,
    bodies: std::sync::Arc<[bytes::Bytes]>,
    rounds: usize,
    turn: Duration,
}

impl Bench {
    /// `pace` is the time between two requests of one client.
    async fn situation(&self, clients: usize, pace: Option<Duration>) -> Result<Situation> {
        let load = Load {
            clients,
            lasting: self.turn,
            pace,
        };
        let mut rounds = Vec::new();
        for number in 0..self.rounds {
            rounds.push(self.round(load, number % 2 == 0).await?);
        }
        let rate = pace.map_or(0.0, |pace| {
            crate::stats::as_f64(clients) / pace.as_secs_f64()
        });
        let situation = Situation {
            clients,
            requests_per_second: rate,
            rounds,
        };
        println!("{}", situation.describe());
        Ok(situation)
    }

    async fn round(&self, load: Load, direct_first: bool) -> Result<Round> {
        let ask = async |target| ask::ask(target, &self.bodies, load).await;
        let (direct, routed) = if direct_first {
            let direct = ask(&self.direct).await?;
            (direct, ask(&self.routed).await?)
        } else {
            let routed = ask(&self.routed).await?;
            (ask(&self.direct).await?, routed)
        };
        ensure!(direct.labels == routed.labels, "two paths, two answers");
        Ok(Round {
            direct: Turn::from(&direct),
            routed: Turn::from(&routed),
        })
    }

    /// Time between two requests of each client, from what the engine managed when it was asked as fast as it could answer.
    fn pace_of(&self, busy: &Situation) -> Duration {
        let requests: Vec<f64> = busy
            .rounds
            .iter()
            .map(|round| crate::stats::as_f64(round.direct.requests))
            .collect();
        let rate = crate::stats::median(&requests) / self.turn.as_secs_f64() * PACED_SHARE;
        Duration::from_secs_f64(crate::stats::as_f64(busy.clients) / rate.max(1.0))
    }
}

impl Situation {
    /// Milliseconds that the router added to the p50, of each round.
    pub fn added(&self) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .map(|round| round.routed.p50 - round.direct.p50)
            .collect()
    }

    /// In words.
    pub fn name(&self) -> String {
        match (self.clients, self.requests_per_second > 0.0) {
            (1, _) => "1 client".to_owned(),
            (clients, false) => format!("{clients} clients, as fast as answered"),
            (clients, true) => format!(
                "{clients} clients, {:.0} requests/s",
                self.requests_per_second
            ),
        }
    }

    fn describe(&self) -> String {
        format!(
            "{}: the router adds {:.3} ms to the p50",
            self.name(),
            crate::stats::median(&self.added())
        )
    }
}
