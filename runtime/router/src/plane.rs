//! What the parts of a router share: the held route, the counters, the candidate and the arms' queues.
//!
//! The only place where the pure state machines meet a clock. Locks are held for the time of a few map operations and
//! never across an await.

mod unit;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use smallfleet_runtime_core::counters::{Cell, Counters, OPEN_UNITS_MAX, Report};
use smallfleet_runtime_core::lease::{Echo, HeldRoute, LastCut, Refusal, Taken};
use smallfleet_runtime_core::route::{Grant, Instruction, Route};
use smallfleet_runtime_core::{Arm, PerArm};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

pub use self::unit::{Choice, Unit};
use crate::config::Limits;
use crate::engine::candidate::Candidate;
use crate::queue::ArmQueue;

/// Shared state of a router process.
#[derive(Debug)]
pub struct Plane {
    started: Instant,
    limits: Limits,
    state: Mutex<State>,
    /// The candidate of the held grant, leased or not: its readiness is checked.
    candidate: watch::Sender<Option<Arc<Candidate>>>,
    /// The candidate while its route is granted and leased: requests to any other are rescued.
    routed: watch::Sender<Option<Arc<Candidate>>>,
    /// Requests at the candidate.
    candidate_in_flight: watch::Sender<u32>,
    poked: Notify,
    queues: PerArm<ArmQueue>,
}

#[derive(Debug)]
struct State {
    held: HeldRoute,
    counters: Counters,
    /// The grant that units are tossed for.
    active: Option<(String, Arc<Grant>)>,
}

/// What metrics and acknowledgements say about the held route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The rollout.
    pub rollout_id: String,
    /// The route's.
    pub sequence: u64,
    /// The route's.
    pub leader_epoch: u64,
    /// What it says.
    pub instruction: Instruction,
    /// Time left of the lease; zero when it is over.
    pub lease_left: Duration,
}

impl Plane {
    /// `instance`: random bits of this process.
    #[must_use]
    pub fn new(instance: [u8; 16], limits: Limits) -> Self {
        let queue = || ArmQueue::new(limits.max_concurrent_requests, limits.max_queued_requests);
        Self {
            started: Instant::now(),
            limits,
            state: Mutex::new(State {
                held: HeldRoute::default(),
                counters: Counters::new(instance, OPEN_UNITS_MAX),
                active: None,
            }),
            candidate: watch::Sender::new(None),
            routed: watch::Sender::new(None),
            candidate_in_flight: watch::Sender::new(0),
            poked: Notify::new(),
            queues: PerArm {
                stable: queue(),
                candidate: queue(),
            },
        }
    }

    /// The request limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The arm's own queue.
    #[must_use]
    pub fn queue(&self, arm: Arm) -> &ArmQueue {
        self.queues.get(arm)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not stop serving; every operation leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what the session tells

    /// A stream begins; the hello is about to be sent.
    pub fn stream_started(&self) {
        let now = self.now();
        self.lock().held.stream_started(now);
    }

    /// A keep-alive is about to be sent.
    pub fn keep_alive_sent(&self, nonce: u64) {
        let now = self.now();
        self.lock().held.keep_alive_sent(nonce, now);
    }

    /// The operator echoed a keep-alive.
    pub fn echoed(&self, echo: &Echo<'_>) {
        let mut state = self.lock();
        if state.held.echoed(echo) {
            self.follow(&mut state);
            self.poked.notify_one();
        }
    }

    /// The operator sent a route.
    pub fn take_route(&self, route: Route) -> Result<Taken, Refusal> {
        let (rollout, sequence) = (route.rollout_id.clone(), route.sequence);
        let kind = route.instruction.name();
        let mut state = self.lock();
        let taken = state.held.accept(route);
        match taken {
            Ok(Taken::Repeated) => {}
            Ok(_) => info!(rollout, sequence, kind, "route"),
            Err(refusal) => warn!(rollout, sequence, kind, %refusal, "route refused"),
        }
        if taken.is_ok() {
            self.follow(&mut state);
            self.poked.notify_one();
        }
        taken
    }

    /// The operator has stored these closed epochs.
    pub fn stored(&self, ids: &[u64]) {
        self.lock().counters.stored(ids);
    }

    // ---- what the session asks

    /// Counts up to now.
    pub fn report(&self) -> Report {
        let now = self.now();
        let mut state = self.lock();
        state.counters.mature(now);
        state.counters.report()
    }

    /// Whether there is something to report: a grant is held, or an epoch is not stored.
    #[must_use]
    pub fn must_report(&self) -> bool {
        let state = self.lock();
        holds_grant(&state.held) || state.counters.unstored()
    }

    /// Whether the rollout waits for this router: it comes back to its stream quickly.
    #[must_use]
    pub fn holds_route(&self) -> bool {
        holds_grant(&self.lock().held)
    }

    /// The held route.
    #[must_use]
    pub fn route(&self) -> Option<RouteView> {
        let now = self.now();
        let state = self.lock();
        let left = state.held.leased_until().unwrap_or_default();
        state.held.route().map(|route| RouteView {
            rollout_id: route.rollout_id.clone(),
            sequence: route.sequence,
            leader_epoch: route.leader_epoch,
            instruction: route.instruction.clone(),
            lease_left: left.saturating_sub(now),
        })
    }

    /// The last cut that was carried out.
    #[must_use]
    pub fn last_cut(&self) -> Option<LastCut> {
        self.lock().held.last_cut().cloned()
    }

    /// Units that wait for maturity.
    #[must_use]
    pub fn open_units(&self) -> usize {
        self.lock().counters.open_units()
    }

    /// The candidate of the held grant.
    #[must_use]
    pub fn candidate(&self) -> Option<Arc<Candidate>> {
        self.candidate.borrow().clone()
    }

    /// To wait for another candidate.
    #[must_use]
    pub fn watch_candidate(&self) -> watch::Receiver<Option<Arc<Candidate>>> {
        self.candidate.subscribe()
    }

    /// To wait for the candidate's requests to end.
    #[must_use]
    pub fn watch_candidate_in_flight(&self) -> watch::Receiver<u32> {
        self.candidate_in_flight.subscribe()
    }

    // ---- what requests ask

    /// Decides which arm answers a request; a unit is tossed only for a `POST`.
    #[must_use]
    pub fn choose(self: &Arc<Self>, headers: &HeaderMap, unit: bool) -> Choice {
        let now = self.now();
        let mut state = self.lock();
        let State {
            held,
            counters,
            active,
        } = &mut *state;
        let Some((_, grant)) = held.granted(now).filter(|_| active.is_some()) else {
            return Choice::stable();
        };
        let routed = self.routed.borrow().clone();
        let candidate = routed.filter(|candidate| candidate.ready());
        if let Some(arm) = forced(grant, headers) {
            counters.forced(arm);
            return Choice::of(arm, candidate, None);
        }
        if !unit || candidate.is_none() {
            return Choice::stable();
        }
        match counters.toss(now, &rand::random()) {
            Some((arm, ticket)) => {
                Choice::of(arm, candidate, Some(Unit::new(self.clone(), ticket)))
            }
            None => Choice::stable(),
        }
    }

    /// The candidate, while its route is granted, leased and it is ready.
    #[must_use]
    pub fn routed_candidate(&self) -> Option<Arc<Candidate>> {
        let now = self.now();
        self.lock().held.granted(now)?;
        self.routed
            .borrow()
            .clone()
            .filter(|candidate| candidate.ready())
    }

    /// Ends when this candidate has no route any more.
    pub async fn unrouted(&self, candidate: &Arc<Candidate>) {
        let mut routed = self.routed.subscribe();
        let same = |now: &Option<Arc<Candidate>>| {
            now.as_ref().is_some_and(|now| Arc::ptr_eq(now, candidate))
        };
        // The sender lives as long as this.
        let _ = routed.wait_for(|now| !same(now)).await;
    }

    /// Counts a request at the candidate until dropped.
    #[must_use]
    pub fn at_candidate(self: &Arc<Self>) -> AtCandidate {
        self.candidate_in_flight.send_modify(|count| *count += 1);
        AtCandidate(self.clone())
    }

    // ---- housekeeping

    /// Ends leases in time and books units that have matured. Sleeps while no route is held.
    pub async fn keep_house(&self) {
        loop {
            match self.next_look() {
                Some(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.poked.notified() => {}
                },
                None => self.poked.notified().await,
            }
            self.look();
        }
    }

    fn next_look(&self) -> Option<Duration> {
        const MATURE: Duration = Duration::from_secs(1);
        let now = self.now();
        let state = self.lock();
        let until = state.active.as_ref().and(state.held.leased_until());
        let lease = until.map(|until| until.saturating_sub(now).min(MATURE));
        lease.or_else(|| (state.counters.open_units() > 0).then_some(MATURE))
    }

    fn look(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.counters.mature(now);
        self.follow(&mut state);
    }

    /// The process ends: what is open is settled for the last report.
    pub fn settle(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.counters.route_lost(now);
        state.counters.leave();
    }

    /// Brings counters and candidate in line with the held route. The order is the point: units are settled before the
    /// requests of a lost route are ended.
    fn follow(&self, state: &mut State) {
        let now = self.now();
        let granted = state
            .held
            .granted(now)
            .map(|(id, grant)| (id.to_owned(), grant.clone()));
        let lost = match (&state.active, &granted) {
            (Some(_), None) => true,
            (Some((was, old)), Some((is, new))) => was != is || !old.same_candidate(new),
            (None, _) => false,
        };
        if lost {
            state.counters.route_lost(now);
            info!("the candidate has no route any more");
        }
        if granted.is_none() && is_taken_back(&state.held) {
            // The epoch closes, so that it can be stored for good; a later grant opens another. A lease that is over comes back.
            state.counters.leave();
        }
        if let Some((id, grant)) = &granted
            && state.active.as_ref() != granted.as_ref()
        {
            state
                .counters
                .enter(id, Cell::of(grant), grant.burn_in_units);
        }
        state.active = granted;
        self.follow_candidate(state);
    }

    fn follow_candidate(&self, state: &State) {
        let route = state.held.route();
        let wanted = route.and_then(|route| match &route.instruction {
            Instruction::Grant(grant) => Some((route.rollout_id.as_str(), grant)),
            Instruction::Withdraw | Instruction::Cut => None,
        });
        self.candidate.send_if_modified(|held| {
            let same = match (&*held, &wanted) {
                (None, None) => true,
                (Some(held), Some((id, grant))) => held.is_of(id, grant),
                _ => false,
            };
            if !same {
                if let Some(left) = held.take() {
                    left.client.close_idle();
                }
                let idle_max = self.limits.max_concurrent_requests.get();
                *held = wanted.map(|(id, grant)| Arc::new(Candidate::new(id, grant, idle_max)));
            }
            !same
        });
        let routed = state.active.as_ref().and_then(|_| self.candidate());
        self.routed.send_if_modified(|held| {
            let same = match (&*held, &routed) {
                (None, None) => true,
                (Some(held), Some(routed)) => Arc::ptr_eq(held, routed),
                _ => false,
            };
            *held = routed;
            !same
        });
    }
}

fn holds_grant(held: &HeldRoute) -> bool {
    matches!(instruction(held), Some(Instruction::Grant(_)))
}

fn is_taken_back(held: &HeldRoute) -> bool {
    matches!(
        instruction(held),
        Some(Instruction::Withdraw | Instruction::Cut)
    )
}

fn instruction(held: &HeldRoute) -> Option<&Instruction> {
    held.route().map(|route| &route.instruction)
}

/// The arm of the first override that matches.
fn forced(grant: &Grant, headers: &HeaderMap) -> Option<Arm> {
    let matches = |entry: &&smallfleet_runtime_core::route::Override| {
        let mut found = headers.get_all(entry.header.as_str()).iter();
        found.any(|value| {
            entry
                .values
                .iter()
                .any(|wanted| wanted.as_bytes() == value.as_bytes())
        })
    };
    grant.overrides.iter().find(matches).map(|entry| entry.to)
}

/// A request at the candidate.
#[derive(Debug)]
pub struct AtCandidate(Arc<Plane>);

impl Drop for AtCandidate {
    fn drop(&mut self) {
        self.0.candidate_in_flight.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests;
