//! The candidate's engine as long as a route names it, and whether it is ready: only then is the coin tossed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use smallfleet_protocol::timing::READINESS_FAILURES;
use smallfleet_runtime_core::route::Grant;
use tokio::sync::watch;
use tokio::time::Duration;
use tracing::{info, warn};

use super::{EngineClient, Fingerprint, probe};

/// The candidate of a granted route.
#[derive(Debug)]
pub struct Candidate {
    /// The rollout.
    pub rollout_id: String,
    /// For its address and key.
    pub client: Arc<EngineClient>,
    ready: AtomicBool,
    message: Mutex<String>,
}

impl Candidate {
    /// Not ready until its first successful check.
    #[must_use]
    pub fn new(rollout_id: &str, grant: &Grant, idle_max: usize) -> Self {
        let key = Fingerprint(grant.candidate.fingerprint);
        Self {
            rollout_id: rollout_id.to_owned(),
            client: Arc::new(EngineClient::new(grant.candidate.address, key, idle_max)),
            ready: AtomicBool::new(false),
            message: Mutex::new("not checked yet".into()),
        }
    }

    /// Whether this is the candidate of that grant.
    #[must_use]
    pub fn is_of(&self, rollout_id: &str, grant: &Grant) -> bool {
        self.rollout_id == rollout_id
            && self.client.address() == grant.candidate.address
            && self.client.fingerprint().0 == grant.candidate.fingerprint
    }

    /// Whether the coin may be tossed.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Why the last check failed; empty when it did not.
    #[must_use]
    pub fn message(&self) -> String {
        self.message
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, ready: bool, message: String) {
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            let (rollout, address) = (&self.rollout_id, self.client.address());
            if ready {
                info!(rollout, %address, "the candidate is ready");
            } else {
                warn!(rollout, %address, message, "the candidate is not ready");
            }
        }
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

/// Checks the current candidate: at once when there is a new one, then every `interval`. Runs until the sender is gone.
pub async fn check_readiness(
    mut current: watch::Receiver<Option<Arc<Candidate>>>,
    interval: Duration,
) {
    loop {
        let candidate = current.borrow_and_update().clone();
        let changed = match candidate {
            None => current.changed().await,
            Some(candidate) => tokio::select! {
                changed = current.changed() => changed,
                () = check_forever(&candidate, interval) => Ok(()),
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn check_forever(candidate: &Candidate, interval: Duration) {
    let mut failures = 0;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe::ready(&candidate.client, interval).await {
            Ok(()) => {
                failures = 0;
                candidate.note(true, String::new());
            }
            Err(message) => {
                failures += 1;
                let ready = candidate.ready() && failures < READINESS_FAILURES;
                candidate.note(ready, message);
            }
        }
    }
}
