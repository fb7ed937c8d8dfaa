//! What the hub knows of one router.

use std::collections::BTreeMap;
use std::time::Instant;

use smallfleet_analysis::AnalysisError;
use smallfleet_analysis::counts::{ArmCounts, BinaryCounts, Counts, LatencyCounts};
use smallfleet_core::world::{Ack, BurnIn, EngineState, Role, RouteKind, RouterView};
use smallfleet_protocol::timing::ROUTE_LEASE;
use smallfleet_protocol::v1;
use tokio::sync::mpsc;

/// Messages to one router that may wait; a router that is further behind is cut off and comes again.
pub(super) const OUTBOX: usize = 64;

/// The open stream of a router.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) id: u64,
    pub(super) sender: mpsc::Sender<v1::OperatorMessage>,
}

/// One epoch of counters, the newest report of it.
#[derive(Clone, Debug)]
pub(super) struct EpochState {
    pub(super) rollout: String,
    sequence: u64,
    pub(super) closed: bool,
    pub(super) counts: Counts,
}

/// One router.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub(super) hello: v1::Hello,
    pub(super) node: String,
    pub(super) role: Role,
    pub(super) heard: Instant,
    pub(super) outbox: Option<Outbox>,
    /// Last route sent on the present stream.
    pub(super) sent: Option<v1::Route>,
    pub(super) ack: Option<Ack>,
    /// A grant may be in force until then.
    lease_until: Option<Instant>,
    /// rolloutID of that grant.
    pub(super) granted: String,
    pub(super) restarted_with_route: bool,
    pub(super) epochs: BTreeMap<u64, EpochState>,
    pub(super) burn_in: Option<v1::BurnIn>,
    pub(super) candidate: Option<v1::CandidateHealth>,
}

impl Router {
    pub(super) fn new(hello: v1::Hello, node: String, role: Role, now: Instant) -> Self {
        Self {
            hello,
            node,
            role,
            heard: now,
            outbox: None,
            sent: None,
            ack: None,
            lease_until: None,
            granted: String::new(),
            restarted_with_route: false,
            epochs: BTreeMap::new(),
            burn_in: None,
            candidate: None,
        }
    }

    /// Takes a new hello; true when something changed that a plan looks at.
    pub(super) fn hear(&mut self, hello: v1::Hello, now: Instant) -> bool {
        let changed = self.hello.instance != hello.instance || self.hello.engine != hello.engine;
        if self.hello.instance != hello.instance {
            self.restarted_with_route |= self.may_route(now) && !self.granted.is_empty();
            self.forget_process();
        }
        self.hello = hello;
        self.heard = now;
        changed
    }

    /// The process that we knew is gone: what it counted stays as last reported.
    fn forget_process(&mut self) {
        self.outbox = None;
        self.sent = None;
        self.ack = None;
        self.lease_until = None;
        self.burn_in = None;
        self.candidate = None;
        self.close_epochs();
    }

    /// Nothing more will be reported of the epochs so far.
    pub(super) fn close_epochs(&mut self) {
        self.epochs
            .values_mut()
            .for_each(|epoch| epoch.closed = true);
    }

    /// A grant is about to be sent, may have been sent by another leader, or was extended.
    pub(super) fn extend(&mut self, rollout: &str, now: Instant) {
        rollout.clone_into(&mut self.granted);
        self.lease_until = Some(now + ROUTE_LEASE);
    }

    /// It may still send requests to a candidate.
    pub(super) fn may_route(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| until > now)
    }

    pub(super) fn acknowledge(&mut self, ack: &v1::RouteAck) {
        let kind = match ack.kind() {
            v1::route::Kind::Grant => RouteKind::Grant,
            v1::route::Kind::Cut => RouteKind::Cut,
            v1::route::Kind::Withdraw | v1::route::Kind::Unspecified => RouteKind::Withdraw,
        };
        // An acknowledgement of an older route says nothing about the one sent since.
        let newest = self.sent.as_ref().is_none_or(|sent| {
            sent.rollout_id == ack.rollout_id
                && sent.sequence <= ack.sequence
                && sent.kind == ack.kind
        });
        if kind != RouteKind::Grant && newest {
            self.lease_until = None;
        }
        self.ack = Some(Ack {
            rollout: ack.rollout_id.clone(),
            sequence: ack.sequence,
            kind,
            candidate_in_flight: ack.candidate_in_flight,
        });
    }

    /// It acknowledged a grant with traffic of this rollout, and the lease lives.
    pub(super) fn exposes(&self, rollout: &str, now: Instant) -> bool {
        let granted = self.sent.as_ref().is_some_and(|sent| {
            sent.rollout_id == rollout
                && sent.kind() == v1::route::Kind::Grant
                && sent.candidate_traffic_permille > 0
        });
        let acknowledged = self
            .ack
            .as_ref()
            .is_some_and(|ack| ack.rollout == rollout && ack.kind == RouteKind::Grant);
        granted && acknowledged && self.may_route(now)
    }

    /// Cumulative: the highest sequence wins, whatever the order of arrival.
    pub(super) fn report(&mut self, epoch: &v1::Epoch) -> Result<(), AnalysisError> {
        let known = self.epochs.get(&epoch.id);
        if known.is_some_and(|known| known.closed || known.sequence >= epoch.sequence) {
            return Ok(());
        }
        let state = EpochState {
            rollout: epoch.rollout_id.clone(),
            sequence: epoch.sequence,
            closed: epoch.closed,
            counts: counts(epoch)?,
        };
        self.epochs.insert(epoch.id, state);
        Ok(())
    }

    pub(super) fn view(&self, now: Instant) -> RouterView {
        let hello = &self.hello;
        let engine = hello.engine.clone().unwrap_or_default();
        RouterView {
            pod_uid: hello.pod_uid.clone(),
            node: self.node.clone(),
            role: self.role,
            revision: hello.revision.clone(),
            instance: hello.instance.clone(),
            engine: engine_state(engine.state()),
            engine_instance: engine.instance,
            fingerprint: engine.fingerprint,
            address: engine.address,
            node_class: hello.node_class.clone(),
            failure: engine
                .failure
                .map(|failure| (failure.reason, failure.message)),
            restarts: engine.restarts,
            stream: self.outbox.is_some(),
            silent: now.saturating_duration_since(self.heard),
            ack: self.ack.clone(),
            may_route: self.may_route(now),
            restarted_with_route: self.restarted_with_route,
            candidate_ready: self.candidate.as_ref().map(|candidate| candidate.ready),
            candidate_message: self
                .candidate
                .as_ref()
                .map(|health| health.message.clone())
                .unwrap_or_default(),
        }
    }

    /// Burn-in of one rollout, added to the pool of its wave.
    pub(super) fn add_burn_in(&self, rollout: &str, pool: &mut BurnIn) {
        let Some(own) = self
            .burn_in
            .as_ref()
            .filter(|own| own.rollout_id == rollout)
        else {
            return;
        };
        pool.stable_units += u64::from(own.stable_units);
        pool.candidate_units += u64::from(own.candidate_units);
        pool.latencies_microseconds
            .extend(&own.latencies_microseconds);
    }
}

const fn engine_state(state: v1::engine::State) -> EngineState {
    match state {
        v1::engine::State::Ready => EngineState::Ready,
        v1::engine::State::Failed => EngineState::Failed,
        v1::engine::State::Unresponsive => EngineState::Unresponsive,
        v1::engine::State::Starting | v1::engine::State::Unspecified => EngineState::Starting,
    }
}

/// Counts of one epoch, in the cell that it belongs to.
fn counts(epoch: &v1::Epoch) -> Result<Counts, AnalysisError> {
    let permille = u16::try_from(epoch.candidate_traffic_permille).unwrap_or(u16::MAX);
    let freeze = u16::try_from(epoch.freeze).unwrap_or(u16::MAX);
    let mut total = Counts::default();
    if let Some(latency) = epoch
        .latency
        .as_ref()
        .filter(|latency| !latency.stable.is_empty())
    {
        let rhos = latency.candidate.len() / latency.stable.len();
        let units = ArmCounts {
            stable: latency.stable_units,
            candidate: latency.candidate_units,
        };
        let rows = latency
            .candidate
            .chunks(rhos.max(1))
            .map(<[u64]>::to_vec)
            .collect();
        let counts = LatencyCounts::new(units, latency.stable.clone(), rows)?;
        total.add_latency(permille, freeze, &counts)?;
    }
    if let Some(errors) = &epoch.errors {
        let units = ArmCounts {
            stable: errors.stable_units,
            candidate: errors.candidate_units,
        };
        let events = ArmCounts {
            stable: errors.stable,
            candidate: errors.candidate,
        };
        total.add_errors(permille, &BinaryCounts::new(units, events)?)?;
    }
    Ok(total)
}
