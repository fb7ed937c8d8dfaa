//! A SmallModel of the local cluster, with an application that loads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Resource;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smallfleet_crds::status::SmallModelStatus;
use smallfleet_e2e::app::App;
use smallfleet_e2e::fleet::{self, Fleet};
use smallfleet_e2e::lab::Lab;
use smallfleet_e2e::manifest::Manifest;
use smallfleet_e2e::pace;

use crate::records::Records;

const INSTALL_LIMIT: Duration = Duration::from_secs(180);
const LOAD_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Namespaces of the tables.
pub mod namespace {
    pub const CLASSIFY: &str = "bench-classify";
    pub const COMMIT: &str = "bench-commit";
    pub const EQUAL: &str = "bench-equal";
    pub const EVIDENCE: &str = "bench-evidence";
    pub const REST: &str = "bench-rest";
    pub const ROLLBACKS: &str = "bench-rollbacks";
    pub(super) const ALL: [&str; 6] = [CLASSIFY, COMMIT, EQUAL, EVIDENCE, REST, ROLLBACKS];
}

/// The cluster with the images of this checkout pushed and the chart installed, and without what a table that failed has left.
///
/// # Errors
/// When no cluster is up, or a part is not built.
pub fn lab() -> Result<Arc<Lab>> {
    let mut lab = Lab::open()?;
    println!("pushing images and installing the chart");
    namespace::ALL
        .into_iter()
        .try_for_each(|name| lab.delete_namespace(name))?;
    lab.push_images()?;
    lab.shell.run(&lab.helm_install())?;
    Ok(Arc::new(lab))
}

/// One SmallModel.
#[derive(Clone, Debug)]
pub struct Site {
    pub lab: Arc<Lab>,
    pub fleet: Fleet,
    pub model: String,
    /// The only node that serves it; none: every node does.
    pub node: Option<String>,
    /// Seconds that the only step takes at least.
    pub step_seconds: u32,
}

/// An application's rate of requests, from each node that it runs on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Requests a second, on average.
    pub mean: f64,
    /// Share by which it swings up and down, as a sine; 0 is constant.
    pub swing: f64,
    /// Seconds of one swing.
    pub swing_seconds: f64,
}

impl Rate {
    pub fn constant(mean: f64) -> Self {
        Self {
            mean,
            swing: 0.0,
            swing_seconds: 20.0,
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self.swing > 0.0 {
            true => format!(
                "{} requests/s, swinging by {:.0} % either way every {} s",
                self.mean,
                self.swing * 100.0,
                self.swing_seconds
            ),
            false => format!("{} requests/s", self.mean),
        }
    }
}

impl Site {
    pub fn new(lab: Arc<Lab>, fleet: Fleet, model: &str, node: Option<&str>) -> Self {
        Self {
            lab,
            fleet,
            model: model.to_owned(),
            node: node.map(str::to_owned),
            step_seconds: 1,
        }
    }

    /// One SmallModel on each node that serves `good`, which are as many rollouts as there can be at once: a node holds one
    /// candidate.
    ///
    /// # Errors
    /// When the namespace cannot be made, or a model does not become ready.
    pub async fn one_on_each_node(
        lab: &Arc<Lab>,
        namespace: &str,
        step_seconds: u32,
    ) -> Result<Vec<Self>> {
        let fleet = lab.namespace(namespace).await?;
        let nodes = lab.machines()?;
        let mut sites = Vec::new();
        for (index, node) in nodes.nodes().into_iter().enumerate() {
            let model = format!("intent-{}", index + 1);
            let site = Self {
                step_seconds,
                ..Self::new(Arc::clone(lab), fleet.clone(), &model, Some(&node.name()))
            };
            site.install("good").await?;
            sites.push(site);
        }
        Ok(sites)
    }

    /// Requests a second to ask each of these models: as said, else such that all together take this share of the machine's cores.
    ///
    /// # Errors
    /// When the first model does not answer.
    pub async fn rate(sites: &[Self], said: Option<f64>, busy: f64) -> Result<f64> {
        if let Some(said) = said {
            return Ok(said);
        }
        let first = sites.first().context("no model")?;
        let rate =
            pace::bearable(busy, &first.fleet, &first.model, sites.len(), sites.len()).await?;
        let rate = rate.round().max(1.0);
        println!("the machine bears {rate} requests/s of each model");
        Ok(rate)
    }

    /// The manifest; `run` makes another revision of the same model, by an environment value that nothing reads.
    fn yaml(&self, reference: &str, run: usize) -> String {
        let run = run.to_string();
        let manifest = Manifest {
            name: &self.model,
            namespace: &self.fleet.namespace,
            image: reference,
            steps: &[("100%", self.step_seconds)],
            env: &[("RUN", &run)],
            node: self.node.as_deref(),
            ..Manifest::default()
        };
        manifest.yaml()
    }

    /// Asks for a revision: one of the demo's models.
    pub async fn apply(&self, image: &str, run: usize) -> Result<()> {
        let reference = self.lab.image(image).to_owned();
        self.apply_reference(&reference, run).await
    }

    /// Asks for a revision, by the model image's reference.
    pub async fn apply_reference(&self, reference: &str, run: usize) -> Result<()> {
        let yaml = self.yaml(reference, run);
        self.shell("kubectl apply -f -".to_owned(), yaml)
            .await
            .map(drop)
    }

    /// Runs kubectl or its plugin in the namespace.
    pub async fn kubectl(&self, arguments: &str) -> Result<String> {
        let line = format!("kubectl {arguments} -n {}", self.fleet.namespace);
        self.shell(line, String::new()).await
    }

    /// Commands wait for processes, so they run off the tasks' threads.
    async fn shell(&self, line: String, input: String) -> Result<String> {
        let shell = self.lab.shell.clone();
        tokio::task::spawn_blocking(move || shell.run_with_input(&line, &input)).await?
    }

    /// Installs the first revision and waits until it serves.
    pub async fn install(&self, image: &str) -> Result<()> {
        self.apply(image, 0).await?;
        self.wait("ready", INSTALL_LIMIT, fleet::ready).await?;
        println!("{} serves {image}", self.model);
        Ok(())
    }

    /// Waits until the status is as wanted.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&SmallModelStatus) -> bool,
    ) -> Result<SmallModelStatus> {
        let start = Instant::now();
        loop {
            // A busy API server may refuse a look: the next one tells.
            let status = self.fleet.status(&self.model).await.unwrap_or_default();
            if wanted(&status) {
                return Ok(status);
            }
            if start.elapsed() > limit {
                let line = fleet::one_line(&status);
                bail!("{}: not {what} within {limit:?}: {line}", self.model);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the application where the model is, and waits until it sends.
    pub async fn start_load(&self, rate: Rate) -> Result<Records> {
        let app = App {
            model: self.model.clone(),
            fleet: self.fleet.clone(),
            image: self.lab.image("load").to_owned(),
            requests: self.lab.image("requests").to_owned(),
            address: None,
            rate: rate.mean,
            chat_tokens: None,
        };
        let manifest = self.load_manifest(&app, rate)?;
        self.shell("kubectl apply -f -".to_owned(), manifest.to_string())
            .await?;
        let pods = if self.node.is_some() {
            1
        } else {
            self.lab.machines()?.nodes().len()
        };
        let limit = Instant::now() + LOAD_LIMIT;
        loop {
            let addresses = self.load_addresses().await?;
            if addresses.len() == pods {
                return Ok(Records::new(addresses));
            }
            ensure!(
                Instant::now() < limit,
                "the load pods of {} do not start",
                self.model
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The demo's manifest, with the node and the swing.
    fn load_manifest(&self, app: &App, rate: Rate) -> Result<Value> {
        let mut manifest = app.manifest();
        let pod = &mut manifest["spec"]["template"]["spec"];
        if let Some(node) = &self.node {
            pod["nodeSelector"] = json!({HOSTNAME: node});
        }
        let env = pod["containers"][0]["env"].as_array_mut();
        env.context("a load container has an environment")?.extend([
            json!({"name": "LOAD_SWING", "value": rate.swing.to_string()}),
            json!({"name": "LOAD_SWING_SECONDS", "value": rate.swing_seconds.to_string()}),
        ]);
        Ok(manifest)
    }

    /// Addresses of the load pods that are ready.
    async fn load_addresses(&self) -> Result<Vec<String>> {
        let selector = format!("app={}-app", self.model);
        let pods = self
            .fleet
            .pods()
            .list(&ListParams::default().labels(&selector))
            .await?;
        let ready = pods
            .items
            .into_iter()
            .filter(|pod| pod.meta().deletion_timestamp.is_none() && fleet::is_ready(pod));
        Ok(ready.filter_map(|pod| pod.status?.pod_ip).collect())
    }
}
