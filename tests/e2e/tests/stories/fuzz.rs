//! Manifests that nobody should write, against the real API server and a running operator.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use serde_json::json;
use smallfleet_crds::SmallModel;
use smallfleet_e2e::fleet;
use smallfleet_e2e::lab::SYSTEM;
use smallfleet_fake::mutate::{full_spec, mutate};

use crate::common::World;

/// Manifests in every test run; more with `FUZZ_CASES`.
const MANIFESTS: u64 = 60;
/// Within this time the operator has said something of every object that the API server let through.
const TOLD: Duration = Duration::from_secs(60);
/// Reconciles a second that one object may cost that cannot be served.
const RECONCILES_A_SECOND: f64 = 1.0;
const WATCHED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn any_manifest_is_refused_or_told_and_the_good_one_goes_on() -> Result<()> {
    let world = World::new("e2e-fuzz").await?;
    world.install("good").await?;
    let restarts = restarts(&world).await?;
    let asked = std::env::var("FUZZ_CASES").ok();
    let manifests = asked.map_or(Ok(MANIFESTS), |cases| cases.parse())?;
    let accepted = create_all(&world, manifests).await?;
    println!("{} of {manifests} manifests were accepted", accepted.len());
    ensure!(!accepted.is_empty(), "none was accepted: nothing is tried");
    wait_told(&world, &accepted).await?;
    let (start, before) = (Instant::now(), reconciles(&world)?);
    tokio::time::sleep(WATCHED).await;
    let rate = (reconciles(&world)? - before) / start.elapsed().as_secs_f64();
    println!(
        "{rate:.1} reconciles a second for {} models",
        accepted.len() + 1
    );
    #[allow(clippy::cast_precision_loss)]
    let limit = RECONCILES_A_SECOND * (accepted.len() + 1) as f64;
    ensure!(
        rate <= limit,
        "{rate} reconciles a second: more than {limit}"
    );
    ensure!(
        self::restarts(&world).await? == restarts,
        "the operator was restarted by a manifest"
    );
    ensure!(
        fleet::ready(&world.fleet.status(&world.model).await?),
        "the good model is not ready any more"
    );
    Ok(())
}

/// Names of the manifests that the API server let through; each refusal says which field is wrong.
async fn create_all(world: &World, manifests: u64) -> Result<BTreeSet<String>> {
    let resource = ApiResource::erase::<SmallModel>(&());
    let namespace = &world.fleet.namespace;
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.fleet.client.clone(), namespace, &resource);
    let strict = PostParams::default();
    let mut accepted = BTreeSet::new();
    for number in 0..manifests {
        let mut spec = full_spec();
        // Where one is accepted that could run, it runs nowhere.
        spec["placement"]["nodeSelector"] = json!({"kubernetes.io/hostname": "nowhere"});
        let what = mutate(&mut spec, number);
        let name = format!("fuzz-{number}");
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "smallfleet.dev/v1alpha1",
            "kind": "SmallModel",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }))?;
        match api.create(&strict, &object).await {
            Ok(_) => {
                accepted.insert(name);
            }
            Err(kube::Error::Api(refused)) => ensure!(
                (400..500).contains(&refused.code) && refused.message.contains("spec"),
                "{number}: {what}: {refused:?}"
            ),
            Err(other) => bail!("{number}: {what}: {other}"),
        }
    }
    Ok(accepted)
}

/// Every accepted object has a condition that was made for its generation.
async fn wait_told(world: &World, accepted: &BTreeSet<String>) -> Result<()> {
    let limit = Instant::now() + TOLD;
    loop {
        let models = world.fleet.models().list(&ListParams::default()).await?;
        let untold: Vec<String> = models
            .iter()
            .filter(|model| accepted.contains(&model.name_any()))
            .filter(|model| {
                let status = model.status.clone().unwrap_or_default();
                status.conditions.is_empty()
                    || status.observed_generation != model.metadata.generation
            })
            .map(ResourceExt::name_any)
            .collect();
        if untold.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "the operator says nothing of {untold:?}"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Reconciles since the operator started, from its metrics.
fn reconciles(world: &World) -> Result<f64> {
    let pods = world.lab.shell.run(&format!(
        "kubectl get pods -n {SYSTEM} -o jsonpath={{.items[0].status.podIP}}"
    ))?;
    let text = world.lab.shell.run(&format!(
        "curl -sS -m 10 http://{}:8080/metrics",
        pods.trim()
    ))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("smallfleet_reconcile_seconds_count "));
    let count = line.context("no smallfleet_reconcile_seconds_count in the operator's metrics")?;
    Ok(count.trim().parse()?)
}

async fn restarts(world: &World) -> Result<i32> {
    let api: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(world.fleet.client.clone(), SYSTEM);
    let pods = api.list(&ListParams::default()).await?;
    let containers = pods.iter().filter_map(|pod| pod.status.as_ref());
    let containers = containers.flat_map(|status| status.container_statuses.iter().flatten());
    Ok(containers.map(|container| container.restart_count).sum())
}
