//! Leader election: one Lease, replaced with its resourceVersion.
//!
//! Time is measured on this process's monotonic clock only: another leader counts as gone when its Lease has not changed for
//! [`LEASE`], and we count as gone when we could not renew for [`RENEW_DEADLINE`], which is shorter. `leaseTransitions` is the leader
//! epoch: it rises with every process that leads, also when the identity (pod uid) is the same after a container restart.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use smallfleet_crds::names::ANNOTATION_SESSION_ADDRESS;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{is_conflict, is_not_found};

/// A Lease that did not change for this long is free.
pub const LEASE: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops leading.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at the Lease, and between two renewals.
pub const RETRY: Duration = Duration::from_secs(2);

const NAME: &str = "smallfleet-operator";

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another replica, or nobody yet; its session address if known.
    StandBy { leader_address: Option<String> },
    /// This process, with its epoch.
    Leading { epoch: u64 },
    /// This process led and does no longer: it must end.
    Lost,
}

/// The election as one replica takes part in it.
pub struct Election {
    leases: Api<Lease>,
    identity: String,
    session_address: String,
    standing: watch::Sender<Standing>,
    observed: Option<Observed>,
}

/// Another holder's Lease as it was last seen, and since when it has been so.
struct Observed {
    version: String,
    epoch: u64,
    since: Instant,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Election({})", self.identity)
    }
}

impl Election {
    /// Takes part as `identity`; others learn `session_address` from the Lease.
    #[must_use]
    pub fn new(
        leases: Api<Lease>,
        identity: String,
        session_address: String,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, receiver) = watch::channel(Standing::StandBy {
            leader_address: None,
        });
        let election = Self {
            leases,
            identity,
            session_address,
            standing,
            observed: None,
        };
        (election, receiver)
    }

    /// Runs until shutdown (the Lease is released, so that another takes over at once) or until the Lease is lost.
    pub async fn run(mut self, shutdown: CancellationToken, tick: impl Fn()) {
        let mut held: Option<(Lease, Instant)> = None;
        loop {
            tick();
            held = self.step(held).await;
            if *self.standing.borrow() == Standing::Lost {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = shutdown.cancelled() => break,
            }
        }
        if let Some((lease, _)) = held {
            self.release(lease).await;
        }
    }

    async fn step(&mut self, held: Option<(Lease, Instant)>) -> Option<(Lease, Instant)> {
        match held {
            Some((lease, renewed)) => self.renew(lease, renewed).await,
            None => self.try_acquire().await,
        }
    }

    async fn renew(&self, lease: Lease, renewed: Instant) -> Option<(Lease, Instant)> {
        let asked = Instant::now();
        let limit = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
        let epoch = epoch_of(&lease);
        let renewal = self.replace(self.held_by_us(&lease, epoch));
        let lease = match tokio::time::timeout(limit, renewal).await {
            Ok(Ok(lease)) => return Some((lease, asked)),
            Ok(Err(error)) if is_conflict(&error) => {
                let Some(lease) = self.still_ours(epoch, renewed).await else {
                    self.lose(&format!("it was taken: {error}"));
                    return None;
                };
                lease
            }
            Ok(Err(error)) if is_not_found(&error) => {
                self.lose(&format!("it was deleted: {error}"));
                return None;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be renewed");
                lease
            }
            Err(_) => {
                tracing::warn!("the Lease could not be renewed in time");
                lease
            }
        };
        if renewed.elapsed() + RETRY >= RENEW_DEADLINE {
            self.lose(&format!("it was not renewed for {RENEW_DEADLINE:?}"));
            return None;
        }
        Some((lease, renewed))
    }

    fn lose(&self, why: &str) {
        tracing::error!("the Lease is lost: {why}");
        self.standing.send_replace(Standing::Lost);
    }

    /// A conflict may be with our own renewal whose answer was lost: then the Lease is as we wrote it.
    async fn still_ours(&self, epoch: u64, renewed: Instant) -> Option<Lease> {
        let limit = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
        let found = tokio::time::timeout(limit, self.leases.get_opt(NAME)).await;
        let lease = found.ok()?.ok()??;
        (self.is_held_by_us(&lease) && epoch_of(&lease) == epoch).then_some(lease)
    }

    async fn try_acquire(&mut self) -> Option<(Lease, Instant)> {
        let asked = Instant::now();
        // Who leads has time for a renewal.
        let limit = RENEW_DEADLINE.saturating_sub(RETRY);
        let acquired = tokio::time::timeout(limit, self.acquire()).await;
        let lease = match acquired {
            Ok(Ok(lease)) => lease?,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be looked at");
                return None;
            }
            Err(_) => {
                tracing::warn!("no answer about the Lease");
                return None;
            }
        };
        let epoch = epoch_of(&lease);
        tracing::info!(epoch, "leading");
        self.standing.send_replace(Standing::Leading { epoch });
        Some((lease, asked))
    }

    async fn acquire(&mut self) -> Result<Option<Lease>, kube::Error> {
        let Some(current) = self.leases.get_opt(NAME).await? else {
            let deleted = self.observed.as_ref().map(|observed| observed.epoch);
            let epoch = next_epoch(deleted, Timestamp::now());
            let first = self.held_by_us(&Lease::default(), epoch);
            return settle(self.leases.create(&PostParams::default(), &first).await);
        };
        if !self.is_free(&current) {
            let annotations = current.metadata.annotations.unwrap_or_default();
            let leader_address = annotations.get(ANNOTATION_SESSION_ADDRESS).cloned();
            self.standing.send_if_modified(|standing| {
                let new = Standing::StandBy { leader_address };
                let changed = *standing != new;
                *standing = new;
                changed
            });
            return Ok(None);
        }
        let epoch = next_epoch(Some(epoch_of(&current)), Timestamp::now());
        settle(self.replace(self.held_by_us(&current, epoch)).await)
    }

    /// Released, our own from before a restart, or unchanged for [`LEASE`] by our clock.
    fn is_free(&mut self, lease: &Lease) -> bool {
        if holder_of(lease).is_empty() || self.is_held_by_us(lease) {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.observed {
            Some(seen) if seen.version == version => seen.since.elapsed() >= LEASE,
            _ => {
                self.observed = Some(Observed {
                    version,
                    epoch: epoch_of(lease),
                    since: Instant::now(),
                });
                false
            }
        }
    }

    fn is_held_by_us(&self, lease: &Lease) -> bool {
        holder_of(lease) == self.identity
    }

    fn held_by_us(&self, current: &Lease, epoch: u64) -> Lease {
        let address = (
            ANNOTATION_SESSION_ADDRESS.to_owned(),
            self.session_address.clone(),
        );
        self.with_holder(
            current,
            self.identity.clone(),
            epoch,
            BTreeMap::from([address]),
        )
    }

    fn with_holder(
        &self,
        current: &Lease,
        holder: String,
        epoch: u64,
        annotations: BTreeMap<String, String>,
    ) -> Lease {
        let before = current.spec.clone().unwrap_or_default();
        let now = Some(MicroTime(Timestamp::now()));
        let led_before =
            before.holder_identity.as_deref() == Some(&holder) && epoch_of(current) == epoch;
        Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                annotations: Some(annotations),
                resource_version: current.metadata.resource_version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: if led_before {
                    before.acquire_time
                } else {
                    now.clone()
                },
                renew_time: now,
                lease_transitions: i32::try_from(epoch).ok(),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, kube::Error> {
        self.leases
            .replace(NAME, &PostParams::default(), &lease)
            .await
    }

    async fn release(&self, lease: Lease) {
        let free = self.with_holder(&lease, String::new(), epoch_of(&lease), BTreeMap::new());
        match tokio::time::timeout(RETRY, self.replace(free)).await {
            Ok(Ok(_)) => tracing::info!("the Lease is released"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be released; it runs out by itself")
            }
            Err(_) => {
                tracing::warn!("the Lease could not be released in time; it runs out by itself")
            }
        }
    }
}

/// A conflict means that another replica was faster: no error.
fn settle(outcome: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match outcome {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Rises with every process that leads. Minutes since 1970 are a floor, so that it also rises over a Lease that was deleted or
/// restored from a backup: routers refuse an epoch below one that they have seen, for as long as they live.
fn next_epoch(previous: Option<u64>, now: Timestamp) -> u64 {
    let floor = u64::try_from(now.as_second() / 60).unwrap_or(0);
    previous.map_or(floor, |previous| floor.max(previous + 1))
}

fn holder_of(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

fn epoch_of(lease: &Lease) -> u64 {
    let transitions = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_transitions)
        .unwrap_or(0);
    u64::try_from(transitions).unwrap_or(0)
}

#[cfg(test)]
mod tests;
