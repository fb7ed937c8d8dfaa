//! All sessions of this replica, in memory. Plain state behind one short lock: no I/O, no waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallfleet_core::action::Routes;
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_core::world::{ClosedEpoch, Role, RouteKind, Sessions};
use smallfleet_protocol::timing::{
    CHECK_IN_SECONDS_MAX, CHECK_IN_SECONDS_MIN, CHECK_INS_PER_SECOND, ROUTE_LEASE,
};
use smallfleet_protocol::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::counts::Told;
use super::exposure::Exposure;
use super::router::{Book, EpochState, OUTBOX, Outbox, Router};
use super::wire::{lowered, wire};
use super::{ModelKey, PodIdentity};

/// Cut rolloutIDs that are remembered of one model.
const CUTS_REMEMBERED: usize = 32;
/// Longest rolloutID that is remembered.
const ROLLOUT_ID_MAX: usize = 64;
/// Before this leader's first look at a model its routers ask again soon: their leases run.
const UNKNOWN_SECONDS: u32 = 2;

/// Handle of the sessions; clones share them.
#[derive(Clone, Debug)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    wake: mpsc::Sender<ModelKey>,
}

#[derive(Debug, Default)]
struct State {
    leading: Option<u64>,
    /// Until when routers may hold grants of the leader before this one.
    foreign_until: Option<Instant>,
    leader_address: Option<String>,
    models: HashMap<ModelKey, Model>,
    streams: u64,
}

#[derive(Debug, Default)]
struct Model {
    rollout: String,
    /// This leader has looked at the model: before, nothing that a router says may be called over.
    viewed: bool,
    published: bool,
    routers: BTreeMap<String, Router>,
    /// Epochs of routers that are gone.
    orphans: BTreeMap<u64, EpochState>,
    /// Epochs of the rollout that are in the evidence store.
    stored: BTreeSet<u64>,
    routes: Routes,
    /// What routers were last told to count.
    told: Option<Told>,
    cut: Vec<String>,
    /// Since when routers are being told of a cut, until the last of them cannot route any more.
    cutting: Option<Instant>,
    /// How long the last cut took, until somebody asks.
    cut_took: Option<Duration>,
    exposure: Exposure,
    /// Exposed time of a rollout as it is stored, milliseconds.
    exposed_before: (String, u64),
}

/// What a stream gets: its number and the messages for the router.
pub type Inbox = (u64, mpsc::Receiver<v1::OperatorMessage>);

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
        let mut state = self.lock();
        state.leading = Some(epoch);
        state.foreign_until = Some(Instant::now() + ROUTE_LEASE);
    }

    /// Another replica leads; routers are sent there.
    pub fn stand_by(&self, leader_address: Option<String>) {
        let mut state = self.lock();
        state.leading = None;
        state.leader_address = leader_address;
    }

    /// What the evidence store holds already, by this leader's hand or by one's before it: read before a view.
    pub fn read_store(&self, key: &ModelKey, store: &EvidenceStore) {
        let mut state = self.lock();
        let model = state.models.entry(key.clone()).or_default();
        model.stored = store.closed_ids.iter().copied().collect();
        model.exposed_before = (store.rollout.clone(), store.exposed_milliseconds);
    }

    /// What a plan sees; from now on `rollout` is the current one of this model.
    #[must_use]
    pub fn view(&self, key: &ModelKey, rollout: &str) -> Sessions {
        let mut state = self.lock();
        let model = state.models.entry(key.clone()).or_default();
        model.view(rollout, Instant::now())
    }

    /// How long it took from a cut until no router could route any more: acknowledged, or past its lease. Told once.
    #[must_use]
    pub fn cut_took(&self, key: &ModelKey) -> Option<Duration> {
        self.lock().models.get_mut(key)?.cut_took.take()
    }

    /// Routers whose pods are gone are forgotten, but not what they counted.
    pub fn retain(&self, key: &ModelKey, pods: &BTreeSet<String>) {
        let mut state = self.lock();
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        model.retain(pods);
    }

    /// Sends every router of the wave what has changed, and closes the streams of the others.
    pub fn publish(&self, key: &ModelKey, routes: Routes) {
        let mut state = self.lock();
        let Some(epoch) = state.leading else { return };
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        model.publish(routes, epoch, Instant::now());
    }

    /// The last look at the model failed: while nobody would see harm, no lease is extended. The next [`Self::publish`] goes on.
    pub fn suspend(&self, key: &ModelKey) {
        if let Some(model) = self.lock().models.get_mut(key) {
            model.routes.granting = false;
        }
    }

    /// Takes the traffic off a rollout's candidates at once, for good.
    pub fn cut(&self, key: &ModelKey, rollout: &str) {
        let mut state = self.lock();
        let Some(epoch) = state.leading else { return };
        let model = state.models.entry(key.clone()).or_default();
        model.cut(rollout, epoch, Instant::now());
    }

    /// The evidence is stored: closed epochs in it need not be sent again.
    pub fn stored(&self, key: &ModelKey, store: &EvidenceStore) {
        let mut state = self.lock();
        let Some(model) = state.models.get_mut(key) else {
            return;
        };
        let ids: BTreeSet<u64> = store.closed_ids.iter().copied().collect();
        for router in model.routers.values_mut() {
            router.stored(&ids);
        }
        model.stored = ids;
    }

    /// The SmallModel is gone: its routers get no route any more.
    pub fn forget(&self, key: &ModelKey) {
        let mut state = self.lock();
        if let (Some(epoch), Some(model)) = (state.leading, state.models.get_mut(key)) {
            // Streams end when their messages are sent: with the model goes the sending half.
            let rollout = model.rollout.clone();
            model.cut(&rollout, epoch, Instant::now());
        }
        state.models.remove(key);
    }

    /// At least 95 % were heard by this leader: of the stable routers a stream, with what they counted; of the candidates' routers,
    /// which only check in, where they are.
    #[must_use]
    pub fn heard_enough(&self, key: &ModelKey, stable: &[String], candidates: &[String]) -> bool {
        let state = self.lock();
        let wanted = stable.len() + candidates.len();
        let Some(model) = state.models.get(key) else {
            return wanted == 0;
        };
        let now = Instant::now();
        let streams = stable.iter().filter(|uid| {
            let router = model.routers.get(*uid);
            router.is_some_and(|router| router.is_heard(now))
        });
        let checked_in = candidates
            .iter()
            .filter(|uid| model.routers.contains_key(*uid));
        (streams.count() + checked_in.count()) * 100 >= wanted * 95
    }

    /// Answers a check-in.
    pub fn check_in(
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
    #[must_use]
    pub fn open(&self, key: &ModelKey, pod: &PodIdentity, hello: v1::Hello) -> Option<Inbox> {
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
            let router = model.routers.get_mut(&uid)?;
            let (sender, receiver) = mpsc::channel(OUTBOX);
            router.opened(Outbox { id, sender }, now);
            router.send(v1::operator_message::Message::Welcome(welcome));
            model.send_route(&uid, epoch, now);
            (id, receiver)
        };
        self.wake(key);
        Some(inbox)
    }

    /// The stream ended.
    pub fn closed(&self, key: &ModelKey, uid: &str, id: u64) {
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
            router.close(Instant::now());
        }
        self.wake(key);
    }

    /// One message of a stream.
    pub fn receive(
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
        let foreign_until = self.foreign_until.filter(|until| *until > now);
        let model = self.models.entry(key.clone()).or_default();
        let uid = hello.pod_uid.clone();
        if let Some(cut) = &hello.last_cut {
            model.remember_cut(&cut.rollout_id);
        }
        let changed = match model.routers.get_mut(&uid) {
            Some(router) => router.hear(hello, now),
            None => {
                let router = Router::new(hello, pod.node.clone(), pod.role, foreign_until, now);
                model.routers.insert(uid.clone(), router);
                true
            }
        };
        let stream = model.routes.by_router.contains_key(&uid);
        let next_check_in_seconds = if model.published {
            self.check_in_seconds(pod.role)
        } else {
            UNKNOWN_SECONDS
        };
        let welcome = v1::Welcome {
            next_check_in_seconds,
            stream,
            leader_epoch,
        };
        (v1::check_in_reply::Reply::Welcome(welcome), changed)
    }

    /// So that all routers together check in at most [`CHECK_INS_PER_SECOND`] times a second, and those of candidates, which are
    /// few and which a new leader waits for, as often as the others.
    fn check_in_seconds(&self, role: Role) -> u32 {
        let routers = self
            .models
            .values()
            .flat_map(|model| model.routers.values());
        let alike = |router: &&Router| role != Role::Candidate || router.role == role;
        let routers = routers.filter(alike).count();
        let spread = u32::try_from(routers).unwrap_or(u32::MAX) / CHECK_INS_PER_SECOND;
        spread.clamp(CHECK_IN_SECONDS_MIN, CHECK_IN_SECONDS_MAX)
    }
}

impl Model {
    fn view(&mut self, rollout: &str, now: Instant) -> Sessions {
        if self.rollout != rollout || !self.viewed {
            self.begin(rollout);
        }
        self.tick(now);
        let mut sessions = Sessions {
            rollout: rollout.to_owned(),
            cut: self.cut.iter().cloned().collect(),
            exposed: self.exposure.total(),
            ..Sessions::default()
        };
        for (uid, router) in &self.routers {
            let view = router.view(rollout, now);
            sessions.routers.insert(uid.clone(), view);
            router.add_burn_in(rollout, &mut sessions.burn_in);
        }
        let epochs = self.routers.values().flat_map(|router| &router.epochs);
        let counts = |(id, epoch): &(&u64, &EpochState)| epoch.closed || !self.stored.contains(id);
        for (id, epoch) in epochs.chain(&self.orphans).filter(counts) {
            add_epoch(*id, epoch, &mut sessions);
        }
        sessions
    }

    /// What belongs to another rollout than this is over.
    fn begin(&mut self, rollout: &str) {
        self.viewed = true;
        rollout.clone_into(&mut self.rollout);
        let (stored, milliseconds) = &self.exposed_before;
        let before = if stored == rollout { *milliseconds } else { 0 };
        self.exposure = Exposure::after(Duration::from_millis(before));
        self.told = None;
        self.orphans.retain(|_, epoch| epoch.rollout == rollout);
        self.routers
            .values_mut()
            .for_each(|router| router.begin(rollout));
    }

    fn retain(&mut self, pods: &BTreeSet<String>) {
        let gone = self.routers.extract_if(.., |uid, _| !pods.contains(uid));
        for (_, mut router) in gone {
            router.close_epochs();
            for (id, epoch) in router.epochs {
                self.orphans.entry(id).or_insert(epoch);
            }
        }
    }

    fn publish(&mut self, routes: Routes, epoch: u64, now: Instant) {
        self.routes = routes;
        self.published = true;
        let mut latency = self.routes.by_router.values();
        if let Some(latency) = latency.find_map(|route| route.latency.as_ref()) {
            self.told = Some(Told {
                freeze: latency.freeze,
                thresholds: latency.thresholds_microseconds.len(),
                factors: latency.rhos_permille.len(),
            });
        }
        let uids: Vec<String> = self.routers.keys().cloned().collect();
        uids.iter().for_each(|uid| self.send_route(uid, epoch, now));
        self.tick(now);
    }

    fn cut(&mut self, rollout: &str, epoch: u64, now: Instant) {
        if !self.cut.iter().any(|known| known == rollout) {
            self.cutting = Some(now);
        }
        for router in self.routers.values_mut() {
            router.send_cut(rollout, epoch, now);
        }
        self.remember_cut(rollout);
        // Who was sent nothing yet may hold a grant of the leader before this one.
        let uids: Vec<String> = self.routers.keys().cloned().collect();
        if self.routes.rollout == rollout {
            uids.iter().for_each(|uid| self.send_route(uid, epoch, now));
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        let routers = self.routers.values();
        let until = routers.filter_map(|router| router.exposes(&self.rollout, now));
        self.exposure.update(now, until.max());
        if let Some(since) = self.cutting
            && !self.routers.values().any(|router| router.may_route(now))
        {
            self.cutting = None;
            self.cut_took = Some(now.saturating_duration_since(since));
        }
    }

    fn remember_cut(&mut self, rollout: &str) {
        let known = self.cut.iter().any(|known| known == rollout);
        if known || rollout.is_empty() || rollout.len() > ROLLOUT_ID_MAX {
            return;
        }
        self.cut.push(rollout.to_owned());
        if self.cut.len() > CUTS_REMEMBERED {
            // Never the present one: each router tells of the last cut that it saw, so there may be many.
            let present = [&self.rollout, &self.routes.rollout];
            let old = self.cut.iter().position(|cut| !present.contains(&cut));
            old.map(|index| self.cut.remove(index));
        }
    }

    /// Sends a router the route it should have, if that differs from what was sent.
    fn send_route(&mut self, uid: &str, epoch: u64, now: Instant) {
        let is_cut = self.cut.contains(&self.routes.rollout);
        let is_over = self.is_over();
        let Some(router) = self.routers.get_mut(uid) else {
            return;
        };
        let Some(route) = self.routes.by_router.get(uid) else {
            if self.published {
                router.dismiss(is_over, now);
            }
            return;
        };
        let mut message = wire(route, &self.routes, epoch);
        if is_cut && route.kind != RouteKind::Cut {
            // The cut came first and stays; the status that says so is on its way.
            message = lowered(&message, v1::route::Kind::Cut, message.sequence + 1);
        }
        if message.kind() != v1::route::Kind::Grant || self.routes.granting {
            router.tell(message, now);
        }
    }

    /// The rollout is cut: what its routers count from now on decides nothing, and nobody stores it.
    fn is_over(&self) -> bool {
        let mut routes = self.routes.by_router.values();
        self.cut.contains(&self.rollout)
            || self.routes.rollout == self.rollout
                && routes.any(|route| route.kind == RouteKind::Cut)
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
        let is_over = self.is_over();
        let Some(router) = self.routers.get_mut(uid) else {
            return false;
        };
        router.heard = now;
        let changed = match message {
            v1::router_message::Message::KeepAlive(keep_alive) => {
                if let Some(epoch) = epoch {
                    router.echo(keep_alive.nonce, epoch, granting, now);
                }
                false
            }
            v1::router_message::Message::Ack(ack) => {
                router.acknowledge(&ack);
                if ack.kind() == v1::route::Kind::Cut {
                    // A leader that does not know of a cut learns it from a router that carried it out.
                    self.remember_cut(&ack.rollout_id);
                }
                true
            }
            // It is sent again: before the first look nobody knows which rollout is over.
            v1::router_message::Message::Report(_) if !self.viewed => false,
            v1::router_message::Message::Report(mut report) => {
                let stored = &self.stored;
                // A router that was thought to be gone: its epochs were closed as last heard, and count once.
                let again = |id: &u64| self.orphans.contains_key(id) && !stored.contains(id);
                report.epochs.retain(|epoch| !again(&epoch.id));
                let book = Book {
                    rollout: &self.rollout,
                    over: is_over,
                    stored,
                    told: self.told,
                };
                router.take_report(report, &book)
            }
            v1::router_message::Message::Hello(_) => false,
        };
        if let Some(epoch) = epoch
            && !self.routes.by_router.contains_key(uid)
        {
            // It was only waited for until its route was given back.
            self.send_route(uid, epoch, now);
        }
        changed
    }
}

fn add_epoch(id: u64, epoch: &EpochState, sessions: &mut Sessions) {
    if epoch.rollout != sessions.rollout {
        return;
    }
    if epoch.closed {
        let counts = epoch.counts.clone();
        sessions.closed.push(ClosedEpoch { id, counts });
    } else if let Err(error) = sessions.open.merge(&epoch.counts) {
        tracing::error!(%error, "an epoch does not fit the others and is left out");
    }
}

#[cfg(test)]
mod tests;
