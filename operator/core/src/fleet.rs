//! Nodes with what runs on them, joined once a plan.

use std::collections::BTreeMap;

use smallfleet_crds::Placement;

use crate::placement;
use crate::world::{EngineState, NodeView, PodView, Role, RouterView, World};

/// One node and this model's pods on it.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub node: &'a NodeView,
    /// The DaemonSet has a pod here.
    pub serves: bool,
    /// A candidate may run here: the placement chooses it, and no taint or pressure speaks against it.
    pub takes_candidate: bool,
    pub stable: Vec<&'a PodView>,
    /// Candidate and evaluation pods, ending ones too.
    pub trials: Vec<&'a PodView>,
}

impl<'a> Site<'a> {
    /// The pod that serves here: Ready on a Ready node and not on its way out.
    pub fn ready_stable(&self) -> Option<&'a PodView> {
        let serves = |pod: &&&PodView| pod.ready && !pod.deleting;
        let pod = self.stable.iter().find(serves).copied();
        pod.filter(|_| self.node.ready)
    }

    /// The candidate pod of this rollout, unless it is on its way out.
    pub fn candidate(&self, rollout: &str) -> Option<&'a PodView> {
        let candidate = |pod: &&&PodView| {
            pod.role == Role::Candidate && pod.rollout == rollout && !pod.deleting
        };
        self.trials.iter().find(candidate).copied()
    }
}

/// All nodes, by name.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    pub sites: BTreeMap<&'a str, Site<'a>>,
    routers: &'a BTreeMap<String, RouterView>,
}

impl<'a> Fleet<'a> {
    pub fn new(world: &'a World, placement: &Placement) -> Self {
        let site = |node: &'a NodeView| Site {
            node,
            serves: placement::serves_on(placement, node),
            takes_candidate: placement::takes_candidate(placement, node)
                && !node.pressure
                && !node.unschedulable,
            stable: Vec::new(),
            trials: Vec::new(),
        };
        let mut sites: BTreeMap<&str, Site<'_>> = world
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), site(node)))
            .collect();
        for pod in &world.pods {
            if let Some(site) = sites.get_mut(pod.node.as_str()) {
                match pod.role {
                    Role::Stable => site.stable.push(pod),
                    Role::Candidate | Role::Evaluation => site.trials.push(pod),
                }
            }
        }
        Self {
            sites,
            routers: &world.sessions.routers,
        }
    }

    pub fn site(&self, node: &str) -> Option<&Site<'a>> {
        self.sites.get(node)
    }

    /// Nodes that should serve, Ready or not.
    pub fn serving(&self) -> impl Iterator<Item = &Site<'a>> {
        self.sites.values().filter(|site| site.serves)
    }

    /// Nodes that should serve and do.
    pub fn ready(&self) -> impl Iterator<Item = &Site<'a>> {
        self.serving().filter(|site| site.ready_stable().is_some())
    }

    pub fn router(&self, pod: &PodView) -> Option<&'a RouterView> {
        self.routers.get(&pod.uid)
    }

    /// The candidate's engine answers: pod and session both say so.
    pub fn candidate_ready(&self, pod: &PodView) -> bool {
        pod.ready && !pod.deleting && self.engine_of(pod).is_some()
    }

    /// Session of a pod whose engine can be reached and recognised. What a pod that has ended once said holds no more.
    pub fn engine_of(&self, pod: &PodView) -> Option<&'a RouterView> {
        let router = self.router(pod).filter(|_| !pod.has_ended());
        router.filter(|router| {
            router.engine == EngineState::Ready
                && !router.fingerprint.is_empty()
                && !router.address.is_empty()
        })
    }

    /// Architecture and instruction set as the node's router says, else its architecture.
    pub fn node_class(&self, site: &Site<'a>) -> &'a str {
        site.stable
            .iter()
            .filter_map(|pod| self.router(pod))
            .map(|router| router.node_class.as_str())
            .find(|class| !class.is_empty())
            .unwrap_or(&site.node.arch)
    }

    /// Every Ready node that should serve has a Ready pod of this revision and no other pod that is not ending.
    pub fn converged_to(&self, revision: &str) -> bool {
        self.serving().filter(|site| site.node.ready).all(|site| {
            site.ready_stable().is_some()
                && site
                    .stable
                    .iter()
                    .filter(|pod| !pod.deleting)
                    .all(|pod| pod.revision == revision)
        })
    }
}
