//! Commands: an annotation that the operator answers in status.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Event;
use serde_json::json;
use smallfleet_crds::names::ANNOTATION_COMMAND;
use smallfleet_crds::status::{LastCommand, RolloutState};
use smallfleet_crds::{Command, CommandVerb, SmallModel};

use crate::args::{Connection, Promote, Target};
use crate::cluster::Cluster;
use crate::error::CliError;
use crate::facts::Facts;
use crate::output;

/// Result of a command that was carried out.
const DONE: &str = "Done";

/// What is asked of which model.
#[derive(Clone, Debug)]
pub struct Order {
    pub name: String,
    pub verb: CommandVerb,
    pub timeout: Duration,
}

impl Order {
    fn new(target: Target, verb: CommandVerb) -> Self {
        Self {
            name: target.name,
            verb,
            timeout: Duration::from_secs(target.timeout),
        }
    }

    /// `abort NAME`.
    #[must_use]
    pub fn abort(target: Target) -> Self {
        Self::new(target, CommandVerb::Abort)
    }

    /// `retry NAME`.
    #[must_use]
    pub fn retry(target: Target) -> Self {
        Self::new(target, CommandVerb::Retry)
    }
}

impl From<Promote> for Order {
    fn from(promote: Promote) -> Self {
        let verb = if promote.full {
            CommandVerb::PromoteFull
        } else {
            CommandVerb::Promote
        };
        Self::new(promote.target, verb)
    }
}

/// Gives the command and waits for its answer.
pub async fn run(connection: &Connection, order: &Order) -> Result<(), CliError> {
    let cluster = Cluster::connect(connection).await?;
    let model = cluster.get(&order.name).await?;
    let command = Command {
        verb: order.verb,
        rollout: rollout_of(&model, order.verb)?,
        nonce: format!("{:016x}", rand::random::<u64>()),
    };
    let patch = json!({"metadata": {"annotations": {ANNOTATION_COMMAND: command.to_string()}}});
    let patched = cluster
        .models()
        .patch(&order.name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.map_err(|error| CliError::of(error, &cluster.about("patch", &order.name)))?;
    let answer = wait(&cluster, order, &command.nonce).await?;
    match answer.result.as_str() {
        DONE => output::text(&format!(
            "{}: {} of rollout {} done\n",
            order.name, order.verb, command.rollout
        )),
        refusal => Err(CliError::Refused(refusal.to_owned())),
    }
}

/// The rolloutID that the command speaks of. Whether it may be carried out is the operator's to say; only what can have no
/// meaning is refused here.
///
/// # Errors
/// [`CliError::NoRollout`].
pub fn rollout_of(model: &SmallModel, verb: CommandVerb) -> Result<String, CliError> {
    let facts = Facts::new(model);
    let none = |why: &str| CliError::NoRollout {
        name: facts.name().to_owned(),
        namespace: facts.namespace().to_owned(),
        verb: verb.as_str(),
        why: why.to_owned(),
    };
    let rollout = facts.rollout();
    let Some(rollout) = rollout else {
        return Err(none(
            "what spec asks for is what serves, or nothing has served yet",
        ));
    };
    let ended = matches!(
        rollout.state,
        RolloutState::RollingBack | RolloutState::RolledBack
    );
    match (verb, ended) {
        (CommandVerb::Retry, false) => Err(none("it has not been refused")),
        (CommandVerb::Retry, true) => Ok(rollout.id.clone()),
        (_, true) => Err(none(
            "its candidate was refused; \"retry\" lets it begin anew",
        )),
        (_, false) => Ok(rollout.id.clone()),
    }
}

async fn wait(cluster: &Cluster, order: &Order, nonce: &str) -> Result<LastCommand, CliError> {
    let answer = tokio::time::timeout(order.timeout, answer(cluster, &order.name, nonce)).await;
    answer.unwrap_or(Err(CliError::NoAnswer {
        seconds: order.timeout.as_secs(),
    }))
}

async fn answer(cluster: &Cluster, name: &str, nonce: &str) -> Result<LastCommand, CliError> {
    let changes = cluster.changes(Some(name), false).boxed();
    pin_mut!(changes);
    while let Some(event) = changes.try_next().await? {
        let (Event::Apply(model) | Event::InitApply(model)) = event else {
            if let Event::Delete(_) = event {
                break;
            }
            continue;
        };
        let answered = model.status.and_then(|status| status.last_command);
        if let Some(answered) = answered.filter(|answered| answered.nonce == nonce) {
            return Ok(answered);
        }
    }
    Err(CliError::Deleted {
        name: name.to_owned(),
    })
}
