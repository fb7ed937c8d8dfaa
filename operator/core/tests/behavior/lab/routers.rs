//! Routers: they take routes by epoch and sequence, hold them while the lease lives, and count.

use std::collections::{BTreeMap, BTreeSet};

use smallfleet_analysis::{ArmCounts, BinaryCounts, Counts, LatencyCounts};
use smallfleet_core::action::{Route, Routes};
use smallfleet_core::world::{ClosedEpoch, Role, RouteKind};

use super::{Behavior, Lab, SECOND};

const LEASE: u64 = 10 * SECOND;
const BURN_IN: u64 = 50;

/// What a router process holds and counts.
#[derive(Clone, Debug, Default)]
pub struct Router {
    pub node: String,
    pub connected: bool,
    pub restarted_with_route: bool,
    pub held: Option<Held>,
    pub finished: BTreeSet<String>,
    leader_epoch: u64,
    pub acked: Option<(String, u64, RouteKind)>,
    counting: String,
    pub counts: Counts,
    pub burn_in: BTreeMap<&'static str, Vec<u64>>,
    pub epoch: u64,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub rollout: String,
    pub sequence: u64,
    pub leader_epoch: u64,
    pub route: Route,
    pub leased_until: u64,
}

impl Router {
    /// It may send a request to the candidate now.
    pub fn routes(&self, now: u64) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.route.kind == RouteKind::Grant && now < held.leased_until)
    }

    fn accept(&mut self, routes: &Routes, route: &Route, epoch: u64, now: u64) {
        let finished = self.finished.contains(&routes.rollout) && route.kind != RouteKind::Cut;
        let same = self
            .held
            .as_ref()
            .filter(|held| held.rollout == routes.rollout);
        let older = same.is_some_and(|held| routes.sequence < held.sequence);
        if epoch < self.leader_epoch || finished || older {
            return;
        }
        self.leader_epoch = epoch;
        if let Some(other) = self
            .held
            .as_ref()
            .filter(|held| held.rollout != routes.rollout)
        {
            self.finished.insert(other.rollout.clone());
        }
        if route.kind == RouteKind::Cut {
            self.finished.insert(routes.rollout.clone());
        }
        self.acked = Some((routes.rollout.clone(), routes.sequence, route.kind));
        self.held = Some(Held {
            rollout: routes.rollout.clone(),
            sequence: routes.sequence,
            leader_epoch: epoch,
            route: route.clone(),
            leased_until: now + LEASE,
        });
    }
}

impl Lab {
    /// The hub sends routes to the routers that it can reach. What was cut is never sent as anything else.
    pub(super) fn deliver(&mut self, routes: Routes) {
        let (epoch, now) = (self.hub.epoch, self.now);
        if routes.rollout != self.hub.published.rollout {
            let stored = self.evidence.as_ref().map(|(store, _)| store);
            let stored = stored.filter(|store| store.rollout == routes.rollout);
            self.hub.exposed = stored.map_or(0, |store| store.exposed_milliseconds);
        }
        for (uid, route) in &routes.by_router {
            let cut = self.hub.cut.contains(&routes.rollout);
            let unsent = route.kind == RouteKind::Grant && (cut || !routes.granting);
            let Some(router) = self
                .routers
                .get(uid)
                .filter(|router| router.connected && !unsent)
            else {
                continue;
            };
            if route.kind == RouteKind::Grant {
                self.check_grant(&routes, route, &router.node);
                assert!(
                    !router.finished.contains(&routes.rollout)
                        || self.ever_cut.contains(&routes.rollout),
                    "I4"
                );
            }
            if let Some(router) = self.routers.get_mut(uid) {
                router.accept(&routes, route, epoch, now);
            }
        }
        self.hub.published = routes;
    }

    /// I3: status says so. I5: nothing refused.
    fn check_grant(&self, routes: &Routes, route: &Route, node: &str) {
        let status = self.status();
        let rollout = status
            .rollout
            .as_ref()
            .expect("a grant without a rollout in status");
        assert_eq!(
            rollout.id, routes.rollout,
            "a grant of another rollout than status names"
        );
        assert_eq!(
            rollout.candidate_traffic_permille, route.candidate_traffic_permille,
            "I3"
        );
        assert!(route.candidate_traffic_permille > 0);
        assert!(
            rollout.granted.iter().any(|granted| granted == node),
            "I3: {node} is granted without being named in status"
        );
        assert!(
            !status
                .refused
                .iter()
                .any(|refused| refused.revision == rollout.to),
            "I5"
        );
    }

    pub(super) fn cut(&mut self, rollout: &str) {
        self.hub.cut.insert(rollout.to_owned());
        self.ever_cut.insert(rollout.to_owned());
        for router in self.routers.values_mut().filter(|router| router.connected) {
            router.finished.insert(rollout.to_owned());
            if router
                .held
                .as_ref()
                .is_some_and(|held| held.rollout == rollout)
            {
                let sequence = router.held.as_ref().map_or(0, |held| held.sequence);
                router.acked = Some((rollout.to_owned(), sequence, RouteKind::Cut));
                router.held = None;
            }
        }
    }

    /// A second of sessions and traffic.
    pub(super) fn serve(&mut self) {
        self.connect();
        let now = self.now;
        let (epoch, rollout) = (self.hub.epoch, self.hub.published.rollout.clone());
        let (sequence, granting) = (self.hub.published.sequence, self.hub.published.granting);
        let mut exposed = false;
        let uids: Vec<String> = self.routers.keys().cloned().collect();
        for uid in uids {
            let router = self.routers.get_mut(&uid).expect("it was listed");
            if let Some(held) = &mut router.held
                && router.connected
                && granting
                && held.rollout == rollout
                && held.sequence == sequence
                && held.leader_epoch == epoch
            {
                held.leased_until = now + LEASE;
            }
            if router.routes(now) {
                exposed = true;
                self.count(&uid);
            }
        }
        if exposed {
            self.hub.exposed += SECOND;
        }
    }

    /// Every running pod has a router; the hub has heard the connected ones.
    fn connect(&mut self) {
        for pod in self
            .pods
            .iter()
            .filter(|pod| pod.role != Role::Evaluation && !pod.containers.is_empty())
        {
            if !self.routers.contains_key(&pod.uid) {
                let router = Router {
                    node: pod.node.clone(),
                    connected: true,
                    epoch: self.serial.wrapping_mul(31) ^ u64::from(pod.uid.as_bytes()[0]) << 32
                        | self.routers.len() as u64,
                    ..Router::default()
                };
                self.serial += 1;
                self.routers.insert(pod.uid.clone(), router);
            }
        }
    }

    /// Half of the requests each: stable's latencies are 1 to 100 ms; a slow candidate's are beyond every threshold.
    fn count(&mut self, uid: &str) {
        let rate = self.rate;
        let Some(held) = self.routers[uid].held.clone() else {
            return;
        };
        let slow = held
            .route
            .candidate
            .as_ref()
            .is_some_and(|endpoint| self.behavior(&endpoint.revision) == Behavior::Slow);
        let ready = self.pods.iter().any(|pod| {
            pod.role == Role::Candidate
                && pod.rollout == held.rollout
                && pod.node == self.routers[uid].node
                && pod.ready
        });
        let ready = ready && !self.unreachable.contains(&self.routers[uid].node);
        let router = self.routers.get_mut(uid).expect("it was listed");
        if router.counting != held.rollout {
            router.counting.clone_from(&held.rollout);
            router.counts = Counts::default();
            router.burn_in.clear();
        }
        if !ready {
            return;
        }
        let units = rate / 2;
        let Some(freeze) = &held.route.latency else {
            for arm in ["stable", "candidate"] {
                let factor = if slow && arm == "candidate" { 3 } else { 1 };
                let sample = router.burn_in.entry(arm).or_default();
                let missing = BURN_IN.saturating_sub(sample.len() as u64).min(units);
                sample.extend((0..missing).map(|unit| (unit * 2 + 1) * 1000 * factor));
            }
            return;
        };
        let arms = ArmCounts {
            stable: units,
            candidate: units,
        };
        let share = |permille: u64| units * permille / 1000;
        let stable: Vec<u64> = [500, 250, 100, self.tail_permille, 10, 5]
            .map(share)
            .to_vec();
        let row = |events: &u64| {
            let beyond = |rho: &u32| {
                if slow {
                    units
                } else if *rho <= 1000 {
                    *events
                } else {
                    events / 2
                }
            };
            freeze.rhos_permille.iter().map(beyond).collect()
        };
        let candidate: Vec<Vec<u64>> = stable.iter().map(row).collect();
        let latency = LatencyCounts::new(arms, stable, candidate).unwrap();
        let permille = u16::try_from(held.route.candidate_traffic_permille).unwrap();
        let freeze = u16::try_from(freeze.freeze).unwrap();
        router
            .counts
            .add_latency(permille, freeze, &latency)
            .unwrap();
        let errors = BinaryCounts::new(arms, ArmCounts::default()).unwrap();
        router.counts.add_errors(permille, &errors).unwrap();
    }

    pub(super) fn close_epoch(&mut self, router: &Router) {
        let current = self
            .status()
            .rollout
            .is_some_and(|rollout| rollout.id == router.counting);
        if current && router.counts != Counts::default() {
            self.closed.push(ClosedEpoch {
                id: router.epoch,
                counts: router.counts.clone(),
            });
        }
    }

    pub fn counting(&self, rollout: &str) -> impl Iterator<Item = &Router> {
        self.routers
            .values()
            .filter(move |router| router.counting == rollout && router.connected)
    }

    /// Cuts the node off from the operator, or lets it back.
    pub fn partition(&mut self, node: &str, connected: bool) {
        for router in self
            .routers
            .values_mut()
            .filter(|router| router.node == node)
        {
            router.connected = connected;
        }
    }

    pub fn granted(&self) -> usize {
        self.routers
            .values()
            .filter(|router| router.routes(self.now))
            .count()
    }
}
