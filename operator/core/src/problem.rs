//! What is wrong with a pod, and whose fault that is (`rollout.md` 5).

use smallfleet_crds::names::container;
use smallfleet_crds::reason;

use crate::constants::{TEXT_MAX, UNSCHEDULABLE_PATIENCE};
use crate::world::{ContainerView, EngineState, PodPhase, PodView, RouterView, Terminated};

/// Whose fault it is, as far as the pod alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Registry, room, node: another node, or wait.
    Environment,
    /// What spec names is not there or is no model of this task.
    Spec,
    /// The revision's, unless stable fails on the same node too.
    Revision,
}

/// Something is wrong, or was while the pod has been running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub blame: Blame,
    /// CamelCase.
    pub reason: String,
    pub message: String,
    /// How often so far; more than one for crashes only.
    pub times: u32,
}

impl Problem {
    pub fn new(blame: Blame, reason: &str, message: &str) -> Self {
        Self {
            blame,
            reason: reason.to_owned(),
            message: message.chars().take(TEXT_MAX).collect(),
            times: 1,
        }
    }
}

/// Reads pod and session. A pod that is being deleted has no problem of its own.
pub(crate) fn diagnose(pod: &PodView, router: Option<&RouterView>) -> Option<Problem> {
    if pod.deleting {
        return None;
    }
    of_environment(pod)
        .or_else(|| pod.containers.iter().find_map(of_waiting))
        .or_else(|| crashes(pod))
        .or_else(|| router.and_then(of_session))
        .or_else(|| ended(pod))
}

fn of_environment(pod: &PodView) -> Option<Problem> {
    let environment =
        |reason: &str, message: &str| Problem::new(Blame::Environment, reason, message);
    if let Some(reason) = &pod.disruption {
        let message = format!("the pod was taken away: {reason}");
        return Some(environment(reason::DISRUPTED, &message));
    }
    let message = pod.unschedulable.as_deref()?;
    (pod.age >= UNSCHEDULABLE_PATIENCE).then(|| environment(reason::UNSCHEDULABLE, message))
}

/// What the kubelet waits for before a container starts.
fn of_waiting(container: &ContainerView) -> Option<Problem> {
    let (reason, message) = container.waiting.as_ref()?;
    match reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" if is_not_there(message) => {
            Some(Problem::new(Blame::Spec, reason::IMAGE_NOT_FOUND, message))
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(Problem::new(
            Blame::Environment,
            reason::IMAGE_PULL,
            message,
        )),
        "InvalidImageName" => Some(Problem::new(
            Blame::Spec,
            reason::INVALID_IMAGE_NAME,
            message,
        )),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(
            Problem::new(Blame::Environment, reason::CONTAINER_NOT_CREATED, message),
        ),
        _ => None,
    }
}

/// The registry answered, and it has no such digest. Names that do not resolve say "no such host".
fn is_not_there(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("manifest unknown") || message.contains("not found")
}

/// Ends of containers that should run, the worst first: the engine's, then the router's.
fn crashes(pod: &PodView) -> Option<Problem> {
    [container::ENGINE, container::ROUTER]
        .iter()
        .find_map(|name| {
            let container = pod.containers.iter().find(|one| one.name == *name)?;
            crash(container)
        })
}

fn crash(container: &ContainerView) -> Option<Problem> {
    let down = u32::from(!container.running);
    let end = container.terminated.as_ref()?;
    let mut problem = of_end(container, end);
    problem.times = container.restarts.saturating_add(down).max(1);
    Some(problem)
}

fn of_end(container: &ContainerView, end: &Terminated) -> Problem {
    if end.reason == "OOMKilled" {
        let message = match container.name.as_str() {
            container::ROUTER => {
                "the router was killed at its memory limit, which no field sets: report it as a bug"
            }
            _ => {
                "the engine was killed at its memory limit: raise spec.runtime.resources.requests.memory"
            }
        };
        return Problem::new(Blame::Revision, reason::OUT_OF_MEMORY, message);
    }
    match typed(&end.message) {
        Some((reason, message)) => of_engine(&reason, &message),
        None => {
            let message = format!(
                "the {} ended with code {}: {}",
                container.name, end.exit_code, end.message
            );
            Problem::new(
                Blame::Revision,
                reason::EXITED,
                message.trim_end_matches([':', ' ']),
            )
        }
    }
}

/// `{"reason","message"}` as engine and evaluation write it.
pub(crate) fn typed(message: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(message).ok()?;
    let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
    Some((text("reason")?, text("message").unwrap_or_default()))
}

/// An engine's typed failure.
pub(crate) fn of_engine(reason: &str, message: &str) -> Problem {
    let blame = match reason {
        reason::NO_MODEL
        | reason::INVALID_MODEL
        | reason::WRONG_TASK
        | reason::NO_DATASET
        | reason::LABELS_DO_NOT_MATCH => Blame::Spec,
        _ => Blame::Revision,
    };
    Problem::new(blame, reason, message)
}

fn of_session(router: &RouterView) -> Option<Problem> {
    match (&router.engine, &router.failure) {
        (_, Some((reason, message))) => Some(of_engine(reason, message)),
        (EngineState::Unresponsive, None) => Some(Problem::new(
            Blame::Revision,
            reason::UNRESPONSIVE,
            "the engine was ready and does not answer any more",
        )),
        (EngineState::Starting | EngineState::Ready | EngineState::Failed, None) => None,
    }
}

/// A pod that ended as a whole without anything that says why: rejected by the kubelet, lost with its node.
fn ended(pod: &PodView) -> Option<Problem> {
    (pod.phase == PodPhase::Failed).then(|| {
        Problem::new(
            Blame::Environment,
            reason::POD_FAILED,
            "the pod ended before its containers did",
        )
    })
}
