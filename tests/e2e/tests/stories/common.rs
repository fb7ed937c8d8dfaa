//! What the stories share: the lab, a namespace each, and a model under load.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use smallfleet_crds::status::{Refused, RolloutState, SmallModelStatus};
use smallfleet_e2e::app::App;
use smallfleet_e2e::audit;
use smallfleet_e2e::fleet::{self, Fleet};
use smallfleet_e2e::lab::Lab;
use smallfleet_e2e::manifest::Manifest;
use smallfleet_e2e::pace;

pub const NODES: usize = 3;
/// A whole short rollout, with room for a slow and busy machine.
pub const ROLLOUT: Duration = Duration::from_secs(600);
/// Share of the machine's cores that requests may take. Pods that start take the rest for seconds, and no request may fail of it.
const BUSY: f64 = 0.1;
/// Requests a second from each node where a story waits for the evidence of a promotion.
pub const PROMOTING_RATE: f64 = 40.0;

/// The cluster with images pushed and the chart installed, once for the whole suite.
pub fn lab() -> Result<&'static Lab> {
    static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
    let made = LAB.get_or_init(|| {
        let make = || {
            let mut lab = Lab::open()?;
            lab.push_images()?;
            lab.shell.run(&lab.helm_install())?;
            anyhow::Ok(lab)
        };
        make().map_err(|error| format!("{error:#}"))
    });
    made.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// One model in a namespace of its own, which goes with it: a story that fails must not hold a candidate's place on a node, nor
/// keep up its load.
pub struct World {
    pub lab: &'static Lab,
    pub fleet: Fleet,
    pub model: String,
    pub dataset: &'static str,
    pub steps: &'static [(&'static str, u32)],
    /// Requests a second from each node; less where the machine does not bear them.
    pub rate: f64,
    /// The only node that serves; all of them where it is `None`.
    pub node: Option<&'static str>,
    /// The model is a text generator, asked for so many tokens.
    pub chat_tokens: Option<u32>,
}

impl World {
    pub async fn new(namespace: &str) -> Result<Self> {
        let lab = lab()?;
        Ok(Self {
            lab,
            fleet: lab.namespace(namespace).await?,
            model: "intent".to_owned(),
            dataset: "",
            steps: &[("1", 5), ("100%", 10)],
            rate: 20.0,
            node: None,
            chat_tokens: None,
        })
    }

    pub fn yaml(&self, image: &str, env: &[(&str, &str)]) -> String {
        let manifest = Manifest {
            name: &self.model,
            namespace: &self.fleet.namespace,
            image: self.lab.image(image),
            dataset: self.dataset,
            steps: self.steps,
            env,
            chat: self.chat_tokens.is_some(),
            memory: if self.chat_tokens.is_some() {
                "1Gi"
            } else {
                "384Mi"
            },
            node: self.node,
        };
        manifest.yaml()
    }

    pub fn apply(&self, image: &str) -> Result<()> {
        self.apply_yaml(&self.yaml(image, &[]))
    }

    pub fn apply_yaml(&self, yaml: &str) -> Result<()> {
        self.lab
            .shell
            .run_with_input("kubectl apply -f -", yaml)
            .map(drop)
    }

    /// The namespace comes last: kubectl takes no flag before the name of a plugin.
    pub fn kubectl(&self, arguments: &str) -> Result<String> {
        self.lab
            .shell
            .run(&format!("kubectl {arguments} -n {}", self.fleet.namespace))
    }

    pub async fn wait(
        &self,
        what: &str,
        wanted: impl Fn(&SmallModelStatus) -> bool,
    ) -> Result<SmallModelStatus> {
        self.fleet.wait(&self.model, what, ROLLOUT, wanted).await
    }

    /// Installs an image and waits until it serves on every node.
    pub async fn install(&self, image: &str) -> Result<SmallModelStatus> {
        self.apply(image)?;
        let status = self.wait("ready", fleet::ready).await?;
        ensure!(
            status.nodes.ready as usize == self.node.map_or(NODES, |_| 1),
            "{} nodes are ready",
            status.nodes.ready
        );
        Ok(status)
    }

    /// The rate, or what the machine bears.
    pub async fn bearable_rate(&self) -> Result<f64> {
        let (fleet, model) = (&self.fleet, &self.model);
        let engines = self.node.map_or(NODES, |_| 1);
        let bearable = match self.chat_tokens {
            None => pace::bearable(BUSY, fleet, model, NODES, engines).await?,
            Some(tokens) => pace::bearable_chats(fleet, model, NODES, tokens).await?,
        };
        if bearable < self.rate {
            println!("{bearable:.2} requests a second from each node: this machine bears no more");
        }
        Ok(self.rate.min(bearable))
    }

    /// Load from every node.
    pub async fn load(&self) -> Result<App> {
        let application = App {
            model: self.model.clone(),
            fleet: self.fleet.clone(),
            image: self.lab.image("load").to_owned(),
            requests: self.lab.image("requests").to_owned(),
            address: None,
            rate: self.bearable_rate().await?,
            chat_tokens: self.chat_tokens,
        };
        application.start(&self.lab.shell, NODES).await?;
        if self.node.is_none() {
            let moment = Duration::from_secs(1);
            application.answered_by_own_node(moment).await?;
        }
        Ok(application)
    }

    /// Waits until the canary's evidence is being counted.
    pub async fn wait_counting(&self) -> Result<SmallModelStatus> {
        self.wait_counted(1).await
    }

    /// Waits until some objective has counted this many of the canary's units.
    pub async fn wait_counted(&self, units: u64) -> Result<SmallModelStatus> {
        self.wait("counting evidence", |status| has_counted(status, units))
            .await
    }

    pub async fn wait_refused(&self) -> Result<Refused> {
        let status = self
            .wait("refused", |status| {
                fleet::state(status) == Some(RolloutState::RolledBack) && !status.refused.is_empty()
            })
            .await?;
        status
            .refused
            .into_iter()
            .next()
            .context("a refused revision")
    }

    pub async fn wait_promoted(&self) -> Result<SmallModelStatus> {
        self.wait("promoted", |status| {
            let outcome = status
                .last_rollout
                .as_ref()
                .map(|rollout| rollout.outcome.as_str());
            fleet::ready(status) && outcome == Some("Promoted")
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Not waited for: it goes while the next story installs its model.
        let line = format!(
            "kubectl delete namespace {} --ignore-not-found --wait=false",
            self.fleet.namespace
        );
        if let Err(error) = self.lab.shell.run(&line) {
            println!("the namespace of a story is left: {error:#}");
        }
    }
}

/// Some objective has counted this many units of the candidate, and the canary goes on.
pub fn has_counted(status: &SmallModelStatus, units: u64) -> bool {
    let analysis = status.analysis.iter();
    let mut objectives = analysis.flat_map(|analysis| &analysis.objectives);
    fleet::state(status) == Some(RolloutState::Analyzing)
        && objectives.any(|objective| objective.units.candidate >= units)
}

/// The rollout that ended last; empty before the first.
pub fn last_rollout_id(status: &SmallModelStatus) -> String {
    let last = status.last_rollout.as_ref();
    last.map(|rollout| rollout.id.clone()).unwrap_or_default()
}

/// No request of a load failed, each was answered once, and classified as it is anywhere else.
pub async fn assert_none_failed(application: &App) -> Result<()> {
    let books = audit::books(application).await?;
    let failed: Vec<_> = audit::each(&books)
        .filter(|(_, record)| !record.good())
        .collect();
    let requests = audit::each(&books).count();
    ensure!(
        failed.is_empty(),
        "{} of {requests} requests failed, such as {:?}",
        failed.len(),
        failed.first()
    );
    ensure!(requests > 0, "no request was sent");
    match application.chat_tokens {
        None => audit::labels_are_right(&books),
        Some(_) => Ok(()),
    }
}

/// Waits until it holds; an error on the way counts as "not yet", for the API server may be what is broken.
pub async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let last = holds().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > end {
            last.with_context(|| format!("not within {limit:?}: {what}"))?;
            bail!("not within {limit:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
