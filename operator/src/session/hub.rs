//! All sessions of this replica, in memory. Plain state behind one short lock: no I/O, no waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smallfleet_core::action::{Route, Routes};
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_core::world::{ClosedEpoch, RouteKind, Sessions};
use smallfleet_protocol::timing::{
    CHECK_IN_SECONDS_MAX, CHECK_IN_SECONDS_MIN, CHECK_INS_PER_SECOND, ROUTE_LEASE,
};
use smallfleet_protocol::v1;
use tokio::sync::mpsc;

use super::exposure::Exposure;
use super::router::{OUTBOX, Outbox, Router};
use super::{ModelKey, PodIdentity};

/// Cut rolloutIDs that are remembered of one model.
const CUTS_REMEMBERED: usize = 32;

/// Handle of the sessions; clones share them.
#[derive(Clone, Debug)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    wake: mpsc::Sender<ModelKey>,
}

#[derive(Debug, Default)]
struct State {
    leading: Option<u64>,
    leader_address: Option<String>,
    models: HashMap<ModelKey, Model>,
    streams: u64,
}

#[derive(Debug, Default)]
struct Model {
    rollout: String,
    routers: BTreeMap<String, Router>,
    routes: Routes,
    cut: Vec<String>,
    exposure: Exposure,
}

/// What a stream gets: its number and the messages for the router.
pub(super) type Inbox = (u64, mpsc::Receiver<v1::OperatorMessage>);

impl Hub {
    /// `wake` is told of every model that a router said something new about.
    #[must_use]
    pub fn new(wake: mpsc::Sender<ModelKey>) -> Self {
        Self {
            state: Arc::default(),
            wake,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, key: &ModelKey) {
        // Full: the controller is behind and a rollout looks again every second anyway.
        let _ = self.wake.try_send(key.clone());
    }

    /// This replica leads from now on, with this epoch.
    pub fn lead(&self, epoch: u64) {
        self.lock().leading = Some(epoch);
    }

    /// Another replica leads; routers are sent there.
    pub fn stand_by(&self, leader_address: Option<String>) {
        let mut state = self.lock();
        state.leading = None;
        state.leader_address = leader_address;
    }

    /// What a plan sees; from now on `rollout` is the current one of this model.
    #[must_use]
    pub fn view(&self, key: &ModelKey, rollout: &str) -> Sessions {
        let mut state = self.lock();
        let model = state.models.entry(key.clone()).or_default();
        model.view(rollout, Instant::now())
    }

    /// Routers whose pods are gone are forgotten, but not what they counted.
    pub fn retain(&self, key: &ModelKey, pods: &BTreeSet<String>) {
        let mut state = self.lock();
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        let rollout = model.rollout.clone();
        model.routers.retain(|uid, router| {
            if pods.contains(uid) {
                return true;
            }
            router.outbox = None;
            router.close_epochs();
            router.epochs.values().any(|epoch| epoch.rollout == rollout)
        });
    }

    /// Sends every router of the wave what has changed, and closes the streams of the others.
    pub fn publish(&self, key: &ModelKey, routes: Routes) {
        let mut state = self.lock();
        let Some(epoch) = state.leading else { return };
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        model.routes = routes;
        let now = Instant::now();
        let uids: Vec<String> = model.routers.keys().cloned().collect();
        uids.iter()
            .for_each(|uid| model.send_route(uid, epoch, now));
        model.tick(now);
    }

    /// Takes the traffic off a rollout's candidates at once, for good.
    pub fn cut(&self, key: &ModelKey, rollout: &str) {
        let mut state = self.lock();
        let Some(epoch) = state.leading else { return };
        let model = state.models.entry(key.clone()).or_default();
        model.remember_cut(rollout);
        let now = Instant::now();
        for router in model.routers.values_mut() {
            router.send_cut(rollout, epoch);
        }
        model.tick(now);
    }

    /// The evidence is stored: closed epochs in it need not be sent again, exposed time starts anew.
    pub fn stored(&self, key: &ModelKey, store: &EvidenceStore) {
        let mut state = self.lock();
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        let ids: BTreeSet<u64> = store.closed_ids.iter().copied().collect();
        for router in model.routers.values_mut() {
            router.stored(&ids);
        }
        if model.rollout == store.rollout {
            model.exposure.taken();
        }
    }

    /// The SmallModel is gone: its routers get no route any more.
    pub fn forget(&self, key: &ModelKey) {
        let mut state = self.lock();
        if let (Some(epoch), Some(model)) = (state.leading, state.models.get_mut(key)) {
            let rollout = model.rollout.clone();
            model
                .routers
                .values_mut()
                .for_each(|router| router.send_cut(&rollout, epoch));
        }
        state.models.remove(key);
    }

    /// At least 95 % of these routers have spoken to this leader.
    #[must_use]
    pub fn heard_enough(&self, key: &ModelKey, routers: &[String]) -> bool {
        let state = self.lock();
        let Some(model) = state.models.get(key) else {
            return routers.is_empty();
        };
        let heard = routers.iter().filter(|uid| {
            model
                .routers
                .get(*uid)
                .is_some_and(|router| router.outbox.is_some())
        });
        heard.count() * 100 >= routers.len() * 95
    }

    /// Answers a check-in.
    pub(super) fn check_in(
        &self,
        key: &ModelKey,
        pod: &PodIdentity,
        hello: v1::Hello,
    ) -> v1::CheckInReply {
        let (reply, changed) = self.lock().check_in(key, pod, hello, Instant::now());
        if changed {
            self.wake(key);
        }
        v1::CheckInReply { reply: Some(reply) }
    }

    /// Opens the stream of a router; `None` where it has no business with one.
    pub(super) fn open(
        &self,
        key: &ModelKey,
        pod: &PodIdentity,
        hello: v1::Hello,
    ) -> Option<Inbox> {
        let uid = hello.pod_uid.clone();
        let now = Instant::now();
        let inbox = {
            let mut state = self.lock();
            let (reply, _) = state.check_in(key, pod, hello, now);
            let v1::check_in_reply::Reply::Welcome(welcome) = reply else {
                return None;
            };
            let epoch = state.leading?;
            state.streams += 1;
            let id = state.streams;
            let model = state.models.get_mut(key)?;
            let named = welcome.stream;
            let router = model.routers.get_mut(&uid)?;
            let (sender, receiver) = mpsc::channel(OUTBOX);
            router.opened(Outbox { id, sender }, &model.rollout, now);
            router.send(v1::operator_message::Message::Welcome(welcome));
            if named {
                model.send_route(&uid, epoch, now);
            }
            (id, receiver)
        };
        self.wake(key);
        Some(inbox)
    }

    /// The stream ended.
    pub(super) fn closed(&self, key: &ModelKey, uid: &str, id: u64) {
        {
            let mut state = self.lock();
            let Some(router) = state
                .models
                .get_mut(key)
                .and_then(|model| model.routers.get_mut(uid))
            else {
                return;
            };
            if router.outbox.as_ref().is_none_or(|outbox| outbox.id != id) {
                return;
            }
            router.outbox = None;
        }
        self.wake(key);
    }

    /// One message of a stream.
    pub(super) fn receive(
        &self,
        key: &ModelKey,
        pod: &PodIdentity,
        uid: &str,
        message: v1::router_message::Message,
    ) {
        let now = Instant::now();
        let changed = {
            let mut state = self.lock();
            let epoch = state.leading;
            if let v1::router_message::Message::Hello(hello) = message {
                state.check_in(key, pod, hello, now).1
            } else {
                let Some(model) = state.models.get_mut(key) else {
                    return;
                };
                let changed = model.receive(uid, message, epoch, now);
                model.tick(now);
                changed
            }
        };
        if changed {
            self.wake(key);
        }
    }
}

impl State {
    fn check_in(
        &mut self,
        key: &ModelKey,
        pod: &PodIdentity,
        hello: v1::Hello,
        now: Instant,
    ) -> (v1::check_in_reply::Reply, bool) {
        let Some(leader_epoch) = self.leading else {
            let address = self.leader_address.clone().unwrap_or_default();
            return (
                v1::check_in_reply::Reply::NotLeader(v1::NotLeader { address }),
                false,
            );
        };
        let model = self.models.entry(key.clone()).or_default();
        let uid = hello.pod_uid.clone();
        if let Some(cut) = hello
            .last_cut
            .as_ref()
            .filter(|cut| !cut.rollout_id.is_empty())
        {
            model.remember_cut(&cut.rollout_id.clone());
        }
        let changed = match model.routers.get_mut(&uid) {
            Some(router) => router.hear(hello, now),
            None => {
                model.routers.insert(
                    uid.clone(),
                    Router::new(hello, pod.node.clone(), pod.role, now),
                );
                true
            }
        };
        let stream = model.routes.by_router.contains_key(&uid);
        let next_check_in_seconds = self.check_in_seconds();
        let welcome = v1::Welcome {
            next_check_in_seconds,
            stream,
            leader_epoch,
        };
        (v1::check_in_reply::Reply::Welcome(welcome), changed)
    }

    /// So that all routers together check in at most [`CHECK_INS_PER_SECOND`] times a second.
    fn check_in_seconds(&self) -> u32 {
        let routers: usize = self.models.values().map(|model| model.routers.len()).sum();
        let spread = u32::try_from(routers).unwrap_or(u32::MAX) / CHECK_INS_PER_SECOND;
        spread.clamp(CHECK_IN_SECONDS_MIN, CHECK_IN_SECONDS_MAX)
    }
}

impl Model {
    fn view(&mut self, rollout: &str, now: Instant) -> Sessions {
        if self.rollout != rollout {
            rollout.clone_into(&mut self.rollout);
            self.exposure = Exposure::default();
            self.routers
                .values_mut()
                .for_each(|router| router.restarted_with_route = false);
        }
        self.tick(now);
        let mut sessions = Sessions {
            rollout: rollout.to_owned(),
            cut: self.cut.iter().cloned().collect(),
            exposed: self.exposure.total(),
            ..Sessions::default()
        };
        for (uid, router) in &self.routers {
            sessions.routers.insert(uid.clone(), router.view(now));
            router.add_burn_in(rollout, &mut sessions.burn_in);
            for (id, epoch) in router
                .epochs
                .iter()
                .filter(|(_, epoch)| epoch.rollout == rollout)
            {
                if epoch.closed {
                    sessions.closed.push(ClosedEpoch {
                        id: *id,
                        counts: epoch.counts.clone(),
                    });
                } else if let Err(error) = sessions.open.merge(&epoch.counts) {
                    tracing::error!(%error, "an epoch does not fit the others and is left out");
                }
            }
        }
        sessions
    }

    fn tick(&mut self, now: Instant) {
        let exposes = self
            .routers
            .values()
            .any(|router| router.exposes(&self.rollout, now));
        self.exposure.update(now, exposes);
    }

    fn remember_cut(&mut self, rollout: &str) {
        if self.cut.iter().all(|known| known != rollout) {
            self.cut.push(rollout.to_owned());
        }
        if self.cut.len() > CUTS_REMEMBERED {
            self.cut.remove(0);
        }
    }

    /// Sends a router the route it should have, if that differs from what was sent.
    fn send_route(&mut self, uid: &str, epoch: u64, now: Instant) {
        let is_cut = self.cut.contains(&self.routes.rollout);
        let Some(router) = self.routers.get_mut(uid) else {
            return;
        };
        let Some(route) = self.routes.by_router.get(uid) else {
            router.outbox = None;
            return;
        };
        let grant = route.kind == RouteKind::Grant;
        if grant && !self.routes.granting {
            return;
        }
        let mut message = wire(route, &self.routes, epoch);
        if grant && is_cut {
            // The cut came first and stays; the status that says so is on its way.
            message.set_kind(v1::route::Kind::Cut);
            message.sequence += 1;
        }
        if router.sent.as_ref() == Some(&message) || router.is_cut_of(&message) {
            return;
        }
        if message.kind() == v1::route::Kind::Grant {
            router.extend(&message.rollout_id, now);
        }
        router.sent = Some(message.clone());
        router.send(v1::operator_message::Message::Route(message));
    }

    /// True when something changed that a plan looks at.
    fn receive(
        &mut self,
        uid: &str,
        message: v1::router_message::Message,
        epoch: Option<u64>,
        now: Instant,
    ) -> bool {
        let granting = self.routes.granting;
        let current = self.rollout.clone();
        let Some(router) = self.routers.get_mut(uid) else {
            return false;
        };
        router.heard = now;
        match message {
            v1::router_message::Message::KeepAlive(keep_alive) => {
                if granting && let Some(epoch) = epoch {
                    router.echo(keep_alive.nonce, epoch, now);
                }
                false
            }
            v1::router_message::Message::Ack(ack) => {
                router.acknowledge(&ack);
                true
            }
            v1::router_message::Message::Report(report) => router.take_report(report, &current),
            v1::router_message::Message::Hello(_) => false,
        }
    }
}

impl Router {
    fn opened(&mut self, outbox: Outbox, rollout: &str, now: Instant) {
        self.outbox = Some(outbox);
        self.sent = None;
        // It may hold a grant from before, of this leader or another.
        if !rollout.is_empty() {
            self.extend(rollout, now);
        }
    }

    fn send(&mut self, message: v1::operator_message::Message) {
        let Some(outbox) = &self.outbox else { return };
        let full = outbox
            .sender
            .try_send(v1::OperatorMessage {
                message: Some(message),
            })
            .is_err();
        if full {
            // It does not read: without a stream its lease runs out.
            self.outbox = None;
        }
    }

    fn send_cut(&mut self, rollout: &str, epoch: u64) {
        let Some(sent) = self.sent.as_mut().filter(|sent| sent.rollout_id == rollout) else {
            return;
        };
        if sent.kind() == v1::route::Kind::Cut {
            return;
        }
        sent.set_kind(v1::route::Kind::Cut);
        sent.sequence += 1;
        sent.leader_epoch = epoch;
        let message = sent.clone();
        self.send(v1::operator_message::Message::Route(message));
    }

    /// It was told to cut this rollout already, with a sequence at least as high.
    fn is_cut_of(&self, message: &v1::Route) -> bool {
        message.kind() == v1::route::Kind::Cut
            && self.sent.as_ref().is_some_and(|sent| {
                sent.kind() == v1::route::Kind::Cut
                    && sent.rollout_id == message.rollout_id
                    && sent.sequence >= message.sequence
            })
    }

    /// Extends the lease of a granted route; nothing else is echoed.
    fn echo(&mut self, nonce: u64, leader_epoch: u64, now: Instant) {
        let Some(sent) = self
            .sent
            .as_ref()
            .filter(|sent| sent.kind() == v1::route::Kind::Grant)
        else {
            return;
        };
        let lease = v1::Lease {
            nonce,
            leader_epoch,
            rollout_id: sent.rollout_id.clone(),
            sequence: sent.sequence,
        };
        self.extend(&lease.rollout_id.clone(), now);
        self.send(v1::operator_message::Message::Lease(lease));
    }

    fn take_report(&mut self, report: v1::Report, current: &str) -> bool {
        let mut useless = Vec::new();
        for epoch in &report.epochs {
            if epoch.rollout_id != current {
                useless.push(epoch.id);
            } else if let Err(error) = self.report(epoch) {
                tracing::warn!(node = self.node, %error, "a router's counters are unusable and are left out");
            }
        }
        if !useless.is_empty() {
            // Of a rollout that is over: nobody waits for them.
            self.send(v1::operator_message::Message::Stored(v1::EpochsStored {
                ids: useless,
            }));
        }
        self.burn_in = report.burn_in.or(self.burn_in.take());
        let changed = self.candidate.as_ref().map(|health| health.ready)
            != report.candidate.as_ref().map(|health| health.ready);
        self.candidate = report.candidate;
        changed
    }

    fn stored(&mut self, ids: &BTreeSet<u64>) {
        let done: Vec<u64> = self
            .epochs
            .iter()
            .filter(|(id, epoch)| epoch.closed && ids.contains(id))
            .map(|(id, _)| *id)
            .collect();
        if done.is_empty() {
            return;
        }
        // The state stays, closed, so that a repeated report of it is not taken for a new epoch.
        self.send(v1::operator_message::Message::Stored(v1::EpochsStored {
            ids: done,
        }));
    }
}

fn wire(route: &Route, routes: &Routes, leader_epoch: u64) -> v1::Route {
    let mut message = v1::Route {
        rollout_id: routes.rollout.clone(),
        sequence: routes.sequence,
        leader_epoch,
        candidate_traffic_permille: route.candidate_traffic_permille,
        candidate: route.candidate.as_ref().map(|candidate| v1::Candidate {
            revision: candidate.revision.clone(),
            address: candidate.address.clone(),
            fingerprint: candidate.fingerprint.clone(),
        }),
        overrides: route.overrides.iter().map(wire_override).collect(),
        latency: route.latency.as_ref().map(|latency| v1::FrozenLatency {
            freeze: latency.freeze,
            thresholds_microseconds: latency.thresholds_microseconds.clone(),
            rhos_permille: latency.rhos_permille.clone(),
        }),
        lease_milliseconds: u32::try_from(ROUTE_LEASE.as_millis()).unwrap_or(u32::MAX),
        burn_in_units: route.burn_in_units,
        errors_maturity_seconds: route.errors_maturity_seconds,
        kind: 0,
    };
    message.set_kind(match route.kind {
        RouteKind::Grant => v1::route::Kind::Grant,
        RouteKind::Withdraw => v1::route::Kind::Withdraw,
        RouteKind::Cut => v1::route::Kind::Cut,
    });
    message
}

fn wire_override(forced: &smallfleet_crds::Override) -> v1::Override {
    v1::Override {
        header: forced.header.clone(),
        values: forced.values.clone(),
        to_candidate: forced.to == smallfleet_crds::OverrideTarget::Candidate,
    }
}

#[cfg(test)]
mod tests;
