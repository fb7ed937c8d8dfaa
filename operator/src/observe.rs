//! Builds the World of one SmallModel from the caches, the session hub, the leader's clocks and one quorum read.
//!
//! The SmallModel itself is always read from the API server, not from a cache: a plan never starts from a status that is older
//! than our own last write. Everything else may lag: creations have fixed names, deletions carry uids, and a store is replaced
//! with its resourceVersion, so an action from a stale view fails instead of happening twice.

mod memory;
mod objects;
mod pods;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use smallfleet_core::health;
use smallfleet_core::render::name;
use smallfleet_core::world::{
    AppliedView, Clock, DaemonSetView, Defaults, EvidenceView, Leader, NodeView, PodView, Role,
    Slot, World,
};
use smallfleet_crds::SmallModel;
use tokio::time::Instant;

use crate::caches::{Caches, controller_uid, role_of};
use crate::error::Error;
use crate::session::{Hub, ModelKey};

pub use memory::{Memory, Stranger};
pub use objects::{EVIDENCE_KEY, node_view};
pub use pods::node_of;

/// Most time that one call to the API server may take.
pub const CALL: Duration = Duration::from_secs(15);
/// A leader that is new waits this long for the wave's routers at most.
pub const RESUMING: Duration = Duration::from_secs(30);

/// Where Worlds are built from.
#[derive(Clone, Debug)]
pub struct Observer {
    pub client: Client_,
    pub caches: Caches,
    pub hub: Hub,
    pub defaults: Defaults,
    /// Fresh random bits at every call.
    pub random: fn() -> u128,
    /// Leader epoch, and since when.
    pub epoch: u64,
    pub since: Instant,
}

/// A client that may stand in a `Debug` type.
#[derive(Clone)]
pub struct Client_(pub Client);

impl std::fmt::Debug for Client_ {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

/// The objects that a SmallModel has once each.
struct Slots {
    evidence: Slot<EvidenceView>,
    daemon_set: Slot<DaemonSetView>,
    service: Slot<AppliedView>,
    session_config: Slot<AppliedView>,
}

impl Observer {
    /// The World now; `None` when the SmallModel is gone.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn observe(
        &self,
        key: &ModelKey,
        memory: &mut Memory,
    ) -> Result<Option<World>, Error> {
        memory.asked = Some(Instant::now());
        let Some(model) = self.read_model(key).await? else {
            return Ok(None);
        };
        let rollout = rollout_id(&model);
        let Slots {
            evidence,
            daemon_set,
            service,
            session_config,
        } = self.slots(key, &model).await?;
        let mut world = World {
            revisions: objects::revisions(&Caches::of_model(&self.caches.revisions, key), &model),
            daemon_set,
            service,
            session_config,
            evidence,
            pods: Vec::new(),
            nodes: self.nodes(),
            stranger: self.stranger(key, &model, memory).await?,
            foreign_candidates: self.foreign_candidates(key, memory),
            refused_pods: memory.refused_pods(&rollout),
            sessions: self.hub.view(key, &rollout),
            leader: Leader {
                epoch: self.epoch,
                resuming: false,
            },
            clock: Clock {
                now: Timestamp::now(),
                in_state: memory.in_state(&model),
                nothing_serves_for: Duration::ZERO,
                candidate_missing_for: Duration::ZERO,
                since_numbers: memory.since_numbers(),
            },
            own_cut: memory.cut.clone(),
            random: (self.random)(),
            defaults: self.defaults.clone(),
            model,
        };
        world.pods = pods::views(&self.caches, key, &world, memory);
        self.hub
            .retain(key, &world.pods.iter().map(|pod| pod.uid.clone()).collect());
        memory.time(health(&world), &mut world.clock);
        world.leader.resuming = self.resuming(key, &world, memory);
        Ok(Some(world))
    }

    /// The objects under our names; what the evidence holds already is not counted again by the hub.
    async fn slots(&self, key: &ModelKey, model: &SmallModel) -> Result<Slots, Error> {
        let Caches {
            config_maps,
            daemon_sets,
            services,
            ..
        } = &self.caches;
        let (evidence, session) = (name::evidence(&key.1), name::session_config(&key.1));
        let slots = Slots {
            evidence: self
                .slot(config_maps, key, &evidence, model, objects::evidence)
                .await?,
            daemon_set: self
                .slot(daemon_sets, key, &key.1, model, objects::daemon_set)
                .await?,
            service: self
                .slot(services, key, &key.1, model, objects::applied::<Service>)
                .await?,
            session_config: self
                .slot(
                    config_maps,
                    key,
                    &session,
                    model,
                    objects::applied::<ConfigMap>,
                )
                .await?,
        };
        if let Slot::Ours(EvidenceView {
            store: Some(store), ..
        }) = &slots.evidence
        {
            self.hub.read_store(key, store);
        }
        Ok(slots)
    }

    fn nodes(&self) -> Vec<NodeView> {
        let nodes = self.caches.nodes.state();
        nodes.iter().map(|node| node_view(node)).collect()
    }

    async fn read_model(&self, key: &ModelKey) -> Result<Option<SmallModel>, Error> {
        let models: Api<SmallModel> = Api::namespaced(self.client.0.clone(), &key.0);
        call("read the SmallModel", models.get_opt(&key.1)).await
    }

    /// An object under one of our names. A cache knows only objects with our label, so an absent one is looked for by name.
    async fn slot<K, V>(
        &self,
        store: &Store<K>,
        (namespace, _): &ModelKey,
        name: &str,
        model: &SmallModel,
        view: impl Fn(&K) -> V,
    ) -> Result<Slot<V>, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + 'static,
    {
        let cached = store.get(&ObjectRef::new(name).within(namespace));
        let object = match cached {
            Some(object) => Some(object.as_ref().clone()),
            None => {
                let api: Api<K> = Api::namespaced(self.client.0.clone(), namespace);
                call("look for an object by name", api.get_opt(name)).await?
            }
        };
        Ok(match object {
            None => Slot::Absent,
            Some(object) if controller_uid(&object) == model.uid() => Slot::Ours(view(&object)),
            Some(object) => Slot::Foreign(describe(&object)),
        })
    }

    /// The stranger's object that a creation of ours ran into, while it is there.
    async fn stranger(
        &self,
        key: &ModelKey,
        model: &SmallModel,
        memory: &mut Memory,
    ) -> Result<Option<String>, Error> {
        let slot = match &memory.stranger {
            None => return Ok(None),
            Some(Stranger::Pod(name)) => {
                self.slot(&self.caches.pods, key, name, model, |_| ())
                    .await?
            }
            Some(Stranger::Revision(name)) => {
                self.slot(&self.caches.revisions, key, name, model, |_| ())
                    .await?
            }
        };
        match slot {
            Slot::Foreign(text) => Ok(Some(text)),
            Slot::Absent | Slot::Ours(()) => {
                memory.stranger = None;
                Ok(None)
            }
        }
    }

    /// As our caches show, and as this process has just created or is about to.
    fn foreign_candidates(&self, key: &ModelKey, memory: &Memory) -> BTreeSet<String> {
        let pods = self.caches.pods.state();
        let others = pods.iter().filter(|pod| {
            role_of(pod) != Role::Stable
                && crate::caches::model_of(pod.as_ref()).is_some_and(|model| model != *key)
        });
        others
            .map(|pod| node_of(pod))
            .filter(|node| !node.is_empty())
            .chain(memory.reservations.of_others(key))
            .collect()
    }

    /// True until 95 % of the wave's routers were heard by this leader, or 30 s have passed.
    fn resuming(&self, key: &ModelKey, world: &World, memory: &mut Memory) -> bool {
        if memory.resumed {
            return false;
        }
        let rollout = world
            .model
            .status
            .as_ref()
            .and_then(|status| status.rollout.as_ref());
        let uids = |waited_for: &dyn Fn(&PodView) -> bool| -> Vec<String> {
            let pods = world.pods.iter();
            let of_wave = pods.filter(|pod| {
                !pod.deleting && rollout.is_some_and(|rollout| rollout.wave.contains(&pod.node))
            });
            let uids = of_wave.filter(|pod| waited_for(pod));
            uids.map(|pod| pod.uid.clone()).collect()
        };
        let stable = uids(&|pod| pod.role == Role::Stable);
        let candidates = uids(&|pod| pod.role == Role::Candidate && pod.ready);
        memory.resumed =
            self.hub.heard_enough(key, &stable, &candidates) || self.since.elapsed() >= RESUMING;
        !memory.resumed
    }
}

/// rolloutID in status; empty without a rollout.
fn rollout_id(model: &SmallModel) -> String {
    let status = model.status.as_ref();
    status
        .and_then(|status| status.rollout.as_ref())
        .map(|rollout| rollout.id.clone())
        .unwrap_or_default()
}

fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let owner = object.meta().owner_references.as_ref().and_then(|owners| {
        owners
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| format!("{} {}", owner.kind, owner.name))
    });
    let owner = owner.unwrap_or_else(|| "nobody we know".to_owned());
    format!(
        "{} {} (it belongs to {owner})",
        K::kind(&()),
        object.name_any()
    )
}

/// One call with a limit.
///
/// # Errors
/// As the call, or when the limit passes.
pub async fn call<T>(
    what: &'static str,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL, future).await {
        Ok(outcome) => outcome.map_err(|source| Error::Api { what, source }),
        Err(_) => Err(Error::Timeout {
            what,
            seconds: CALL.as_secs(),
        }),
    }
}
