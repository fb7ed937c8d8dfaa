//! Carries a Plan out: action by action, in order, stopping at the first that fails. What was reached is where the next plan starts.
//!
//! Every write is guarded: creations have fixed names and never adopt what is there, changes and deletions carry the uid, status
//! and evidence carry the resourceVersion that the plan started from.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use smallfleet_core::action::{Action, Event as PlannedEvent, Plan};
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_core::lowered;
use smallfleet_core::render::{Owner, name};
use smallfleet_core::world::{Slot, World};
use smallfleet_crds::SmallModel;
use smallfleet_crds::names::{FIELD_MANAGER, LABEL_MODEL, LABEL_VERDICT};
use smallfleet_crds::status::SmallModelStatus;
use tokio::time::Instant;

use crate::caches::controller_uid;
use crate::error::{Class, Error, is_conflict, is_not_found};
use crate::metrics::Metrics;
use crate::observe::{EVIDENCE_KEY, Memory, Stranger, call, node_of};
use crate::session::{Hub, ModelKey};

/// Executes Plans.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    hub: Hub,
    recorder: Recorder,
    metrics: Metrics,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Applier")
    }
}

/// A World of this age may still be acted on: much less than another replica needs to become leader and to act.
const LOOK_AGE_MAX: Duration = Duration::from_secs(2);

/// One model under change.
struct Target<'a> {
    key: &'a ModelKey,
    world: &'a World,
    owner: Owner,
    current: Current,
}

/// The version of the SmallModel that is acted on, and when it was last known to be the newest.
struct Current {
    resource_version: Option<String>,
    known: Option<Instant>,
}

impl Current {
    fn is_old(&self) -> bool {
        self.known
            .is_none_or(|known| known.elapsed() > LOOK_AGE_MAX)
    }
}

impl Applier {
    /// `instance` names this replica in events.
    #[must_use]
    pub fn new(client: Client, hub: Hub, instance: String, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: "smallfleet-operator".to_owned(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            hub,
            metrics,
        }
    }

    /// Carries out all actions.
    ///
    /// # Errors
    /// At the first action that fails; the rest is left to the next plan.
    pub async fn apply(
        &self,
        key: &ModelKey,
        world: &World,
        plan: Plan,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let mut target = Target {
            key,
            world,
            owner: Owner::of(&world.model),
            current: Current {
                resource_version: world.model.resource_version(),
                known: memory.asked,
            },
        };
        for action in plan.actions {
            let kind = kind(&action);
            tracing::debug!(namespace = key.0, model = key.1, kind, "action");
            let fenced = matches!(action, Action::ApplyDaemonSet(_));
            if fenced || (needs_current(&action) && target.current.is_old()) {
                self.prove_current(&mut target).await?;
            }
            self.execute(&mut target, action, memory).await?;
            self.metrics.action(kind);
        }
        Ok(())
    }

    async fn execute(
        &self,
        target: &mut Target<'_>,
        action: Action,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        match action {
            Action::Cut(cut) => {
                self.hub.cut(target.key, &cut.rollout);
                memory.cut = Some(cut.after(memory.cut.take()));
            }
            Action::PersistStatus(status) => {
                if let Some(routes) = lowered(target.world, &status) {
                    self.hub.publish(target.key, routes);
                }
                self.persist_status(target, &status, memory).await?;
            }
            Action::SaveEvidence {
                store,
                resource_version,
            } => {
                self.save_evidence(target, &store, resource_version, memory)
                    .await?;
            }
            Action::CreateRevision(revision) => {
                self.create_revision(target, &revision, memory).await?;
            }
            Action::LabelRevision { name, uid, verdict } => {
                self.label_revision(target, &name, &uid, verdict.as_str())
                    .await?;
            }
            Action::DeleteRevision { name, uid } => {
                let what = "delete a ControllerRevision";
                self.delete::<ControllerRevision>(target, what, &name, uid)
                    .await?;
            }
            Action::ApplyDaemonSet(object) => {
                self.apply_daemon_set(target, *object).await?;
            }
            Action::ApplyService(object) => {
                let uid = uid_of(&target.world.service, |view| &view.uid);
                self.apply_object::<Service>(target, "apply the Service", *object, uid)
                    .await?;
            }
            Action::ApplySessionConfig(object) => {
                let uid = uid_of(&target.world.session_config, |view| &view.uid);
                let what = "apply the session's ConfigMap";
                self.apply_object::<ConfigMap>(target, what, *object, uid)
                    .await?;
            }
            Action::CreatePod(pod) => self.create_pod(target, &pod, memory).await?,
            Action::DeletePod { name, uid } => {
                self.delete::<Pod>(target, "delete a pod", &name, uid)
                    .await?
            }
            Action::Emit(event) => self.emit(target, event).await,
        }
        Ok(())
    }

    fn api<K>(&self, target: &Target<'_>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &target.key.0)
    }

    /// A leader that was held up may have a successor that has gone on since: an old plan is dropped, not carried out late.
    async fn prove_current(&self, target: &mut Target<'_>) -> Result<(), Error> {
        let asked = Instant::now();
        let models: Api<SmallModel> = self.api(target);
        let model = call("read the SmallModel again", models.get_opt(&target.key.1)).await?;
        let version = model.and_then(|model| model.resource_version());
        if version != target.current.resource_version {
            return Err(Error::Outdated {
                model: target.key.1.clone(),
            });
        }
        target.current.known = Some(asked);
        Ok(())
    }

    /// Server-side apply with the resourceVersion that the plan saw: a status that changed meanwhile is a conflict.
    async fn persist_status(
        &self,
        target: &mut Target<'_>,
        status: &SmallModelStatus,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let patch = json!({
            "apiVersion": SmallModel::api_version(&()),
            "kind": SmallModel::kind(&()),
            "metadata": {
                "name": target.key.1,
                "uid": target.owner.uid,
                "resourceVersion": target.current.resource_version,
            },
            "status": status,
        });
        let models: Api<SmallModel> = self.api(target);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(patch);
        let asked = Instant::now();
        let written = call(
            "write the status",
            models.patch_status(&target.key.1, &params, &patch),
        )
        .await?;
        target.current = Current {
            resource_version: written.resource_version(),
            known: Some(asked),
        };
        memory.numbers = Some(Instant::now());
        Ok(())
    }

    /// What may stand in the template follows from status, which another leader may have written since: the write carries the
    /// resourceVersion of the DaemonSet that the plan saw, and [`Self::apply`] has just proved the SmallModel to be as the plan left it. What
    /// ends a promotion changes the DaemonSet, so one of the two tells.
    async fn apply_daemon_set(
        &self,
        target: &Target<'_>,
        mut object: DaemonSet,
    ) -> Result<(), Error> {
        object.metadata.resource_version =
            uid_of(&target.world.daemon_set, |view| &view.resource_version);
        let uid = uid_of(&target.world.daemon_set, |view| &view.uid);
        self.apply_object(target, "apply the DaemonSet", object, uid)
            .await
    }

    async fn save_evidence(
        &self,
        target: &Target<'_>,
        store: &EvidenceStore,
        resource_version: Option<String>,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let what = "write the evidence";
        let text = serde_json::to_string(store).map_err(|source| Error::Json { what, source })?;
        let config_map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name::evidence(&target.key.1)),
                namespace: Some(target.key.0.clone()),
                labels: Some([(LABEL_MODEL.to_owned(), target.key.1.clone())].into()),
                owner_references: target
                    .world
                    .model
                    .controller_owner_ref(&())
                    .map(|owner| vec![owner]),
                resource_version: resource_version.clone(),
                ..ObjectMeta::default()
            },
            data: Some([(EVIDENCE_KEY.to_owned(), text)].into()),
            ..ConfigMap::default()
        };
        let api: Api<ConfigMap> = self.api(target);
        let name = config_map.name_any();
        match resource_version {
            Some(_) => call(what, api.replace(&name, &post(), &config_map)).await?,
            None => call(what, api.create(&post(), &config_map)).await?,
        };
        self.hub.stored(target.key, store);
        memory.numbers = Some(Instant::now());
        Ok(())
    }

    /// A pod that the API server refuses (quota, LimitRange, PodSecurity, no such ServiceAccount) is a fact of its environment: the
    /// next plan is told, and this one goes on.
    async fn create_pod(
        &self,
        target: &Target<'_>,
        pod: &Pod,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        if !memory.reservations.take(&node_of(pod), target.key) {
            // Another model was faster: the next plan sees that its pod is there.
            return Ok(());
        }
        match self.create(target, "create a pod", pod).await {
            Ok(()) => memory.pod_created(pod),
            Err(error) if matches!(error.class(), Class::Invalid | Class::Forbidden) => {
                tracing::warn!(pod = pod.name_any(), %error, "the API server refused a pod");
                memory.pod_refused(pod, error.to_string());
            }
            Err(error) => {
                if let Error::Foreign { .. } = error {
                    memory.stranger = Some(Stranger::Pod(pod.name_any()));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn create_revision(
        &self,
        target: &Target<'_>,
        revision: &ControllerRevision,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let outcome = self.create(target, "create a ControllerRevision", revision);
        outcome.await.inspect_err(|error| {
            if let Error::Foreign { .. } = error {
                memory.stranger = Some(Stranger::Revision(revision.name_any()));
            }
        })
    }

    /// POST under a fixed name. One that is there already is ours from an earlier try, or a stranger's and left alone.
    async fn create<K>(
        &self,
        target: &Target<'_>,
        what: &'static str,
        object: &K,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api(target);
        match call(what, api.create(&post(), object)).await {
            Err(Error::Api { source, .. }) if is_already_exists(&source) => {
                let there = call(what, api.get_opt(&object.name_any())).await?;
                match there {
                    Some(there) if controller_uid(&there).as_ref() != Some(&target.owner.uid) => {
                        Err(Error::Foreign {
                            object: format!("{} {}", K::kind(&()), object.name_any()),
                        })
                    }
                    _ => Ok(()),
                }
            }
            other => other.map(drop),
        }
    }

    async fn delete<K>(
        &self,
        target: &Target<'_>,
        what: &'static str,
        name: &str,
        uid: String,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match call(what, self.api::<K>(target).delete(name, &params)).await {
            // Gone, or another object under this name by now: what we meant is gone.
            Err(Error::Api { source, .. }) if is_not_found(&source) || is_conflict(&source) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn label_revision(
        &self,
        target: &Target<'_>,
        name: &str,
        uid: &str,
        verdict: &str,
    ) -> Result<(), Error> {
        let patch = json!({"metadata": {"uid": uid, "labels": {LABEL_VERDICT: verdict}}});
        let api: Api<ControllerRevision> = self.api(target);
        let params = PatchParams::default();
        call(
            "label a ControllerRevision",
            api.patch(name, &params, &Patch::Merge(patch)),
        )
        .await
        .map(drop)
    }

    /// Server-side apply. With a uid the server refuses another object under this name; a first one is created only where nothing is.
    async fn apply_object<K>(
        &self,
        target: &Target<'_>,
        what: &'static str,
        mut object: K,
        uid: Option<String>,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api(target);
        let name = object.name_any();
        let params = match uid {
            Some(_) => PatchParams::apply(FIELD_MANAGER).force(),
            // Not by force: where somebody was faster, their fields stand and the apply is refused.
            None => PatchParams::apply(FIELD_MANAGER),
        };
        object.meta_mut().uid = uid;
        call(what, api.patch(&name, &params, &Patch::Apply(&object)))
            .await
            .map(drop)
    }

    /// An event is for people: it is logged when it cannot be written, and nothing else waits for it.
    async fn emit(&self, target: &Target<'_>, event: PlannedEvent) {
        tracing::info!(
            namespace = target.key.0,
            model = target.key.1,
            reason = event.reason,
            warning = event.warning,
            message = event.message,
            "event"
        );
        self.metrics.event(event.reason);
        let note = event.message.chars().take(1000).collect();
        let published = Event {
            type_: if event.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: event.reason.to_owned(),
            note: Some(note),
            action: event.reason.to_owned(),
            secondary: None,
        };
        let reference = target.world.model.object_ref(&());
        if let Err(error) = call(
            "write an event",
            self.recorder.publish(&published, &reference),
        )
        .await
        {
            tracing::warn!(%error, "an event was not written");
        }
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

fn uid_of<T>(slot: &Slot<T>, uid: impl Fn(&T) -> &String) -> Option<String> {
    match slot {
        Slot::Ours(view) => Some(uid(view).clone()),
        Slot::Absent | Slot::Foreign(_) => None,
    }
}

/// Whether it may be done only where nobody has changed the SmallModel since. A cut only lowers, an event only tells, and a status
/// names the version that it follows.
const fn needs_current(action: &Action) -> bool {
    !matches!(
        action,
        Action::Cut(_) | Action::PersistStatus(_) | Action::Emit(_)
    )
}

/// Label of metrics.
const fn kind(action: &Action) -> &'static str {
    match action {
        Action::Cut(_) => "cut",
        Action::PersistStatus(_) => "persist_status",
        Action::SaveEvidence { .. } => "save_evidence",
        Action::CreateRevision(_) => "create_revision",
        Action::LabelRevision { .. } => "label_revision",
        Action::DeleteRevision { .. } => "delete_revision",
        Action::ApplyDaemonSet(_) => "apply_daemon_set",
        Action::ApplyService(_) => "apply_service",
        Action::ApplySessionConfig(_) => "apply_session_config",
        Action::CreatePod(_) => "create_pod",
        Action::DeletePod { .. } => "delete_pod",
        Action::Emit(_) => "event",
    }
}
