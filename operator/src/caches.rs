//! What the API server has, one watch a kind, each with its own backoff; every change wakes the SmallModel it belongs to.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector as reflect, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use smallfleet_core::world::Role;
use smallfleet_crds::SmallModel;
use smallfleet_crds::names::{LABEL_MODEL, LABEL_ROLE, role};
use tokio::sync::mpsc;

use crate::observe;
use crate::session::{ModelKey, PodIdentity, PodLookup};

/// Wake-ups of models that wait for the controller; more are dropped, because a rollout looks again every second anyway.
pub const WAKE_CAPACITY: usize = 4096;

/// Stores of every kind that a World is built from.
#[derive(Clone)]
pub struct Caches {
    pub models: Store<ModelMeta>,
    pub daemon_sets: Store<DaemonSet>,
    pub revisions: Store<ControllerRevision>,
    pub pods: Store<Pod>,
    pub services: Store<Service>,
    pub config_maps: Store<ConfigMap>,
    pub nodes: Store<Node>,
}

/// Name, uid and labels of a SmallModel: all that a watch of them is for, since a reconcile reads the object itself. One whose spec
/// this version cannot read (stored under another definition) does not blind the watch for all the others.
pub type ModelMeta = PartialObjectMeta<SmallModel>;

impl std::fmt::Debug for Caches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Caches")
    }
}

impl Caches {
    /// Starts the watches. Each runs until the process ends; an error is logged and tried again with backoff.
    #[must_use]
    pub fn start(client: &Client, wake: &mpsc::Sender<ModelKey>) -> Self {
        let ours = || watcher::Config::default().labels(LABEL_MODEL);
        let models = watch_models(client, wake.clone());
        Self {
            nodes: watch_nodes(client, models.clone(), wake.clone()),
            models,
            daemon_sets: watch_labelled(client, ours(), wake.clone()),
            revisions: watch_labelled(client, ours(), wake.clone()),
            pods: watch_labelled(client, ours(), wake.clone()),
            services: watch_labelled(client, ours(), wake.clone()),
            config_maps: watch_labelled(client, ours(), wake.clone()),
        }
    }

    /// Waits until every store has had its first list.
    pub async fn ready(&self) {
        // A store whose writer is gone belongs to a process that ends.
        let _ = tokio::join!(
            self.models.wait_until_ready(),
            self.daemon_sets.wait_until_ready(),
            self.revisions.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.services.wait_until_ready(),
            self.config_maps.wait_until_ready(),
            self.nodes.wait_until_ready(),
        );
    }

    /// Objects of a store that carry a model's label in its namespace.
    pub fn of_model<K>(store: &Store<K>, key: &ModelKey) -> Vec<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let belongs = |object: &Arc<K>| model_of(object.as_ref()).as_ref() == Some(key);
        store.state().into_iter().filter(belongs).collect()
    }
}

/// The SmallModel that an object's labels name.
pub fn model_of<K: Resource>(object: &K) -> Option<ModelKey> {
    let model = object.meta().labels.as_ref()?.get(LABEL_MODEL)?;
    Some((object.namespace()?, model.clone()))
}

fn watch_models(client: &Client, wake: mpsc::Sender<ModelKey>) -> Store<ModelMeta> {
    let key = |model: &ModelMeta| Some((model.namespace()?, model.name_any()));
    let changes = watcher(
        Api::<ModelMeta>::all(client.clone()),
        watcher::Config::default(),
    );
    keep(changes, move |model| wake_by(&wake, key(model)))
}

fn watch_labelled<K>(
    client: &Client,
    config: watcher::Config,
    wake: mpsc::Sender<ModelKey>,
) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    keep(
        watcher(Api::<K>::all(client.clone()), config),
        move |object| wake_by(&wake, model_of(object)),
    )
}

fn wake_by(wake: &mpsc::Sender<ModelKey>, key: Option<ModelKey>) {
    if let Some(key) = key
        && wake.try_send(key).is_err()
    {
        tracing::debug!("a wake-up was dropped: the controller is behind");
    }
}

/// A node that changed may concern every model.
fn watch_nodes(
    client: &Client,
    models: Store<ModelMeta>,
    wake: mpsc::Sender<ModelKey>,
) -> Store<Node> {
    let hashes = Mutex::new(HashMap::new());
    keep(
        watcher(Api::<Node>::all(client.clone()), watcher::Config::default()),
        move |node: &Node| {
            let hash = node_hash(node);
            let mut hashes = hashes.lock().unwrap_or_else(PoisonError::into_inner);
            if hashes.insert(node.name_any(), hash) == Some(hash) {
                return;
            }
            for model in models.state() {
                wake_by(
                    &wake,
                    model
                        .namespace()
                        .map(|namespace| (namespace, model.name_any())),
                );
            }
        },
    )
}

fn keep<K>(
    changes: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    seen: impl Fn(&K) + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let stream = reflect(writer, changes.default_backoff()).touched_objects();
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(change) = stream.next().await {
            match change {
                Ok(object) => seen(&object),
                Err(error) => tracing::warn!(%error, "a watch broke; it starts again"),
            }
        }
    });
    store
}

/// Only what a plan looks at: heartbeats change nothing.
fn node_hash(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!(
        "{:?}{}",
        observe::node_view(node),
        node.metadata.deletion_timestamp.is_some()
    )
    .hash(&mut hasher);
    hasher.finish()
}

impl PodLookup for Caches {
    fn find(&self, namespace: &str, pod_uid: &str) -> Option<PodIdentity> {
        let pod = self.pods.find(|pod| {
            pod.namespace().as_deref() == Some(namespace)
                && pod.metadata.uid.as_deref() == Some(pod_uid)
        })?;
        let (_, model) = model_of(pod.as_ref())?;
        self.owned_by(&pod, namespace, &model).then(|| PodIdentity {
            name: pod.name_any(),
            role: role_of(&pod),
            node: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            ip: pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.clone())
                .unwrap_or_default(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            model,
        })
    }
}

impl Caches {
    /// The pod's controller is the SmallModel itself or a DaemonSet whose controller it is: a label alone proves nothing.
    fn owned_by(&self, pod: &Pod, namespace: &str, model: &str) -> bool {
        let Some(model) = self.models.get(&ObjectRef::new(model).within(namespace)) else {
            return false;
        };
        let Some(model_uid) = model.uid() else {
            return false;
        };
        let Some(controller) = controller_uid(pod) else {
            return false;
        };
        let through_daemon_set = || {
            let daemon_set = self
                .daemon_sets
                .find(|daemon_set| daemon_set.uid().as_ref() == Some(&controller));
            daemon_set.and_then(|daemon_set| controller_uid(daemon_set.as_ref()))
                == Some(model_uid.clone())
        };
        controller == model_uid || through_daemon_set()
    }
}

/// Uid of an object's controller.
pub fn controller_uid<K: Resource>(object: &K) -> Option<String> {
    let owners = object.meta().owner_references.as_ref()?;
    owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.clone())
}

/// Role of a pod by its label; a pod without one is of the DaemonSet.
pub fn role_of(pod: &Pod) -> Role {
    match pod.labels().get(LABEL_ROLE).map(String::as_str) {
        Some(role::CANDIDATE) => Role::Candidate,
        Some(role::EVALUATION) => Role::Evaluation,
        _ => Role::Stable,
    }
}
