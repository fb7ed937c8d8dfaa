//! What Smallfleet stands on fails: the API server, etcd, the registry. Nothing that serves needs any of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use smallfleet_cluster::Component;
use smallfleet_e2e::app::now_milliseconds;
use smallfleet_e2e::fleet::{is_blocked, is_ready, node_of};

use crate::common::{NODES, until};
use crate::path::{Broken, Outage};
use crate::trial::{SOON, Trial};

/// For how long each is down.
const API_SERVER_DOWN: Duration = Duration::from_secs(5);
const ETCD_DOWN: Duration = Duration::from_secs(30);
/// Between two looks at the endpoints, and until kube-proxy has followed.
const LOOKS_MILLISECONDS: u64 = 1_000;

#[tokio::test]
async fn an_api_server_and_an_etcd_that_fail_in_a_canary_do_not_change_its_verdict() -> Result<()> {
    let mut trial = Trial::start("faults-control-plane", &[("100%", 30)]).await?;
    let rollout = trial.canary("better").await?;
    trial
        .without(Component::ApiServer, trial.served_for(API_SERVER_DOWN))
        .await?;
    watch_endpoints(&mut trial).await?;
    trial
        .without(Component::Etcd, trial.served_for(ETCD_DOWN))
        .await?;
    watch_endpoints(&mut trial).await?;
    trial.promoted(&rollout).await?;
    trial.end().await
}

/// After an outage the nodes' heartbeats are overdue, so that Kubernetes may take all of them for dead for a moment and leave every
/// pod out of the Service. Whether it does is seen here, until every node was heard again.
async fn watch_endpoints(trial: &mut Trial) -> Result<()> {
    let back = now_milliseconds();
    let mut missing: Vec<u64> = Vec::new();
    until(
        "every node's heartbeat and every pod in the Service",
        SOON,
        async || {
            let ready = ready_endpoints(trial).await?;
            if ready == 0 {
                missing.push(now_milliseconds());
            }
            Ok(ready == NODES && heard_since(trial, back).await? == NODES)
        },
    )
    .await?;
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        println!("    the Service named no Ready pod for {} ms", last - first);
        trial.note(Outage {
            broken: Broken::Endpoints,
            node: String::new(),
            since: first - LOOKS_MILLISECONDS,
            until: last + LOOKS_MILLISECONDS,
        });
    }
    Ok(())
}

async fn ready_endpoints(trial: &Trial) -> Result<usize> {
    let fleet = &trial.world.fleet;
    let api: Api<EndpointSlice> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let ours = format!("kubernetes.io/service-name={}", trial.world.model);
    let slices = api.list(&ListParams::default().labels(&ours)).await?;
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_some_and(|conditions| conditions.ready == Some(true))
    });
    Ok(ready.count())
}

/// Nodes whose kubelet renewed its Lease since then.
async fn heard_since(trial: &Trial, since: u64) -> Result<usize> {
    let api: Api<Lease> = Api::namespaced(trial.world.fleet.client.clone(), "kube-node-lease");
    let leases = api.list(&ListParams::default()).await?;
    let renewed = leases.iter().filter(|lease| {
        let spec = lease.spec.as_ref();
        let at = spec.and_then(|spec| spec.renew_time.as_ref());
        at.is_some_and(|at| u64::try_from(at.0.as_millisecond()).unwrap_or(0) > since)
    });
    Ok(renewed.count())
}

/// A stable pod comes back from the image on its node; a canary of an image that no node has waits, says so, and goes on by itself.
#[tokio::test]
async fn a_registry_that_is_down_stops_no_stable_pod_and_only_delays_a_canary() -> Result<()> {
    let trial = Trial::start("faults-registry", &[("1", 600)]).await?;
    let unseen = trial.world.lab.push_unseen("better")?;
    let seen = async {
        a_deleted_pod_comes_back(&trial).await?;
        let known = trial.world.lab.image("better");
        let yaml = trial.world.yaml("better", &[]).replace(known, &unseen);
        trial.world.apply_yaml(&yaml)?;
        trial
            .world
            .wait("blocked by the registry", |status| {
                is_blocked(status, "ImagePull")
            })
            .await
    };
    let blocked = trial.without(Component::Registry, seen).await?;
    let blocked = blocked.rollout.context("a blocked rollout")?;
    let now = trial
        .world
        .wait_counting()
        .await?
        .rollout
        .context("a rollout")?;
    ensure!(
        now.id == blocked.id && now.blocked.is_none(),
        "another rollout, or blocked still: {now:?}"
    );
    trial.world.kubectl("smallfleet promote intent --full")?;
    trial.promoted(&now).await?;
    trial.end().await
}

async fn a_deleted_pod_comes_back(trial: &Trial) -> Result<()> {
    let pods = trial.stable_pods().await?;
    let old = pods.first().context("a stable pod")?;
    trial
        .world
        .kubectl(&format!("delete pod {}", old.name_any()))?;
    let since = now_milliseconds();
    until("another stable pod on the node", SOON, async || {
        let pods = trial.stable_pods().await?;
        let new = |pod: &&_| node_of(pod) == node_of(old) && ResourceExt::uid(*pod) != old.uid();
        Ok(pods.iter().filter(new).any(is_ready))
    })
    .await?;
    until("answers of the new pod", SOON, async || {
        let records = trial.asked_on(node_of(old), since).await?;
        Ok(records
            .iter()
            .any(|record| record.good() && record.node == node_of(old)))
    })
    .await
}
