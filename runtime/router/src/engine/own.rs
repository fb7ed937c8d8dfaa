//! The engine of this router's own pod: followed through engine.json and its readiness check.

use std::path::PathBuf;
use std::sync::Arc;

use smallfleet_engine::{EngineState, Phase};
use smallfleet_protocol::timing::READINESS_FAILURES;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::{EngineClient, Fingerprint, probe};
use crate::config::{Limits, Pod, Timing};

/// What is known about the own engine.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// engine.json; `None` until an engine has written one.
    pub state: Option<EngineState>,
    /// For the key in engine.json.
    pub client: Option<Arc<EngineClient>>,
    /// It said Ready and does not answer its readiness check: why.
    pub unresponsive: Option<String>,
    /// Engine processes seen, less one.
    pub restarts: u32,
    /// The last process before this one ended like this; until this one is ready.
    pub ended: Option<Ended>,
}

/// How an engine process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// CamelCase: the engine's own reason, or `Exited`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Own {
    /// The engine answers requests, as far as one knows.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.phase() == Some(Phase::Ready) && self.unresponsive.is_none()
    }

    fn phase(&self) -> Option<Phase> {
        self.state.as_ref().map(|state| state.state)
    }

    /// What the operator is told at once: everything but the client.
    #[must_use]
    pub fn told(&self) -> (Option<&EngineState>, bool, u32) {
        (
            self.state.as_ref(),
            self.unresponsive.is_some(),
            self.restarts,
        )
    }

    /// Takes a new engine.json in. `client` makes a client for a key.
    fn observe(&mut self, fresh: EngineState, client: impl Fn(Fingerprint) -> EngineClient) {
        let before = self.state.take();
        let other = before
            .as_ref()
            .is_some_and(|before| before.instance != fresh.instance);
        if other {
            self.restarts = self.restarts.saturating_add(1);
            self.unresponsive = None;
            self.ended = before.as_ref().map(ending);
        }
        if fresh.state == Phase::Ready {
            self.ended = None;
        }
        let key = fresh.fingerprint.parse::<Fingerprint>().ok();
        if self.client.as_ref().map(|client| client.fingerprint()) != key {
            self.client = key.map(|key| Arc::new(client(key)));
        }
        self.state = Some(fresh);
    }
}

fn ending(state: &EngineState) -> Ended {
    match &state.failure {
        Some(failure) => Ended {
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
        },
        None => Ended {
            reason: "Exited".into(),
            message: "the engine process ended without saying why; see the exit code of the container engine".into(),
        },
    }
}

/// Follows the own engine.
#[derive(Debug)]
pub struct Follower {
    run_dir: PathBuf,
    address: std::net::SocketAddr,
    idle_max: usize,
    timing: Timing,
    own: watch::Sender<Own>,
    doubt: Arc<Notify>,
}

/// The own engine as others see it.
#[derive(Debug, Clone)]
pub struct OwnEngine {
    own: watch::Receiver<Own>,
    doubt: Arc<Notify>,
}

impl OwnEngine {
    /// The client, if the engine said that it is ready.
    #[must_use]
    pub fn client(&self) -> Option<Arc<EngineClient>> {
        let own = self.own.borrow();
        own.client
            .clone()
            .filter(|_| own.phase() == Some(Phase::Ready))
    }

    /// A request failed: look again now.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// What is known now.
    #[must_use]
    pub fn now(&self) -> Own {
        self.own.borrow().clone()
    }

    /// Whether it is ready now.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.own.borrow().ready()
    }

    /// To wait for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Own> {
        self.own.clone()
    }
}

impl Follower {
    /// Nothing is read before [`Follower::run`].
    #[must_use]
    pub fn new(run_dir: PathBuf, pod: &Pod, limits: &Limits, timing: Timing) -> (Self, OwnEngine) {
        let (own, receiver) = watch::channel(Own::default());
        let doubt = Arc::new(Notify::new());
        let view = OwnEngine {
            own: receiver,
            doubt: doubt.clone(),
        };
        let follower = Self {
            run_dir,
            address: pod.engine_address(),
            idle_max: limits.max_concurrent_requests.get(),
            timing,
            own,
            doubt,
        };
        (follower, view)
    }

    /// Follows until dropped.
    pub async fn run(self) {
        tokio::join!(self.follow_file(), self.check_readiness());
    }

    async fn follow_file(&self) {
        let mut complained = false;
        loop {
            complained = self.read(complained);
            tokio::select! {
                () = tokio::time::sleep(self.timing.engine_file) => {}
                () = self.doubt.notified() => {}
            }
        }
    }

    /// The file lies in memory and is small: reading it does not block. Returns whether it could not be read.
    fn read(&self, complained: bool) -> bool {
        match EngineState::read(&self.run_dir) {
            Ok(Some(fresh)) => {
                self.own.send_if_modified(|own| self.take(own, fresh));
                false
            }
            Ok(None) => false,
            Err(error) => {
                if !complained {
                    warn!(%error, "the engine's state is unknown");
                }
                true
            }
        }
    }

    fn take(&self, own: &mut Own, fresh: EngineState) -> bool {
        if own.state.as_ref() == Some(&fresh) {
            return false;
        }
        info!(state = ?fresh.state, instance = fresh.instance, "the engine's state changed");
        own.observe(fresh, |key| {
            EngineClient::new(self.address, key, self.idle_max)
        });
        true
    }

    async fn check_readiness(&self) {
        let mut failures = 0;
        let mut instance = String::new();
        let mut ticks = tokio::time::interval_at(
            Instant::now() + self.timing.readiness,
            self.timing.readiness,
        );
        loop {
            ticks.tick().await;
            let own = self.own.borrow().clone();
            let (Some(client), Some(state)) = (own.client, own.state) else {
                continue;
            };
            if state.state != Phase::Ready {
                continue;
            }
            if instance != state.instance {
                instance = state.instance;
                failures = 0;
            }
            failures = self.check(&client, &instance, failures).await;
        }
    }

    /// Returns how often in a row the check has failed.
    async fn check(&self, client: &Arc<EngineClient>, instance: &str, failures: u32) -> u32 {
        let result = probe::ready(
            client,
            self.timing.readiness.max(Duration::from_millis(100)),
        )
        .await;
        let failures = if result.is_ok() { 0 } else { failures + 1 };
        let unresponsive = result.err().filter(|_| failures >= READINESS_FAILURES);
        self.own.send_if_modified(|own| {
            let same = own
                .state
                .as_ref()
                .is_some_and(|state| state.instance == instance);
            let changed = same && own.unresponsive.is_some() != unresponsive.is_some();
            if changed {
                own.unresponsive = unresponsive;
            }
            changed
        });
        failures
    }
}

#[cfg(test)]
mod tests {
    use smallfleet_engine::{Failure, FailureReason};

    use super::*;

    fn state(instance: &str, state: Phase, failure: Option<Failure>) -> EngineState {
        EngineState {
            state,
            fingerprint: "ab".repeat(32),
            instance: instance.into(),
            node_class: "amd64-avx2".into(),
            failure,
        }
    }

    fn observe(own: &mut Own, fresh: EngineState) {
        own.observe(fresh, |key| {
            EngineClient::new(([127, 0, 0, 1], 1).into(), key, 1)
        });
    }

    #[test]
    fn a_new_process_is_a_restart_and_tells_how_the_last_one_ended() {
        let mut own = Own::default();
        observe(&mut own, state("a", Phase::Ready, None));
        assert!(own.ready());
        observe(&mut own, state("b", Phase::Starting, None));
        assert_eq!(own.restarts, 1);
        assert_eq!(
            own.ended.as_ref().map(|ended| ended.reason.as_str()),
            Some("Exited")
        );
        observe(&mut own, state("b", Phase::Ready, None));
        assert_eq!((own.restarts, own.ended.clone()), (1, None));
    }

    #[test]
    fn a_failure_is_kept_while_the_next_process_starts() {
        let failure = Failure {
            reason: FailureReason::LoadFailed,
            message: "no graph".into(),
        };
        let mut own = Own::default();
        observe(&mut own, state("a", Phase::Failed, Some(failure)));
        observe(&mut own, state("b", Phase::Starting, None));
        assert!(!own.ready());
        assert_eq!(
            own.ended.map(|ended| ended.reason),
            Some("LoadFailed".into())
        );
    }
}
