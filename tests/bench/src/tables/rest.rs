//! The operator when nothing changes: what it writes, and what it and the pods cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};
use smallfleet_crds::names::{container, role};
use smallfleet_e2e::lab::SYSTEM;

use crate::apiserver::{Counting, LEASES, READS, WRITES};
use crate::results::Table;
use crate::site::{self, Rate, Site};
use crate::usage::{Memory, PodProcess};

const NAMESPACE: &str = site::namespace::REST;
/// For the last writes of the installation to be over.
const SETTLE: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Minutes that are watched
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Requests a second on each node meanwhile
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    pub minutes: u64,
    /// Requests a second on each node meanwhile.
    pub rate: f64,
    /// Writes of the operator but those of its Lease.
    pub writes: u64,
    pub lease_writes: u64,
    pub reads: u64,
    /// Writes of everybody in the cluster, by `VERB resource`.
    pub all_writes: BTreeMap<String, u64>,
    /// Thousandths of a core.
    pub operator_millicores: f64,
    pub operator_memory: Memory,
    pub pods: Vec<PodMemory>,
}

impl Table for Data {
    const NAME: &'static str = "rest";
}

/// Memory of one stable pod's containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodMemory {
    pub node: String,
    pub router: Memory,
    pub engine: Memory,
}

/// Measures.
///
/// # Errors
/// When the cluster is not up, or the operator's requests cannot be told from others.
pub async fn run(arguments: Arguments) -> Result<Data> {
    let lab = site::lab()?;
    let fleet = lab.namespace(NAMESPACE).await?;
    let site = Site::new(Arc::clone(&lab), fleet, "intent", None);
    site.install("good").await?;
    site.start_load(Rate::constant(arguments.rate)).await?;
    let data = watch(&site, &arguments).await;
    lab.delete_namespace(NAMESPACE)?;
    data
}

async fn watch(site: &Site, arguments: &Arguments) -> Result<Data> {
    let counting = Counting::start(&site.lab.shell)?;
    println!("settling for {} s", SETTLE.as_secs());
    tokio::time::sleep(SETTLE).await;
    let operator = operator(site).await?;
    let (before, cpu, start) = (counting.read()?, operator.cpu_time()?, Instant::now());
    for minute in 0..arguments.minutes {
        println!("at rest for {minute} of {} minutes", arguments.minutes);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let since = counting.read()?.since(&before);
    let cpu = operator.cpu_time()?.saturating_sub(cpu);
    ensure!(
        since.of(LEASES) > 0,
        "the operator's Lease was not counted, so neither was anything else"
    );
    Ok(Data {
        minutes: arguments.minutes,
        rate: arguments.rate,
        writes: since.of(WRITES),
        lease_writes: since.of(LEASES),
        reads: since.of(READS),
        all_writes: since.by_kind,
        operator_millicores: 1000.0 * cpu.as_secs_f64() / start.elapsed().as_secs_f64(),
        operator_memory: operator.memory()?,
        pods: pods(site).await?,
    })
}

/// The operator's process; it has to be one.
async fn operator(site: &Site) -> Result<PodProcess> {
    let pods: Api<Pod> = Api::namespaced(site.fleet.client.clone(), SYSTEM);
    let pods = pods.list(&ListParams::default()).await?.items;
    ensure!(
        pods.len() == 1,
        "{} pods in {SYSTEM}, not one operator",
        pods.len()
    );
    PodProcess::find(&uid(&pods[0])?, "smallfleet-operator")
}

async fn pods(site: &Site) -> Result<Vec<PodMemory>> {
    let mut all = Vec::new();
    for pod in site.fleet.pods_of(&site.model, role::STABLE).await? {
        let uid = uid(&pod)?;
        let of = |container: &str| {
            PodProcess::find(&uid, &format!("smallfleet-runtime {container}"))?.memory()
        };
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        all.push(PodMemory {
            node,
            router: of(container::ROUTER)?,
            engine: of(container::ENGINE)?,
        });
    }
    Ok(all)
}

fn uid(pod: &Pod) -> Result<String> {
    pod.uid().context("a pod has a uid")
}
