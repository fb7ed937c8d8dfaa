//! One reconcile: observe, publish the routes of what is persisted, plan, apply. Runs only on the leader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config, Error as RunError};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use smallfleet_core::{plan, routes};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::admin::Progress;
use crate::apply::Applier;
use crate::caches::ModelMeta;
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
    known: Mutex<HashMap<ModelKey, Known>>,
}

/// What is remembered of a model between two reconciles.
#[derive(Debug)]
struct Known {
    memory: Memory,
    /// Failed reconciles in a row.
    failures: u32,
    /// Not before then, whatever wakes it.
    rests_until: Option<Instant>,
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
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ModelKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model is reconciled by one task at a time, so what is known of it may leave the map meanwhile.
    fn take(&self, key: &ModelKey) -> Known {
        let known = self.known().remove(key);
        known.unwrap_or_else(|| Known {
            memory: Memory::new(self.reservations.clone()),
            failures: 0,
            rests_until: None,
        })
    }

    /// The model is gone.
    fn forget(&self, key: &ModelKey) {
        self.hub.forget(key);
        self.metrics.forget(key);
        self.take(key);
    }

    /// How long a model that has just failed is left alone still.
    fn rest(&self, key: &ModelKey) -> Option<Duration> {
        let until = self.known().get(key)?.rests_until?;
        let rest = until.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    fn failures(&self, key: &ModelKey) -> u32 {
        self.known().get(key).map_or(0, |known| known.failures)
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
    Controller::new(Api::<ModelMeta>::all(client), watcher::Config::default())
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
            context.forget(&(gone.namespace.unwrap_or_default(), gone.name));
        }
        _ => {}
    }
}

async fn reconcile(model: Arc<ModelMeta>, context: Arc<Context>) -> Result<Action, Error> {
    let key = (model.namespace().unwrap_or_default(), model.name_any());
    if let Some(rest) = context.rest(&key) {
        return Ok(Action::requeue(rest));
    }
    let started = Instant::now();
    let running = context.progress.reconcile_started();
    let mut known = context.take(&key);
    let outcome = once(&key, &context, &mut known.memory).await;
    drop(running);
    let error = outcome.as_ref().err().map(Error::class);
    context.metrics.reconciled(started.elapsed(), error);
    if error.is_some() {
        context.hub.suspend(&key);
    }
    known.failures = error.map_or(0, |_| known.failures.saturating_add(1));
    known.rests_until = error.map(|class| Instant::now() + least_rest(class));
    if let Ok(None) = outcome {
        context.forget(&key);
    } else {
        context.known().insert(key, known);
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
    if let Some(took) = context.hub.cut_took(key) {
        context.metrics.cut(key, took);
    }
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
fn after_error(model: Arc<ModelMeta>, error: &Error, context: Arc<Context>) -> Action {
    let key = (model.namespace().unwrap_or_default(), model.name_any());
    if error.class() == Class::Conflict {
        tracing::debug!(namespace = key.0, model = key.1, %error, "somebody was faster");
        return Action::requeue(AFTER_CONFLICT);
    }
    tracing::warn!(namespace = key.0, model = key.1, class = error.class().as_str(), %error, "a reconcile failed");
    Action::requeue(backoff(context.failures(&key)))
}

/// Watches may wake a model many times a second, and what has just failed would most likely fail again.
const fn least_rest(class: Class) -> Duration {
    match class {
        Class::Conflict => AFTER_CONFLICT,
        _ => BACKOFF_FIRST,
    }
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
