//! One reconcile: observe, publish the routes of what is persisted, plan, apply. Runs only on the leader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config, Error as RunError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use smallfleet_core::{plan, routes};
use smallfleet_crds::SmallModel;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::admin::Progress;
use crate::apply::Applier;
use crate::error::{Class, Error};
use crate::metrics::Metrics;
use crate::observe::{Memory, Observer};
use crate::reservations::Reservations;
use crate::session::{Hub, ModelKey};

/// Models that are worked on at the same time.
const CONCURRENCY: u16 = 8;
/// First and longest wait after an error; doubled in between.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LONGEST: Duration = Duration::from_secs(60);
/// A conflict is somebody else's newer write: looked at again soon.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);

/// What every reconcile uses.
#[derive(Debug)]
pub struct Context {
    pub observer: Observer,
    pub applier: Applier,
    pub hub: Hub,
    pub metrics: Metrics,
    pub progress: Progress,
    reservations: Reservations,
    memories: Mutex<HashMap<ModelKey, (Memory, u32)>>,
}

impl Context {
    #[must_use]
    pub fn new(
        observer: Observer,
        applier: Applier,
        hub: Hub,
        metrics: Metrics,
        progress: Progress,
    ) -> Self {
        Self {
            observer,
            applier,
            hub,
            metrics,
            progress,
            reservations: Reservations::default(),
            memories: Mutex::default(),
        }
    }

    /// A model is reconciled by one task at a time, so its memory may leave the map meanwhile.
    fn take(&self, key: &ModelKey) -> (Memory, u32) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memories.remove(key);
        known.unwrap_or_else(|| (Memory::new(self.reservations.clone()), 0))
    }

    fn put(&self, key: ModelKey, memory: Memory, failures: u32) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.insert(key, (memory, failures));
    }

    fn failures(&self, key: &ModelKey) -> u32 {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(key).map_or(0, |(_, failures)| *failures)
    }
}

/// Reconciles every SmallModel until shutdown.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    wakes: mpsc::Receiver<ModelKey>,
    shutdown: CancellationToken,
) {
    let woken = ReceiverStream::new(wakes)
        .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    Controller::new(Api::<SmallModel>::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, after_error, context.clone())
        .for_each(|outcome| {
            ended(outcome, &context);
            std::future::ready(())
        })
        .await;
}

/// A model that is gone is not reconciled any more: what was remembered of it ends here.
fn ended<T, Q: std::fmt::Display>(outcome: Result<T, RunError<Error, Q>>, context: &Context) {
    match outcome {
        Err(RunError::QueueError(error)) => {
            tracing::warn!(%error, "the watch of SmallModels broke; it starts again");
        }
        Err(RunError::ObjectNotFound(gone)) => {
            let key = (gone.namespace.unwrap_or_default(), gone.name);
            context.hub.forget(&key);
            context.take(&key);
        }
        _ => {}
    }
}

async fn reconcile(model: Arc<SmallModel>, context: Arc<Context>) -> Result<Action, Error> {
    let key = (model.namespace().unwrap_or_default(), model.name_any());
    let started = Instant::now();
    let running = context.progress.reconcile_started();
    let (mut memory, failures) = context.take(&key);
    let outcome = once(&key, &context, &mut memory).await;
    drop(running);
    context
        .metrics
        .reconciled(started.elapsed(), outcome.as_ref().err().map(Error::class));
    let failures = if outcome.is_ok() {
        0
    } else {
        failures.saturating_add(1)
    };
    match &outcome {
        Ok(None) => context.hub.forget(&key),
        Ok(Some(_)) | Err(_) => context.put(key, memory, failures),
    }
    outcome.map(|again| match again.flatten() {
        Some(wait) => Action::requeue(wait),
        None => Action::await_change(),
    })
}

/// `None`: the model is gone. `Some(None)`: at rest.
async fn once(
    key: &ModelKey,
    context: &Context,
    memory: &mut Memory,
) -> Result<Option<Option<Duration>>, Error> {
    let Some(world) = context.observer.observe(key, memory).await? else {
        return Ok(None);
    };
    context.hub.publish(key, routes(&world));
    context.metrics.observed(key, &world);
    let plan = plan(&world);
    let (requeue, acted) = (plan.requeue, !plan.actions.is_empty());
    context.applier.apply(key, &world, plan, memory).await?;
    // What was just done may be all that the next step waits for, and our caches show it only soon.
    Ok(Some(if acted {
        Some(requeue.unwrap_or(AFTER_CONFLICT).min(AFTER_CONFLICT))
    } else {
        requeue
    }))
}

#[allow(clippy::needless_pass_by_value)]
fn after_error(model: Arc<SmallModel>, error: &Error, context: Arc<Context>) -> Action {
    let key = (model.namespace().unwrap_or_default(), model.name_any());
    if error.class() == Class::Conflict {
        tracing::debug!(namespace = key.0, model = key.1, %error, "somebody was faster");
        return Action::requeue(AFTER_CONFLICT);
    }
    tracing::warn!(namespace = key.0, model = key.1, class = error.class().as_str(), %error, "a reconcile failed");
    Action::requeue(backoff(context.failures(&key)))
}

/// 0.5 s, 1 s, 2 s, ... at most a minute.
fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(BACKOFF_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_wait_longer_and_longer_but_never_more_than_a_minute() {
        assert_eq!(backoff(1), Duration::from_millis(500));
        assert_eq!(backoff(3), Duration::from_secs(2));
        assert_eq!(backoff(u32::MAX), Duration::from_secs(60));
    }
}
