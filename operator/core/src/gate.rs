//! Evaluation pods: one per node class and revision without a cached result, one at a time per node.

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use serde::Deserialize;
use smallfleet_analysis::gate::ClassResult;
use smallfleet_crds::names::container;
use smallfleet_crds::reason;
use smallfleet_crds::status::{Blocked, RolloutStatus};

use crate::action::Action;
use crate::constants::ENDED_POD_AGE;
use crate::draft::{Cx, Draft};
use crate::evidence::{EVALUATIONS_MAX, EvaluationResult, EvidenceStore};
use crate::faults::{self, Finding};
use crate::fleet::Site;
use crate::look;
use crate::objects;
use crate::problem::{self, Blame, Problem};
use crate::render::{self, Evaluation};
use crate::settings::Gate;
use crate::wave;
use crate::world::{PodView, Role};

/// One look at the evaluations of a rollout.
pub(crate) struct Round<'r> {
    rollout: RolloutStatus,
    gate: &'r Gate<'r>,
    store: EvidenceStore,
    /// Results that are not in the persisted store.
    new: usize,
}

/// What an evaluation writes as its last word.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dataset_digest: String,
    node_class: String,
    examples: u32,
    right: String,
}

impl<'r> Round<'r> {
    pub fn new(cx: &Cx<'_>, rollout: &RolloutStatus, gate: &'r Gate<'r>) -> Self {
        let mut round = Self {
            rollout: rollout.clone(),
            gate,
            store: look::stored(cx),
            new: 0,
        };
        for pod in objects::trials(cx) {
            if let Some(result) = round.result_of(cx, pod) {
                round.take(result);
            }
        }
        round
    }

    fn take(&mut self, result: EvaluationResult) {
        let evaluations = &mut self.store.evaluations;
        let same = |one: &EvaluationResult| {
            one.revision == result.revision
                && one.dataset_digest == result.dataset_digest
                && one.node_class == result.node_class
        };
        if evaluations.iter().any(same) {
            return;
        }
        evaluations.push(result);
        let surplus = evaluations.len().saturating_sub(EVALUATIONS_MAX);
        evaluations.drain(..surplus);
        self.new += 1;
    }

    /// The result of an evaluation pod that ended well.
    fn result_of(&self, cx: &Cx<'_>, pod: &PodView) -> Option<EvaluationResult> {
        let report: Report = serde_json::from_str(&last_word(pod)?.1).ok()?;
        let ours =
            pod.role == Role::Evaluation && report.dataset_digest == self.gate.dataset_digest();
        let whole = bits(&report.right, report.examples).is_some();
        // The class that the node's router reports is the one that is asked for again.
        let site = cx.fleet.site(&pod.node);
        let class = site.map_or("", |site| cx.fleet.node_class(site));
        let class = if class.starts_with(&report.node_class) {
            class
        } else {
            &report.node_class
        };
        (ours && whole).then(|| EvaluationResult {
            revision: pod.revision.clone(),
            dataset_digest: report.dataset_digest.clone(),
            node_class: class.to_owned(),
            examples: report.examples,
            right: report.right.clone(),
        })
    }

    /// Stores new results; their pods go once they are stored.
    pub fn store_results(&self, cx: &Cx<'_>, draft: &mut Draft) {
        if self.new > 0 {
            look::save(cx, self.store.clone(), draft);
            return;
        }
        for pod in objects::trials(cx).filter(|pod| pod.role == Role::Evaluation && !pod.deleting) {
            if self.result_of(cx, pod).is_some() {
                objects::delete_pod(pod, draft);
            }
        }
    }

    /// Reads the evaluations that failed: spec's or the candidate's fault, or another node.
    pub fn failures(&self, cx: &Cx<'_>, draft: &mut Draft) -> Option<Finding> {
        for pod in objects::trials(cx).filter(|pod| pod.role == Role::Evaluation && !pod.deleting) {
            if self.result_of(cx, pod).is_some() {
                continue;
            }
            let (Some(site), Some(problem)) = (cx.fleet.site(&pod.node), problem_of(cx, pod))
            else {
                continue;
            };
            let finding = self.failure(cx, site, pod, &problem, draft);
            if finding.is_some() {
                return finding;
            }
        }
        None
    }

    fn failure(
        &self,
        cx: &Cx<'_>,
        site: &Site<'_>,
        pod: &PodView,
        problem: &Problem,
        draft: &mut Draft,
    ) -> Option<Finding> {
        let of_candidate = pod.revision == self.rollout.to;
        let of_dataset = matches!(
            problem.reason.as_str(),
            reason::NO_DATASET | reason::LABELS_DO_NOT_MATCH
        ) || problem.message.contains(self.gate.dataset_digest());
        if problem.blame == Blame::Spec && (of_candidate || of_dataset) {
            return faults::book(cx, site, pod, problem, draft);
        }
        let others = wave::spare(cx, &self.rollout).len() > 1;
        let may_move = others && wave::may_move_on(&self.rollout, &[], problem);
        match problem.blame {
            Blame::Revision if of_candidate => {
                let finding = faults::book(cx, site, pod, problem, draft);
                objects::delete_pod(pod, draft);
                return finding;
            }
            _ if may_move => {
                wave::exclude(cx, &pod.node, &problem.reason, draft);
                objects::delete_pod(pod, draft);
            }
            _ => {
                let blocked =
                    wave::blocked(&problem.reason, &problem.message, vec![pod.node.clone()]);
                wave::block(Some(blocked), draft);
                let ended = last_word(pod).is_some() || pod.has_ended();
                if ended && pod.age >= ENDED_POD_AGE {
                    objects::delete_pod(pod, draft);
                }
            }
        }
        None
    }

    /// Revisions to be evaluated: the candidate, and what it is compared with where that serves.
    fn revisions(&self, cx: &Cx<'_>) -> Vec<&str> {
        let mut revisions = vec![self.rollout.to.as_str()];
        if !self.rollout.from.is_empty() && cx.fleet.ready().next().is_some() {
            revisions.push(&self.rollout.from);
        }
        revisions
    }

    /// Node classes of the fleet. An architecture alone stands in until a router of it has told more.
    fn node_classes<'c>(&self, cx: &'c Cx<'_>) -> BTreeSet<&'c str> {
        let all: BTreeSet<&str> = cx
            .fleet
            .serving()
            .map(|site| cx.fleet.node_class(site))
            .collect();
        let told = |class: &str| {
            all.iter()
                .any(|other| is_of(class, other) && *other != class)
        };
        all.iter().copied().filter(|class| !told(class)).collect()
    }

    fn result(&self, revision: &str, class: &str) -> Option<&EvaluationResult> {
        self.store.evaluations.iter().find(|result| {
            result.revision == revision
                && result.dataset_digest == self.gate.dataset_digest()
                && is_of(class, &result.node_class)
        })
    }

    /// Results of all classes, once they are all stored.
    pub fn classes(&self, cx: &Cx<'_>) -> Option<Vec<ClassResult>> {
        let classes = self.node_classes(cx);
        if self.new > 0 || classes.is_empty() {
            return None;
        }
        let compared = self.revisions(cx).len() > 1;
        let of_class = |class: &&str| {
            let right = |revision: &str| {
                let result = self.result(revision, class)?;
                bits(&result.right, result.examples)
            };
            let stable = if compared {
                Some(right(&self.rollout.from)?)
            } else {
                None
            };
            Some(ClassResult {
                class: (*class).to_owned(),
                stable,
                candidate: right(&self.rollout.to)?,
            })
        };
        classes.iter().map(of_class).collect()
    }

    /// Starts what is missing, on the first free node of the class by rank.
    pub fn evaluate(&self, cx: &Cx<'_>, draft: &mut Draft) {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let spare = wave::spare(cx, &self.rollout);
        let (mut missing_node, mut refused) = (false, None);
        for class in self.node_classes(cx) {
            for revision in self.revisions(cx) {
                if self.result(revision, class).is_some() || self.is_running(cx, revision, class) {
                    continue;
                }
                let fit = || {
                    let of_class = |site: &&&Site<'_>| is_of(class, cx.fleet.node_class(site));
                    spare.iter().filter(of_class)
                };
                missing_node |= fit().next().is_none();
                let free = |site: &&&Site<'_>| {
                    wave::may_create(cx, site) && !taken.contains(site.node.name.as_str())
                };
                refused = refused.or_else(|| refusal(cx, fit()));
                if let Some(site) = fit().find(free) {
                    taken.insert(&site.node.name);
                    self.create(cx, revision, site, draft);
                }
            }
        }
        if missing_node {
            wave::block(Some(wave::nothing_fits(cx, &self.rollout)), draft);
        } else if refused.is_some() {
            wave::block(refused, draft);
        } else if !objects::trials(cx).any(|pod| problem_of(cx, pod).is_some()) {
            wave::block(None, draft);
        }
    }

    fn is_running(&self, cx: &Cx<'_>, revision: &str, class: &str) -> bool {
        objects::trials(cx).any(|pod| {
            let site = cx.fleet.site(&pod.node);
            pod.role == Role::Evaluation
                && pod.revision == revision
                && site.is_some_and(|site| is_of(class, cx.fleet.node_class(site)))
        })
    }

    /// Only for a rollout that is persisted: status names it before any pod of it exists.
    fn create(&self, cx: &Cx<'_>, revision: &str, site: &Site<'_>, draft: &mut Draft) {
        let persisted = cx.persisted.rollout.as_ref();
        let Some(object) = cx
            .revision(revision)
            .filter(|_| persisted.is_some_and(|one| one.id == self.rollout.id))
        else {
            return;
        };
        let on = Evaluation {
            dataset: self.gate.dataset,
            rollout: &self.rollout.id,
            node: &site.node.name,
            node_uid: &site.node.uid,
            ready_seconds: cx.spec().rollout.candidate_ready_seconds,
        };
        let pod = render::evaluation(
            &cx.owner,
            &object.revision,
            &cx.spec().placement,
            &cx.world.defaults,
            on,
        );
        draft.act(Action::CreatePod(Box::new(pod)));
    }
}

/// The API server refused an evaluation on one of these nodes.
fn refusal<'s>(cx: &Cx<'_>, sites: impl Iterator<Item = &'s &'s Site<'s>>) -> Option<Blocked> {
    let mut names = sites.map(|site| &site.node.name);
    names.find_map(|node| {
        let problem = wave::refusal(cx, node)?;
        let nodes = vec![node.clone()];
        Some(wave::blocked(&problem.reason, &problem.message, nodes))
    })
}

/// `amd64` stands for every class that begins with it.
fn is_of(class: &str, reported: &str) -> bool {
    reported == class
        || reported
            .strip_prefix(class)
            .is_some_and(|rest| rest.starts_with('-'))
}

/// Exit code and termination message of the evaluation itself.
fn last_word(pod: &PodView) -> Option<(i32, String)> {
    let router = pod
        .containers
        .iter()
        .find(|one| one.name == container::ROUTER)?;
    let end = router.terminated.as_ref().filter(|_| !router.running)?;
    Some((end.exit_code, end.message.clone()))
}

/// What is wrong with an evaluation: its last word, else what the pod shows.
fn problem_of(cx: &Cx<'_>, pod: &PodView) -> Option<Problem> {
    if pod.role != Role::Evaluation || pod.deleting {
        return None;
    }
    match last_word(pod) {
        Some((0, _)) => Some(Problem::new(
            Blame::Revision,
            reason::EVALUATION_FAILED,
            "the evaluation left no result",
        )),
        Some((_, message)) => match problem::typed(&message) {
            Some((reason, message)) => Some(problem::of_engine(&reason, &message)),
            None => problem::diagnose(pod, cx.fleet.router(pod)),
        },
        None => problem::diagnose(pod, cx.fleet.router(pod)),
    }
}

/// One bit an example, most significant first; `None` when the text does not hold that many.
fn bits(right: &str, examples: u32) -> Option<Vec<bool>> {
    let ByteString(bytes) =
        serde_json::from_value(serde_json::Value::String(right.to_owned())).ok()?;
    let examples = examples as usize;
    let fits = examples > 0 && bytes.len() == examples.div_ceil(8);
    fits.then(|| {
        (0..examples)
            .map(|index| bytes[index / 8] >> (7 - index % 8) & 1 == 1)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_one_bit_an_example() {
        let all = bits("qoA=", 9).unwrap();
        assert_eq!(
            all,
            [true, false, true, false, true, false, true, false, true]
        );
        assert_eq!(bits("qoA=", 17), None);
        assert_eq!(bits("", 0), None);
        assert_eq!(bits("!", 1), None);
    }

    #[test]
    fn an_architecture_stands_for_its_classes() {
        assert!(is_of("amd64", "amd64-avx2"));
        assert!(is_of("amd64-avx2", "amd64-avx2"));
        assert!(!is_of("amd64-avx2", "amd64"));
        assert!(!is_of("amd64-avx", "amd64-avx2"));
    }
}
