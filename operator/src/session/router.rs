//! What the hub knows of one router.

use std::collections::{BTreeMap, BTreeSet};

use smallfleet_analysis::counts::Counts;
use smallfleet_core::world::{Ack, BurnIn, EngineState, Role, RouteKind, RouterView};
use smallfleet_protocol::timing::{REPORT, ROUTE_LEASE};
use smallfleet_protocol::v1;
use smallfleet_protocol::v1::route::Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::counts::{CountsError, Told, counts};
use super::wire::lowered;

/// Messages to one router that may wait; a router that is further behind is cut off and comes again.
pub(super) const OUTBOX: usize = 64;
/// Epochs of one router in one rollout; a change of share or thresholds opens one, so this is far away.
const EPOCHS_MAX: usize = 256;
/// Latencies in one burn-in sample; a router sends twice its burn-in units.
const BURN_IN_MAX: usize = 4_096;

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
    /// It is in the evidence store.
    stored: bool,
    pub(super) counts: Counts,
}

/// What reports are taken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Book<'m> {
    pub(super) rollout: &'m str,
    /// Status says that the rollout is cut: what comes now decides nothing.
    pub(super) over: bool,
    /// Epochs in the evidence store.
    pub(super) stored: &'m BTreeSet<u64>,
    pub(super) told: Option<Told>,
}

/// One router.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub(super) hello: v1::Hello,
    pub(super) node: String,
    pub(super) role: Role,
    pub(super) heard: Instant,
    pub(super) outbox: Option<Outbox>,
    /// When the present stream was opened, and whether it brought a report.
    opened: Option<Instant>,
    reported: bool,
    /// Last route sent on the present stream.
    sent: Option<v1::Route>,
    ack: Option<Ack>,
    /// A grant may be in force until then.
    lease_until: Option<Instant>,
    /// rolloutID of the grant that this leader gave it and that it has not given back.
    granted: String,
    /// Its stream ended while that grant was in force.
    lost_with_route: bool,
    /// rolloutID of a grant that it held when it came back as another process.
    restarted_in: Option<String>,
    pub(super) epochs: BTreeMap<u64, EpochState>,
    burn_in: Option<v1::BurnIn>,
    candidate: Option<v1::CandidateHealth>,
}

impl Router {
    /// `foreign_until`: until when a grant of the leader before this one may be in force.
    pub(super) fn new(
        hello: v1::Hello,
        node: String,
        role: Role,
        foreign_until: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            hello,
            node,
            role,
            heard: now,
            outbox: None,
            opened: None,
            reported: false,
            sent: None,
            ack: None,
            lease_until: foreign_until,
            granted: String::new(),
            lost_with_route: false,
            restarted_in: None,
            epochs: BTreeMap::new(),
            burn_in: None,
            candidate: None,
        }
    }

    /// Takes a new hello; true when something changed that a plan looks at.
    pub(super) fn hear(&mut self, hello: v1::Hello, now: Instant) -> bool {
        let changed = self.hello.instance != hello.instance || self.hello.engine != hello.engine;
        if self.hello.instance != hello.instance {
            // A restart may take longer than the lease: what counts is the moment at which the stream broke.
            let held = self.lost_with_route || self.may_route(now);
            if held && !self.granted.is_empty() {
                self.restarted_in = Some(std::mem::take(&mut self.granted));
            }
            self.forget_process();
        }
        self.hello = hello;
        self.heard = now;
        changed
    }

    /// The process that we knew is gone, and its route with it: what it counted stays as last reported.
    fn forget_process(&mut self) {
        self.outbox = None;
        self.opened = None;
        self.sent = None;
        self.ack = None;
        self.burn_in = None;
        self.candidate = None;
        self.give_back();
        self.close_epochs();
    }

    fn give_back(&mut self) {
        self.lease_until = None;
        self.granted.clear();
        self.lost_with_route = false;
    }

    pub(super) fn opened(&mut self, outbox: Outbox, now: Instant) {
        self.outbox = Some(outbox);
        self.opened = Some(now);
        self.reported = false;
        self.sent = None;
        self.lost_with_route = false;
    }

    /// The stream ended, by whomever.
    pub(super) fn close(&mut self, now: Instant) {
        self.outbox = None;
        self.opened = None;
        self.sent = None;
        self.lost_with_route = self.may_route(now);
    }

    /// It has a stream, and what it counted so far has arrived, or it counts nothing.
    pub(super) fn is_heard(&self, now: Instant) -> bool {
        let settled = |opened: Instant| now.saturating_duration_since(opened) >= REPORT * 2;
        self.opened
            .is_some_and(|opened| self.reported || settled(opened))
    }

    /// Nothing more will be reported of the epochs so far.
    pub(super) fn close_epochs(&mut self) {
        self.epochs
            .values_mut()
            .for_each(|epoch| epoch.closed = true);
    }

    /// It may still send requests to a candidate.
    pub(super) fn may_route(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| until > now)
    }

    pub(super) fn send(&mut self, message: v1::operator_message::Message) {
        let Some(outbox) = &self.outbox else { return };
        let message = v1::OperatorMessage {
            message: Some(message),
        };
        if outbox.sender.try_send(message).is_err() {
            // It does not read: without a stream its lease runs out.
            self.close(Instant::now());
        }
    }

    /// Sends a route, unless the present stream has brought it already. Only a stream carries routes.
    pub(super) fn tell(&mut self, route: v1::Route, now: Instant) {
        if self.outbox.is_none() || self.was_told(&route) {
            return;
        }
        if route.kind() == Kind::Grant {
            self.granted.clone_from(&route.rollout_id);
            self.lease_until = Some(now + ROUTE_LEASE);
        }
        self.sent = Some(route.clone());
        self.send(v1::operator_message::Message::Route(route));
    }

    /// The same route, or anything after a cut but a newer cut: nothing else may follow one.
    fn was_told(&self, route: &v1::Route) -> bool {
        let Some(sent) = &self.sent else { return false };
        let cut = sent.kind() == Kind::Cut && sent.rollout_id == route.rollout_id;
        sent == route || (cut && (route.kind() != Kind::Cut || sent.sequence >= route.sequence))
    }

    pub(super) fn send_cut(&mut self, rollout: &str, epoch: u64, now: Instant) {
        let sent = self.sent.as_ref();
        let open = |sent: &&v1::Route| sent.rollout_id == rollout && sent.kind() != Kind::Cut;
        if let Some(sent) = sent.filter(open) {
            let mut cut = lowered(sent, Kind::Cut, sent.sequence + 1);
            cut.leader_epoch = epoch;
            self.tell(cut, now);
        }
    }

    /// It is not in the wave (any more): a grant is taken back first, what it counted is stored, then the stream closed.
    pub(super) fn dismiss(&mut self, now: Instant) {
        let grant = self.sent.as_ref().filter(|sent| sent.kind() == Kind::Grant);
        if let Some(grant) = grant {
            let withdraw = lowered(grant, Kind::Withdraw, grant.sequence);
            self.tell(withdraw, now);
        } else if self.outbox.is_some()
            && (self.sent.is_none() || !self.may_route(now))
            && self.epochs.values().all(|epoch| epoch.stored)
        {
            self.close(now);
        }
    }

    /// Answers a keep-alive: by it the router knows that it is heard. Only the lease of a granted route is extended.
    pub(super) fn echo(&mut self, nonce: u64, leader_epoch: u64, granting: bool, now: Instant) {
        let grant = self.sent.as_ref();
        let grant = grant.filter(|sent| granting && sent.kind() == Kind::Grant);
        let (rollout_id, sequence) = grant.map_or_else(Default::default, |sent| {
            (sent.rollout_id.clone(), sent.sequence)
        });
        if grant.is_some() {
            self.lease_until = Some(now + ROUTE_LEASE);
        }
        self.send(v1::operator_message::Message::Lease(v1::Lease {
            nonce,
            leader_epoch,
            rollout_id,
            sequence,
        }));
    }

    pub(super) fn acknowledge(&mut self, ack: &v1::RouteAck) {
        let kind = match ack.kind() {
            Kind::Grant => RouteKind::Grant,
            Kind::Cut => RouteKind::Cut,
            Kind::Withdraw | Kind::Unspecified => RouteKind::Withdraw,
        };
        // An acknowledgement of an older route says nothing about the one sent since, but a cut is final whatever was sent.
        let newest = self.sent.as_ref().is_none_or(|sent| {
            sent.rollout_id == ack.rollout_id
                && (kind == RouteKind::Cut
                    || (sent.sequence <= ack.sequence && sent.kind == ack.kind))
        });
        if kind != RouteKind::Grant && newest {
            self.give_back();
        }
        let refused = |sent: &&mut v1::Route| {
            kind == RouteKind::Cut && sent.rollout_id == ack.rollout_id && sent.kind() != Kind::Cut
        };
        if let Some(sent) = self.sent.as_mut().filter(refused) {
            // It knows of a cut that we did not: what it refused is not echoed any more.
            *sent = lowered(sent, Kind::Cut, ack.sequence);
        }
        self.ack = Some(Ack {
            rollout: ack.rollout_id.clone(),
            sequence: ack.sequence,
            kind,
            candidate_in_flight: ack.candidate_in_flight,
        });
    }

    /// Until when it exposes requests to a candidate: it acknowledged a grant with traffic of this rollout, and the lease lives.
    pub(super) fn exposes(&self, rollout: &str, now: Instant) -> Option<Instant> {
        let granted = self.sent.as_ref().is_some_and(|sent| {
            sent.rollout_id == rollout
                && sent.kind() == Kind::Grant
                && sent.candidate_traffic_permille > 0
        });
        let acknowledged = self
            .ack
            .as_ref()
            .is_some_and(|ack| ack.rollout == rollout && ack.kind == RouteKind::Grant);
        self.lease_until
            .filter(|until| granted && acknowledged && *until > now)
    }

    /// Takes counters of the current rollout; true when something changed that a plan looks at.
    pub(super) fn take_report(&mut self, report: v1::Report, book: &Book<'_>) -> bool {
        let mut useless = Vec::new();
        for epoch in &report.epochs {
            let current = epoch.rollout_id == book.rollout;
            let stored = book.stored.contains(&epoch.id);
            if !current || (epoch.closed && (stored || book.over)) {
                useless.push(epoch.id);
            }
            if !current || stored {
                continue;
            }
            if let Err(error) = self.report(epoch, book.told) {
                tracing::warn!(node = self.node, %error, "a router's counters are unusable and are left out");
            }
        }
        if !useless.is_empty() {
            // Of a rollout that is over, or stored by a leader before this one: nobody waits for them.
            let stored = v1::EpochsStored { ids: useless };
            self.send(v1::operator_message::Message::Stored(stored));
        }
        let fits = |sample: &v1::BurnIn| {
            sample.rollout_id == book.rollout && sample.latencies_microseconds.len() <= BURN_IN_MAX
        };
        self.burn_in = report.burn_in.filter(fits).or(self.burn_in.take());
        let first = !std::mem::replace(&mut self.reported, true);
        let ready = |health: &Option<v1::CandidateHealth>| health.as_ref().map(|one| one.ready);
        let changed = ready(&self.candidate) != ready(&report.candidate);
        self.candidate = report.candidate;
        first || changed
    }

    pub(super) fn stored(&mut self, ids: &BTreeSet<u64>) {
        let epochs = self.epochs.iter_mut();
        let done = epochs.filter(|(id, epoch)| epoch.closed && ids.contains(id));
        let done = done.map(|(id, epoch)| {
            epoch.stored = true;
            *id
        });
        let ids: Vec<u64> = done.collect();
        if ids.is_empty() {
            return;
        }
        // The state stays, closed, so that a repeated report of it is not taken for a new epoch.
        self.send(v1::operator_message::Message::Stored(v1::EpochsStored {
            ids,
        }));
    }

    /// A rollout begins: what belongs to another one is over.
    pub(super) fn begin(&mut self, rollout: &str) {
        self.epochs.retain(|_, epoch| epoch.rollout == rollout);
        let sample = self.burn_in.take();
        self.burn_in = sample.filter(|sample| sample.rollout_id == rollout);
    }

    /// Cumulative: the highest sequence wins, whatever the order of arrival.
    fn report(&mut self, epoch: &v1::Epoch, told: Option<Told>) -> Result<(), CountsError> {
        let known = self.epochs.get(&epoch.id);
        if known.is_some_and(|known| known.closed || known.sequence >= epoch.sequence) {
            return Ok(());
        }
        if known.is_none() && self.epochs.len() >= EPOCHS_MAX {
            return Err(CountsError::TooMany(EPOCHS_MAX));
        }
        let state = EpochState {
            rollout: epoch.rollout_id.clone(),
            sequence: epoch.sequence,
            closed: epoch.closed,
            stored: false,
            counts: counts(epoch, told)?,
        };
        self.epochs.insert(epoch.id, state);
        Ok(())
    }

    pub(super) fn view(&self, rollout: &str, now: Instant) -> RouterView {
        let hello = &self.hello;
        let health = self.candidate.as_ref();
        let health = health.filter(|health| health.rollout_id == rollout);
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
            restarted_with_route: self.restarted_in.as_deref() == Some(rollout),
            candidate_ready: health.map(|candidate| candidate.ready),
            candidate_message: health
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

#[cfg(test)]
mod tests;
