//! What the operator sees of the lab.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use smallfleet_analysis::Counts;
use smallfleet_core::health;
use smallfleet_core::world::{
    Ack, BurnIn, Clock, Defaults, EngineState, EvidenceView, Leader, PodView, RefusedPod, Role,
    RouteKind, RouterView, Sessions, Slot, World, clock_key,
};

use super::{Behavior, Lab, RUNTIME, Router, SECOND};

fn slot<T>(object: Option<T>) -> Slot<T> {
    object.map_or(Slot::Absent, Slot::Ours)
}

fn lasting(since: &mut Option<u64>, holds: bool, now: u64) -> Duration {
    *since = since.filter(|_| holds).or(holds.then_some(now));
    Duration::from_millis(since.map_or(0, |since| now - since))
}

impl Lab {
    pub(super) fn note_key(&mut self) {
        let key = clock_key(&self.model);
        if key != self.hub.key {
            self.hub.key = key;
            self.hub.key_since = self.now;
        }
    }

    pub fn world(&mut self) -> World {
        self.note_key();
        self.serial += 1;
        let evidence = self.evidence.clone().map(|(store, version)| EvidenceView {
            resource_version: version.to_string(),
            store: Some(store),
        });
        let service = if self.foreign_service {
            Slot::Foreign("Service shop/intent belongs to Deployment intent".to_owned())
        } else {
            slot(self.service.clone())
        };
        let mut world = World {
            model: self.model.clone(),
            defaults: self.defaults(),
            revisions: self.revisions.clone(),
            daemon_set: slot(self.daemon_set.clone()),
            service,
            session_config: slot(self.session_config.clone()),
            evidence: slot(evidence),
            pods: self.pods.iter().map(|pod| self.pod_view(pod)).collect(),
            nodes: self.nodes.clone(),
            stranger: self.stranger.clone(),
            foreign_candidates: self.foreign_candidates.clone(),
            refused_pods: self.refused_pods(),
            sessions: self.sessions(),
            leader: Leader {
                epoch: self.hub.epoch,
                resuming: self.resuming(),
            },
            clock: self.clock(),
            own_cut: self.hub.own_cut.clone(),
            random: u128::from(self.serial).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        };
        let health = health(&world);
        world.clock.candidate_missing_for = lasting(
            &mut self.hub.missing_since,
            health.candidate_is_missing,
            self.now,
        );
        world.clock.nothing_serves_for = lasting(
            &mut self.hub.unserved_since,
            health.nothing_serves,
            self.now,
        );
        world
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            runtime_image: RUNTIME.to_owned(),
            stable_priority_class: "smallfleet-stable".to_owned(),
            candidate_priority_class: "smallfleet-candidate".to_owned(),
            session_address: "smallfleet-operator.system.svc:9443".to_owned(),
            session_ca: "PEM".to_owned(),
        }
    }

    fn pod_view(&self, pod: &PodView) -> PodView {
        PodView {
            age: Duration::from_millis(self.now).saturating_sub(pod.age),
            ..pod.clone()
        }
    }

    fn refused_pods(&self) -> BTreeMap<String, RefusedPod> {
        let refused = self.hub.refused_pods.iter().map(|(node, at)| {
            let refused = RefusedPod {
                message: "exceeded quota: pods".to_owned(),
                since: Duration::from_millis(self.now - at),
            };
            (node.clone(), refused)
        });
        refused.collect()
    }

    /// Until every router of the wave was heard (here: a second after the start), or 30 s.
    fn resuming(&self) -> bool {
        let wave = self
            .status()
            .rollout
            .map(|rollout| rollout.wave)
            .unwrap_or_default();
        let unheard = self
            .routers
            .values()
            .any(|router| wave.contains(&router.node) && !router.connected);
        let waited = self.now - self.hub.since;
        self.hub.since > 0
            && !wave.is_empty()
            && (waited < SECOND || (unheard && waited < 30 * SECOND))
    }

    fn clock(&self) -> Clock {
        let since = |then: u64| Duration::from_millis(self.now.saturating_sub(then));
        Clock {
            now: Timestamp::from_millisecond(i64::try_from(self.now).unwrap()).unwrap(),
            in_state: since(self.hub.key_since),
            nothing_serves_for: Duration::ZERO,
            candidate_missing_for: Duration::ZERO,
            since_numbers: since(self.hub.numbers_since),
        }
    }

    fn sessions(&self) -> Sessions {
        let rollout = self
            .status()
            .rollout
            .map(|rollout| rollout.id)
            .unwrap_or_default();
        let mut open = Counts::default();
        let mut burn_in = BurnIn::default();
        for router in self.counting(&rollout) {
            open.merge(&router.counts).unwrap();
            let units = |arm: &str| {
                router
                    .burn_in
                    .get(arm)
                    .map_or(0, |sample| sample.len() as u64)
            };
            burn_in.stable_units += units("stable");
            burn_in.candidate_units += units("candidate");
            burn_in
                .latencies_microseconds
                .extend(router.burn_in.values().flatten());
        }
        let mut cut = self.hub.cut.clone();
        for router in self.routers.values().filter(|router| router.connected) {
            let last = router
                .acked
                .as_ref()
                .filter(|(_, _, kind)| *kind == RouteKind::Cut);
            cut.extend(last.map(|(rollout, _, _)| rollout.clone()));
        }
        Sessions {
            routers: self.router_views(),
            rollout,
            cut,
            open,
            closed: self.closed.clone(),
            burn_in,
            exposed: Duration::from_millis(self.hub.exposed),
        }
    }

    /// A leader hears the routers that are connected; of a lost one it remembers the last lease.
    fn router_views(&self) -> BTreeMap<String, RouterView> {
        let heard = self.routers.iter().filter_map(|(uid, router)| {
            let pod = self.pods.iter().find(|pod| pod.uid == *uid)?;
            let known = router.connected
                || router
                    .held
                    .as_ref()
                    .is_some_and(|held| held.leader_epoch == self.hub.epoch);
            known.then(|| (uid.clone(), self.router_view(uid, router, pod)))
        });
        heard.collect()
    }

    fn router_view(&self, uid: &str, router: &Router, pod: &PodView) -> RouterView {
        let behavior = self.behavior_of(pod);
        let failure = match &behavior {
            Behavior::Fails(reason) => Some(((*reason).to_owned(), "as the test says".to_owned())),
            _ => None,
        };
        let ack = router.acked.as_ref().map(|(rollout, sequence, kind)| Ack {
            rollout: rollout.clone(),
            sequence: *sequence,
            kind: *kind,
            candidate_in_flight: 0,
        });
        let unreachable = self.unreachable.contains(&router.node);
        RouterView {
            pod_uid: uid.to_owned(),
            node: router.node.clone(),
            role: pod.role,
            revision: pod.revision.clone(),
            instance: uid.to_owned(),
            // A router that is gone with its pod is remembered as it spoke last.
            engine: if pod.ready || pod.has_ended() {
                EngineState::Ready
            } else {
                EngineState::Starting
            },
            engine_instance: uid.to_owned(),
            fingerprint: if pod.role == Role::Candidate {
                format!("key-{uid}")
            } else {
                String::new()
            },
            address: "198.18.0.1:8443".to_owned(),
            node_class: self.class_of(&router.node),
            failure,
            restarts: 0,
            stream: router.connected,
            silent: Duration::ZERO,
            ack,
            may_route: router.routes(self.now),
            restarted_with_route: router.restarted_with_route,
            candidate_ready: router.routes(self.now).then_some(!unreachable),
            candidate_message: if unreachable {
                "connection refused"
            } else {
                ""
            }
            .to_owned(),
        }
    }
}
