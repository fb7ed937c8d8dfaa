//! A namespace with SmallModels, and what one waits for there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use smallfleet_crds::SmallModel;
use smallfleet_crds::names;
use smallfleet_crds::status::{RolloutState, SmallModelStatus};

/// One namespace of the cluster.
#[derive(Clone)]
pub struct Fleet {
    pub client: Client,
    pub namespace: String,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Fleet({})", self.namespace)
    }
}

impl Fleet {
    #[must_use]
    pub fn models(&self) -> Api<SmallModel> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    #[must_use]
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Status of a model; the empty one before its first.
    ///
    /// # Errors
    /// When the API server does not answer or there is no such model.
    pub async fn status(&self, model: &str) -> Result<SmallModelStatus> {
        Ok(self.models().get(model).await?.status.unwrap_or_default())
    }

    /// Waits until the status is as wanted.
    ///
    /// # Errors
    /// When it is not within `limit`; the error shows the last status.
    pub async fn wait(
        &self,
        model: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&SmallModelStatus) -> bool,
    ) -> Result<SmallModelStatus> {
        let start = Instant::now();
        let mut shown = Instant::now();
        loop {
            let status = self.status(model).await.unwrap_or_default();
            if wanted(&status) {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!(
                    "{model}: not {what} within {limit:?}; its status is\n{}",
                    serde_json::to_string_pretty(&status)?
                );
            }
            if shown.elapsed() > Duration::from_secs(5) {
                shown = Instant::now();
                println!(
                    "    ... {:3} s: {}",
                    start.elapsed().as_secs(),
                    one_line(&status)
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Pods of a model in one role (`names::role`).
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn pods_of(&self, model: &str, role: &str) -> Result<Vec<Pod>> {
        let selector = format!(
            "{}={model},{}={role}",
            names::LABEL_MODEL,
            names::LABEL_ROLE
        );
        Ok(self
            .pods()
            .list(&ListParams::default().labels(&selector))
            .await?
            .items)
    }

    /// Where the routers of a model's stable pods listen; pods without an address yet are left out.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn stable_addresses(&self, model: &str) -> Result<Vec<SocketAddr>> {
        let pods = self.pods_of(model, names::role::STABLE).await?;
        let addresses = pods.into_iter().filter_map(|pod| pod.status?.pod_ip);
        addresses
            .map(|address| Ok(SocketAddr::new(address.parse()?, names::port::FRONT)))
            .collect()
    }
}

/// Everything that matters of a status, on one line.
#[must_use]
pub fn one_line(status: &SmallModelStatus) -> String {
    let display = &status.display;
    let mut line = format!("{} ready {}", status.phase, display.ready);
    if let Some(rollout) = &status.rollout {
        line += &format!(
            " | rollout {} {:?} step {}",
            rollout.id, rollout.state, display.step
        );
        if let Some(paused) = &rollout.paused {
            line += &format!(" paused {:?}", paused.reason);
        }
        if let Some(blocked) = &rollout.blocked {
            line += &format!(" blocked {}: {}", blocked.reason, blocked.message);
        }
    }
    for objective in status
        .analysis
        .iter()
        .flat_map(|analysis| &analysis.objectives)
    {
        line += &format!(
            " | {} {}+{} units, harm {}/{}, pass {}",
            objective.name,
            objective.units.stable,
            objective.units.candidate,
            objective.log_e,
            objective.threshold,
            objective.log_p
        );
    }
    line
}

/// Serving on all nodes what spec asks for, with nothing under way.
#[must_use]
pub fn ready(status: &SmallModelStatus) -> bool {
    condition(status, names::condition::READY) && status.rollout.is_none()
}

/// A condition is True.
#[must_use]
pub fn condition(status: &SmallModelStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// State of the rollout, if there is one.
#[must_use]
pub fn state(status: &SmallModelStatus) -> Option<RolloutState> {
    status.rollout.as_ref().map(|rollout| rollout.state)
}

/// The rollout waits for its environment, for this reason.
#[must_use]
pub fn is_blocked(status: &SmallModelStatus, reason: &str) -> bool {
    let rollout = status.rollout.as_ref();
    let blocked = rollout.and_then(|rollout| rollout.blocked.as_ref());
    blocked.is_some_and(|blocked| blocked.reason == reason)
}

/// The pod is Ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// Name of the node that a pod is bound to; empty before.
#[must_use]
pub fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Names of pods, for messages.
#[must_use]
pub fn pod_names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}
