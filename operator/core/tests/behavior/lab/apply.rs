//! The API server and the hub: what an action does, and what must hold when it does.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_core::action::Action;
use smallfleet_core::render::{ANNOTATION_APPLIED, ANNOTATION_REVERTED};
use smallfleet_core::revision::{Revision, RevisionObject};
use smallfleet_core::world::{AppliedView, DaemonSetView, PodPhase, PodView, Role};
use smallfleet_crds::names;
use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use std::time::Duration;

use super::Lab;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Conflict,
}

fn applied(metadata: &ObjectMeta) -> String {
    metadata.annotations.as_ref().unwrap()[ANNOTATION_APPLIED].clone()
}

fn reverted(metadata: &ObjectMeta) -> String {
    let annotations = metadata.annotations.as_ref().unwrap();
    let rollout = annotations.get(ANNOTATION_REVERTED);
    rollout.cloned().unwrap_or_default()
}

fn label(metadata: &ObjectMeta, key: &str) -> String {
    let labels = metadata.labels.as_ref().unwrap();
    labels.get(key).cloned().unwrap_or_default()
}

impl Lab {
    pub(super) fn apply(&mut self, action: &Action, version: &mut u64) -> Outcome {
        match action {
            Action::Cut(cut) => {
                self.cut(&cut.rollout);
                let before = self.hub.own_cut.take();
                self.hub.own_cut = Some((**cut).clone().after(before));
            }
            Action::PersistStatus(status) => return self.persist(status, version),
            Action::SaveEvidence {
                store,
                resource_version,
            } => {
                let held = self
                    .evidence
                    .as_ref()
                    .map(|(_, version)| version.to_string());
                if held != *resource_version {
                    return Outcome::Conflict;
                }
                let next = self.evidence.as_ref().map_or(1, |(_, version)| version + 1);
                self.closed
                    .retain(|epoch| !store.closed_ids.contains(&epoch.id));
                self.evidence = Some(((**store).clone(), next));
                self.hub.numbers_since = self.now;
            }
            Action::CreateRevision(object) => {
                let name = object.metadata.name.clone().unwrap();
                if self.revisions.iter().any(|known| known.name == name) {
                    return Outcome::Conflict;
                }
                let revision: Revision =
                    serde_json::from_value(object.data.as_ref().unwrap().0.clone()).unwrap();
                let uid = self.unique("revision");
                self.revisions.push(RevisionObject {
                    name,
                    uid,
                    number: object.revision,
                    hash: revision.hash(),
                    revision,
                    verdict: None,
                });
            }
            Action::LabelRevision { uid, verdict, .. } => {
                match self.revisions.iter_mut().find(|known| known.uid == *uid) {
                    Some(known) => known.verdict = Some(*verdict),
                    None => return Outcome::Conflict,
                }
            }
            Action::DeleteRevision { uid, .. } => self.delete_revision(uid),
            Action::ApplyDaemonSet(object) => self.apply_daemon_set(object),
            Action::ApplyService(object) => {
                self.service = Some(AppliedView {
                    uid: "service".to_owned(),
                    applied_hash: applied(&object.metadata),
                });
            }
            Action::ApplySessionConfig(object) => {
                self.session_config = Some(AppliedView {
                    uid: "session".to_owned(),
                    applied_hash: applied(&object.metadata),
                });
            }
            Action::CreatePod(pod) => return self.create_pod(pod),
            Action::DeletePod { uid, .. } => self.delete_pod(uid),
            Action::Emit(event) => self.events.push(event.clone()),
        }
        Outcome::Done
    }

    /// I4: within one id the sequence never falls, and a cut id is never granted again.
    fn persist(&mut self, status: &SmallModelStatus, version: &mut u64) -> Outcome {
        if *version != self.version {
            return Outcome::Conflict;
        }
        let before = self.status();
        if let (Some(before), Some(now)) = (&before.rollout, &status.rollout)
            && before.id == now.id
        {
            assert!(now.sequence >= before.sequence, "a sequence fell");
            let raised = now.candidate_traffic_permille > before.candidate_traffic_permille;
            assert!(
                !raised || !self.hub.cut.contains(&now.id),
                "a cut rollout is raised"
            );
        }
        if let Some(rollout) = &status.rollout {
            assert!(
                rollout.candidate_traffic_permille == 0
                    || !status
                        .refused
                        .iter()
                        .any(|refused| refused.revision == rollout.to),
                "I5: traffic for a refused revision"
            );
        }
        assert!(status.refused.len() <= 5 && status.worst_nodes.len() <= 10);
        self.model.status = Some(status.clone());
        self.version += 1;
        *version = self.version;
        self.hub.numbers_since = self.now;
        self.note_key();
        Outcome::Done
    }

    fn delete_revision(&mut self, uid: &str) {
        let Some(index) = self.revisions.iter().position(|known| known.uid == uid) else {
            return;
        };
        let hash = self.revisions[index].hash.clone();
        if self.strict {
            assert_ne!(
                self.stable(),
                hash,
                "the stable revision's object is deleted"
            );
            assert!(
                !self.pods.iter().any(|pod| pod.revision == hash),
                "a revision in use is deleted"
            );
        }
        self.revisions.remove(index);
    }

    /// I11: the template is only ever the promoted revision.
    fn apply_daemon_set(&mut self, object: &DaemonSet) {
        let template = object
            .spec
            .as_ref()
            .unwrap()
            .template
            .metadata
            .clone()
            .unwrap();
        let revision = label(&template, names::LABEL_REVISION);
        if self.strict {
            self.check_template(&revision);
        }
        let rolling = object
            .spec
            .as_ref()
            .unwrap()
            .update_strategy
            .clone()
            .unwrap()
            .rolling_update
            .unwrap();
        let unavailable = rolling.max_unavailable.clone().unwrap();
        self.surge = self.surge_of(rolling.max_surge.as_ref());
        let generation = self
            .daemon_set
            .as_ref()
            .map_or(1, |live| live.generation + 1);
        let observed = self
            .daemon_set
            .as_ref()
            .map_or(0, |live| live.observed_generation);
        self.daemon_set = Some(DaemonSetView {
            uid: "daemon-set".to_owned(),
            revision,
            applied_hash: applied(&object.metadata),
            reverted: reverted(&object.metadata),
            generation,
            observed_generation: observed,
            takes_away_first: serde_json::to_value(unavailable).unwrap() != serde_json::json!(0),
            ..self.daemon_set.clone().unwrap_or_default()
        });
    }

    fn surge_of(&self, surge: Option<&IntOrString>) -> usize {
        match surge.unwrap() {
            IntOrString::Int(nodes) => usize::try_from(*nodes).unwrap(),
            IntOrString::String(share) => {
                let share: usize = share.trim_end_matches('%').parse().unwrap();
                (share * self.nodes.len()).div_ceil(100)
            }
        }
    }

    fn check_template(&self, revision: &str) {
        let status = self.status();
        let allowed = match &status.rollout {
            Some(rollout) if rollout.state == RolloutState::Promoting => {
                vec![rollout.from.clone(), rollout.to.clone()]
            }
            Some(rollout) if rollout.state == RolloutState::Reverting => vec![rollout.from.clone()],
            _ => vec![self.stable()],
        };
        assert!(
            allowed.iter().any(|hash| hash == revision),
            "the template becomes {revision}: {status:#?}"
        );
        let refused = status
            .refused
            .iter()
            .any(|refused| refused.revision == revision);
        assert!(!refused, "I5: the template becomes a refused revision");
    }

    fn create_pod(&mut self, pod: &Pod) -> Outcome {
        let name = pod.metadata.name.clone().unwrap();
        if self.pods.iter().any(|known| known.name == name) {
            return Outcome::Conflict;
        }
        let node = bound_to(pod);
        if self.quota_exceeded {
            self.hub.refused_pods.insert(node, self.now);
            return Outcome::Done;
        }
        self.hub.refused_pods.remove(&node);
        let role = match label(&pod.metadata, names::LABEL_ROLE).as_str() {
            names::role::CANDIDATE => Role::Candidate,
            names::role::EVALUATION => Role::Evaluation,
            other => panic!("a pod of role {other} is created"),
        };
        let rollout = label(&pod.metadata, names::LABEL_ROLLOUT);
        let revision = label(&pod.metadata, names::LABEL_REVISION);
        if self.strict {
            self.check_pod(role, &rollout, &revision, &node);
        }
        let uid = self.unique("pod");
        self.pods
            .push(self.new_pod(name, uid, role, &revision, &rollout, &node));
        Outcome::Done
    }

    /// I9: for what status names, one a node; I5: never a refused revision.
    fn check_pod(&self, role: Role, rollout: &str, revision: &str, node: &str) {
        let status = self.status();
        let current = status
            .rollout
            .as_ref()
            .unwrap_or_else(|| panic!("a pod without a rollout in status"));
        assert_eq!(
            current.id, rollout,
            "a pod of a rollout that status does not name"
        );
        let trials = self
            .pods
            .iter()
            .filter(|pod| pod.role != Role::Stable && pod.node == node);
        assert_eq!(trials.count(), 0, "two trial pods on {node}");
        assert!(
            !self.foreign_candidates.contains(node),
            "beside another model's candidate"
        );
        if role == Role::Candidate {
            assert!(
                current.wave.iter().any(|held| held == node),
                "{node} is not in the persisted wave"
            );
            assert!(
                !status
                    .refused
                    .iter()
                    .any(|refused| refused.revision == revision),
                "I5"
            );
        }
    }

    /// A candidate goes only when nothing can be sent to it any more.
    fn delete_pod(&mut self, uid: &str) {
        let Some(pod) = self.pods.iter().find(|pod| pod.uid == uid).cloned() else {
            return;
        };
        assert_ne!(pod.role, Role::Stable, "I1: {} is deleted", pod.name);
        if self.strict && pod.role == Role::Candidate {
            let routing = self
                .routers
                .values()
                .filter(|router| router.node == pod.node && router.routes(self.now));
            assert_eq!(
                routing.count(),
                0,
                "{} is deleted while it is routed to",
                pod.name
            );
        }
        self.pods
            .iter_mut()
            .filter(|pod| pod.uid == uid)
            .for_each(|pod| pod.deleting = true);
    }

    pub(super) fn new_pod(
        &self,
        name: String,
        uid: String,
        role: Role,
        revision: &str,
        rollout: &str,
        node: &str,
    ) -> PodView {
        PodView {
            name,
            uid,
            role,
            revision: revision.to_owned(),
            rollout: rollout.to_owned(),
            node: node.to_owned(),
            ready: false,
            deleting: false,
            phase: PodPhase::Pending,
            unschedulable: None,
            // Replaced by the age at each look.
            age: Duration::from_millis(self.now),
            ip: String::new(),
            disruption: None,
            containers: Vec::new(),
        }
    }
}

fn bound_to(pod: &Pod) -> String {
    let pod = serde_json::to_value(pod).unwrap();
    let path = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields";
    let fields = pod.pointer(path).unwrap().as_array().unwrap();
    fields.last().unwrap()["values"][0]
        .as_str()
        .unwrap()
        .to_owned()
}
