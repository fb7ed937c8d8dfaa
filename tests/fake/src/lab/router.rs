//! Routers: the real lease machine behind the real hub, with made-up traffic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use smallfleet_crds::names::{self, port};
use smallfleet_operator::session::{ModelKey, PodIdentity, PodLookup};
use smallfleet_protocol::timing::KEEP_ALIVE;
use smallfleet_protocol::v1;
use smallfleet_protocol::v1::operator_message::Message as Down;
use smallfleet_protocol::v1::router_message::Message as Up;
use smallfleet_runtime_core::Arm;
use smallfleet_runtime_core::lease::{Echo, HeldRoute};
use smallfleet_runtime_core::route::{
    Candidate, Freeze, Grant, Instruction, Override, Route, Signal,
};

use super::counting::Counting;
use super::mailbox::Mailbox;
use super::monitor::lock;
use super::view::{behavior_of, label, uid};
use super::{Behavior, Lab, Monitor, NAMESPACE, Operator};
use crate::server::kinds;

/// One router process.
#[derive(Debug)]
pub struct Router {
    pub node: String,
    pub held: HeldRoute,
    pub(super) counting: Counting,
    hello: v1::Hello,
    session: Option<Session>,
    next_check_in: Duration,
    next_keep_alive: Duration,
    nonce: u64,
}

/// An open stream.
#[derive(Debug)]
struct Session {
    epoch: u64,
    /// The hub's number of it.
    id: u64,
    mailbox: Mailbox,
    pod: PodIdentity,
}

/// Sixteen hexadecimal digits four times: as long as a key's fingerprint.
fn fingerprint(uid: &str) -> String {
    let digits: String = uid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    format!("{digits:0>16}").repeat(4)
}

impl Router {
    fn new(pod: &Value, serial: u64) -> Self {
        let node = super::view::node_of(pod);
        let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
        let mut hello = v1::Hello {
            instance: format!("process-{serial}"),
            namespace: NAMESPACE.to_owned(),
            model: label(pod, names::LABEL_MODEL).to_owned(),
            pod_name: pod["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            pod_uid: uid(pod).to_owned(),
            node: node.clone(),
            revision: label(pod, names::LABEL_REVISION).to_owned(),
            node_class: "amd64-avx2".to_owned(),
            engine: Some(v1::Engine {
                instance: format!("engine-{serial}"),
                fingerprint: fingerprint(uid(pod)),
                address: format!("{ip}:{}", port::ENGINE),
                ..v1::Engine::default()
            }),
            ..v1::Hello::default()
        };
        hello.set_role(match label(pod, names::LABEL_ROLE) {
            names::role::CANDIDATE => v1::Role::Candidate,
            _ => v1::Role::Stable,
        });
        Self {
            node,
            held: HeldRoute::default(),
            counting: Counting::new(serial),
            hello,
            session: None,
            next_check_in: Duration::ZERO,
            next_keep_alive: Duration::ZERO,
            nonce: 0,
        }
    }

    fn key(&self) -> ModelKey {
        (NAMESPACE.to_owned(), self.hello.model.clone())
    }

    #[must_use]
    pub fn has_stream(&self) -> bool {
        self.session.is_some()
    }

    /// What the engine beside it is like.
    fn engine(&mut self, ready: bool, behavior: Behavior) {
        let engine = self.hello.engine.get_or_insert_default();
        let state = match behavior {
            Behavior::Fails(_) => v1::engine::State::Failed,
            _ if ready => v1::engine::State::Ready,
            _ => v1::engine::State::Starting,
        };
        if engine.state() != state {
            engine.set_state(state);
            engine.failure = match behavior {
                Behavior::Fails(reason) => Some(v1::Failure {
                    reason: reason.to_owned(),
                    message: "as the test says".to_owned(),
                }),
                _ => None,
            };
            self.next_check_in = Duration::ZERO;
        }
    }

    /// Asks this leader for work when it is time, as the session server lets it.
    fn check_in(&mut self, operator: &Operator, now: Duration) {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.epoch != operator.epoch)
        {
            self.session = None;
            self.next_check_in = now;
        }
        if now < self.next_check_in {
            return;
        }
        let Some(pod) = operator.caches.find(NAMESPACE, &self.hello.pod_uid) else {
            return;
        };
        if pod.deleting || pod.ip.is_empty() {
            return;
        }
        self.hello.last_cut = self.held.last_cut().map(|cut| v1::LastCut {
            rollout_id: cut.rollout_id.clone(),
            sequence: cut.sequence,
        });
        let reply = operator
            .hub
            .check_in(&self.key(), &pod, self.hello.clone())
            .reply;
        let Some(v1::check_in_reply::Reply::Welcome(welcome)) = reply else {
            return;
        };
        self.next_check_in = now + Duration::from_secs(welcome.next_check_in_seconds.into());
        if welcome.stream
            && self.session.is_none()
            && let Some((id, stream)) = operator.hub.open(&self.key(), &pod, self.hello.clone())
        {
            self.held.stream_started(now);
            self.next_keep_alive = now;
            self.session = Some(Session {
                epoch: operator.epoch,
                id,
                mailbox: Mailbox::new(stream),
                pod,
            });
        }
    }

    /// Reads what has arrived; what it acknowledges.
    fn receive(&mut self, now: Duration) -> Received {
        let mut received = Received::default();
        let Some(session) = &mut self.session else {
            return received;
        };
        loop {
            match session.mailbox.next() {
                Ok(message) => match message.message {
                    Some(Down::Route(route)) => {
                        let taken = take(&mut self.held, &route);
                        received.routes.extend(taken);
                    }
                    Some(Down::Lease(lease)) => drop(self.held.echoed(&Echo {
                        nonce: lease.nonce,
                        leader_epoch: lease.leader_epoch,
                        rollout_id: &lease.rollout_id,
                        sequence: lease.sequence,
                    })),
                    Some(Down::Stored(stored)) => self.counting.stored(&stored.ids),
                    Some(Down::Welcome(_) | Down::NotLeader(_)) | None => {}
                },
                Err(tokio::sync::mpsc::error::TryRecvError::Empty) => return received,
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => {
                    received.closed = true;
                    self.next_check_in = now;
                    return received;
                }
            }
        }
    }

    /// What it says of itself in one second.
    fn speak(&mut self, now: Duration, monitor: &Mutex<Monitor>) -> Vec<Up> {
        let mut words = Vec::new();
        if now >= self.next_keep_alive {
            self.nonce += 1;
            self.next_keep_alive = now + KEEP_ALIVE;
            self.held.keep_alive_sent(self.nonce, now);
            words.push(Up::KeepAlive(v1::KeepAlive { nonce: self.nonce }));
        }
        if let Some(report) = self.counting.report() {
            lock(monitor).reports(&report);
            words.push(Up::Report(report));
        }
        words
    }
}

#[derive(Debug, Default)]
struct Received {
    routes: Vec<(Route, v1::RouteAck)>,
    closed: bool,
}

/// Takes a route or refuses it; what was taken is acknowledged, and so is a cut that was known.
fn take(held: &mut HeldRoute, message: &v1::Route) -> Option<(Route, v1::RouteAck)> {
    let route = read(message)?;
    let taken = held.accept(route.clone()).is_ok();
    let mut ack = v1::RouteAck {
        rollout_id: route.rollout_id.clone(),
        sequence: route.sequence,
        leader_epoch: route.leader_epoch,
        ..v1::RouteAck::default()
    };
    if taken {
        ack.set_kind(message.kind());
        return Some((route, ack));
    }
    let cut = held
        .last_cut()
        .filter(|cut| cut.rollout_id == route.rollout_id)?;
    ack.sequence = cut.sequence;
    ack.set_kind(v1::route::Kind::Cut);
    let cut = Route {
        sequence: cut.sequence,
        instruction: Instruction::Cut,
        ..route
    };
    Some((cut, ack))
}

fn read(message: &v1::Route) -> Option<Route> {
    let instruction = match message.kind() {
        v1::route::Kind::Grant => Instruction::Grant(Arc::new(grant(message)?)),
        v1::route::Kind::Withdraw => Instruction::Withdraw,
        v1::route::Kind::Cut => Instruction::Cut,
        v1::route::Kind::Unspecified => return None,
    };
    Some(Route {
        rollout_id: message.rollout_id.clone(),
        sequence: message.sequence,
        leader_epoch: message.leader_epoch,
        instruction,
    })
}

fn grant(message: &v1::Route) -> Option<Grant> {
    let candidate = message.candidate.as_ref()?;
    Some(Grant {
        permille: u16::try_from(message.candidate_traffic_permille).ok()?,
        candidate: Candidate {
            revision: candidate.revision.clone(),
            address: candidate.address.parse().ok()?,
            fingerprint: [0; 32],
        },
        overrides: message.overrides.iter().map(forced).collect(),
        freeze: message.latency.as_ref().map(|latency| {
            Arc::new(Freeze {
                index: latency.freeze,
                thresholds_us: latency.thresholds_microseconds.clone(),
                rhos_permille: latency.rhos_permille.clone(),
            })
        }),
        lease: Duration::from_millis(message.lease_milliseconds.into()),
        burn_in_units: message.burn_in_units,
        signal: Signal::Total,
        errors_maturity: Duration::from_secs(message.errors_maturity_seconds.into()),
    })
}

fn forced(entry: &v1::Override) -> Override {
    Override {
        header: entry.header.clone(),
        values: entry.values.clone(),
        to: match entry.to_candidate {
            true => Arm::Candidate,
            false => Arm::Stable,
        },
    }
}

impl Lab {
    /// A second of all routers: sessions, traffic, reports.
    pub(super) fn sessions(&mut self) {
        self.keep_routers();
        self.receive_all();
        let now = self.started.elapsed();
        for (index, router) in self.routers.values_mut().enumerate() {
            // Beside a new leader some routers still talk to the old one.
            let operator = match self.operators.as_slice() {
                [] => continue,
                [one] => one,
                [old, .., new] => {
                    if index % 2 == 0 {
                        new
                    } else {
                        old
                    }
                }
            };
            router.check_in(operator, now);
        }
        self.receive_all();
        self.serve(now);
        for router in self.routers.values_mut() {
            let Some(operator) = of_session(&self.operators, router) else {
                continue;
            };
            let hub = operator.hub.clone();
            let words = router.speak(now, &self.monitors[&router.hello.model]);
            if let Some(session) = &router.session {
                for word in words {
                    hub.receive(&router.key(), &session.pod, &router.hello.pod_uid, word);
                }
            }
        }
        self.receive_all();
        self.note_routing(now);
    }

    /// Every router reads what was sent to it, and answers.
    pub(super) fn receive_all(&mut self) {
        let now = self.started.elapsed();
        for router in self.routers.values_mut() {
            let received = router.receive(now);
            let operator = of_session(&self.operators, router);
            for (route, ack) in received.routes {
                let monitor = &self.monitors[&router.hello.model];
                lock(monitor).took(&router.node, &route, self.operators.len());
                if let (Some(operator), Some(session)) = (operator, &router.session) {
                    operator.hub.receive(
                        &router.key(),
                        &session.pod,
                        &router.hello.pod_uid,
                        Up::Ack(ack),
                    );
                }
            }
            if received.closed
                && let Some(session) = router.session.take()
                && let Some(operator) = operator
            {
                operator
                    .hub
                    .closed(&router.key(), &router.hello.pod_uid, session.id);
            }
        }
    }

    /// A router for every running pod, and none for one that is gone.
    fn keep_routers(&mut self) {
        let pods = self.server.look(|store| {
            let all = store.list(kinds::named("Pod"), Some(NAMESPACE));
            all.map(|(_, pod)| pod.clone()).collect::<Vec<_>>()
        });
        self.routers
            .retain(|known, _| pods.iter().any(|pod| uid(pod) == known));
        for pod in &pods {
            let evaluates = label(pod, names::LABEL_ROLE) == names::role::EVALUATION;
            if pod["status"]["phase"] != "Running" || evaluates {
                continue;
            }
            let behavior = behavior_of(&self.behaviors, pod);
            self.serial += 1;
            let router = self.routers.entry(uid(pod).to_owned());
            let router = router.or_insert_with(|| Router::new(pod, self.serial));
            router.engine(super::view::is_ready(pod), behavior);
        }
    }

    /// Traffic at every router that holds a grant.
    fn serve(&mut self, now: Duration) {
        let ready: BTreeMap<(String, String), Behavior> = self.server.look(|store| {
            let candidates = store
                .list(kinds::named("Pod"), Some(NAMESPACE))
                .filter(|(_, pod)| {
                    label(pod, names::LABEL_ROLE) == names::role::CANDIDATE
                        && super::view::is_ready(pod)
                });
            candidates
                .map(|(_, pod)| {
                    let model = label(pod, names::LABEL_MODEL).to_owned();
                    let on = (model, super::view::node_of(pod));
                    (on, behavior_of(&self.behaviors, pod))
                })
                .collect()
        });
        for router in self.routers.values_mut() {
            let granted = router.held.granted(now);
            let granted = granted.map(|(id, grant)| (id.to_owned(), grant.clone()));
            let on = (router.hello.model.clone(), router.node.clone());
            match (granted, ready.get(&on)) {
                (Some((id, grant)), Some(behavior)) => {
                    router.counting.count(&id, &grant, *behavior, self.rate);
                }
                _ => router.counting.pause(),
            }
        }
    }

    fn note_routing(&mut self, now: Duration) {
        for (model, monitor) in &self.monitors {
            let routers = || {
                let all = self.routers.values();
                all.filter(|router| router.hello.model == *model)
            };
            let routing = routers().filter_map(|router| {
                let (id, grant) = router.held.granted(now)?;
                let to = (id.to_owned(), grant.candidate.revision.clone());
                Some((router.node.clone(), to))
            });
            let mailboxes = routers().filter_map(|router| {
                let operator = of_session(&self.operators, router)?;
                let mailbox = router.session.as_ref()?.mailbox.clone();
                let leader = operator.connection.name().to_owned();
                Some((router.node.clone(), (leader, mailbox)))
            });
            let mut monitor = lock(monitor);
            monitor.routing = routing.collect();
            monitor.mailboxes = mailboxes.collect();
        }
    }
}

fn of_session<'o>(operators: &'o [Operator], router: &Router) -> Option<&'o Operator> {
    let session = router.session.as_ref()?;
    operators
        .iter()
        .find(|operator| operator.epoch == session.epoch)
}
