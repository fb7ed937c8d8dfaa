//! From `kubectl apply` of a new SmallModel to serving on every node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use smallfleet_crds::names::role;
use smallfleet_e2e::fleet;

use crate::ask;
use crate::results::Table;
use crate::site::{self, Site};

const NAMESPACE: &str = site::namespace::COMMIT;
const LIMIT: Duration = Duration::from_secs(180);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Installations whose images the nodes have already
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    pub nodes: usize,
    pub runs: Vec<Run>,
}

impl Table for Data {
    const NAME: &'static str = "commit";
}

/// One installation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The nodes had to pull the model's image.
    pub is_pulled: bool,
    /// Until a pod on every node had answered a request.
    pub serving_seconds: f64,
    /// Until status said Ready with every node.
    pub ready_seconds: f64,
}

/// Measures.
///
/// # Errors
/// When the cluster is not up or a model does not become ready.
pub async fn run(arguments: Arguments) -> Result<Data> {
    let lab = site::lab()?;
    let fleet = lab.namespace(NAMESPACE).await?;
    let nodes = lab.machines()?.nodes().len();
    let unseen = lab.push_unseen("good")?;
    // The runtime's image comes first, so that the run with a pull pulls the model alone.
    let first = Site::new(Arc::clone(&lab), fleet.clone(), "warm-up", None);
    first.install("good").await?;
    remove(&first).await?;
    let mut runs = Vec::new();
    for number in 0..=arguments.runs {
        let is_pulled = number == 0;
        let image = if is_pulled {
            &unseen
        } else {
            lab.image("good")
        };
        let site = Site::new(
            Arc::clone(&lab),
            fleet.clone(),
            &format!("commit-{number}"),
            None,
        );
        let run = one_run(&site, image, nodes, is_pulled).await?;
        println!("{}: {run:?}", site.model);
        runs.push(run);
        remove(&site).await?;
    }
    lab.delete_namespace(NAMESPACE)?;
    Ok(Data { nodes, runs })
}

async fn one_run(site: &Site, image: &str, nodes: usize, is_pulled: bool) -> Result<Run> {
    let body = Bytes::from_static(br#"{"text": "the minister announced a new budget"}"#);
    let start = Instant::now();
    site.apply_reference(image, 0).await?;
    let ready = async {
        site.wait("ready", LIMIT, |status| {
            fleet::ready(status) && status.nodes.ready as usize == nodes
        })
        .await?;
        anyhow::Ok(start.elapsed())
    };
    let serving = async {
        while answering(site, &body).await? < nodes {
            ensure!(start.elapsed() < LIMIT, "{} does not serve", site.model);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(start.elapsed())
    };
    let (ready, serving) = tokio::try_join!(ready, serving)?;
    Ok(Run {
        is_pulled,
        serving_seconds: serving.as_secs_f64(),
        ready_seconds: ready.as_secs_f64(),
    })
}

/// Stable pods that answer a request now.
async fn answering(site: &Site, body: &Bytes) -> Result<usize> {
    let mut answering = 0;
    for address in site.fleet.stable_addresses(&site.model).await? {
        answering += usize::from(ask::classifies(address, body).await);
    }
    Ok(answering)
}

/// Deletes the model and waits until its pods are gone, so that the next one has the nodes to itself.
async fn remove(site: &Site) -> Result<()> {
    site.kubectl(&format!("delete smallmodel {} --timeout=60s", site.model))
        .await?;
    let limit = Instant::now() + LIMIT;
    while !site
        .fleet
        .pods_of(&site.model, role::STABLE)
        .await?
        .is_empty()
    {
        ensure!(Instant::now() < limit, "pods of {} are left", site.model);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
