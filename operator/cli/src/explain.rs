//! `explain`: the whole story of a model in plain words.
//!
//! [`tell`] collects the story's facts, each a sentence; [`render`](self::render::render) writes them under each other. `-o json`
//! prints the facts themselves.

mod evidence;
mod next;
mod nodes;
mod render;
mod state;
mod waits;

use jiff::Timestamp;
use serde::Serialize;
use smallfleet_crds::SmallModel;
use smallfleet_crds::status::RevisionRef;

use crate::args::{Connection, Explain, Format};
use crate::cluster::Cluster;
use crate::error::CliError;
use crate::facts::{Facts, Judged};
use crate::output;
use crate::words;

pub use render::render;

/// What there is to know, in the order in which one asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    pub name: String,
    pub namespace: String,
    pub phase: String,
    /// All of it in one line.
    pub headline: String,
    pub stable: String,
    /// Empty while the operator has not resolved it.
    pub target: String,
    /// What happens at the moment.
    pub state: Vec<String>,
    /// Why it does not go on, or will not.
    pub waits: Vec<String>,
    pub evidence: Vec<Evidence>,
    pub nodes: Vec<String>,
    /// What happened before.
    pub history: Vec<String>,
    /// What one may do now.
    pub next: Vec<Next>,
}

/// One objective: its figures, and what they mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    #[serde(flatten)]
    pub figures: Judged,
    pub meaning: String,
}

/// A command, and what it is good for. The command is empty where the answer lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    pub what: String,
}

/// Runs `explain`.
pub async fn run(connection: &Connection, explain: &Explain) -> Result<(), CliError> {
    let cluster = Cluster::connect(connection).await?;
    let model = cluster.get(&explain.name).await?;
    let story = tell(&model, Timestamp::now());
    match explain.output {
        Format::Json => output::json(&story),
        Format::Text => output::text(&render(&story)),
    }
}

/// The story of a model.
#[must_use]
pub fn tell(model: &SmallModel, now: Timestamp) -> Story {
    let facts = Facts::new(model);
    let status = facts.status();
    let stable = status.and_then(|status| status.stable.as_ref());
    let target = status.and_then(|status| status.target.as_ref());
    Story {
        name: facts.name().to_owned(),
        namespace: facts.namespace().to_owned(),
        phase: status
            .map(|status| status.phase.clone())
            .unwrap_or_default(),
        headline: state::headline(&facts),
        stable: stable.map_or_else(|| "none yet".to_owned(), revision),
        target: target.map(revision).unwrap_or_default(),
        state: state::now(&facts),
        waits: waits::all(&facts, now),
        evidence: evidence::all(&facts),
        nodes: nodes::all(&facts),
        history: history(&facts, now),
        next: next::all(&facts),
    }
}

fn revision(revision: &RevisionRef) -> String {
    let digest = words::short_digest(&revision.digest);
    format!("{} (model {digest})", revision.revision)
}

fn history(facts: &Facts<'_>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(status) = facts.status() else {
        return lines;
    };
    if let Some(last) = &status.last_rollout {
        lines.push(format!(
            "rollout {}: {}: {}",
            last.id, last.outcome, last.summary
        ));
    }
    for refused in &status.refused {
        let when = refused
            .at
            .as_ref()
            .map(|at| format!(", {} ago", words::age(at.0, now)));
        lines.push(format!(
            "revision {} is refused{}: {}: {}",
            refused.revision,
            when.unwrap_or_default(),
            refused.reason,
            refused.effect
        ));
    }
    if let Some(command) = &status.last_command {
        lines.push(format!("last command {}: {}", command.verb, command.result));
    }
    lines
}
