//! The operator's process: starts everything, ends everything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use kube::{Api, Client};
use smallfleet_core::world::Defaults;
use smallfleet_operator::admin::{self, Progress};
use smallfleet_operator::apply::Applier;
use smallfleet_operator::caches::{Caches, WAKE_CAPACITY};
use smallfleet_operator::config::Config;
use smallfleet_operator::controller::{self, Context};
use smallfleet_operator::lease::{Election, Standing};
use smallfleet_operator::metrics::Metrics;
use smallfleet_operator::observe::{Client_, Observer};
use smallfleet_operator::session::{self, Authority, Hub, ModelKey};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Connections to the API server are given up after this long without an answer.
const CONNECT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_new(&config.log).context("SMALLFLEET_LOG")?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .init();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("another TLS provider is installed");
    }
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end");
        asked.cancel();
    });
    run(config, shutdown).await
}

async fn client() -> Result<Client> {
    let mut config = kube::Config::infer()
        .await
        .context("how to reach the API server")?;
    config.connect_timeout = Some(CONNECT);
    // What failed is decided again from a fresh look, not repeated blindly.
    config.default_retry = false;
    Client::try_from(config).context("a client for the API server")
}

async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let client = client().await?;
    let (progress, metrics) = (Progress::default(), Metrics::new()?);
    let admin = admin::serve(
        config.admin_listen,
        progress.clone(),
        metrics.clone(),
        shutdown.clone(),
    );
    let admin = tokio::spawn(admin);

    let (wake, wakes) = mpsc::channel::<ModelKey>(WAKE_CAPACITY);
    let hub = Hub::new(wake.clone());
    let caches = Caches::start(&client, &wake);
    caches.ready().await;
    let authority = Authority::load(client.clone(), &config.namespace)
        .await
        .context("the session's CA")?;
    let sessions = tokio::spawn(session::serve(
        config.session_listen,
        authority.clone(),
        client.clone(),
        hub.clone(),
        Arc::new(caches.clone()),
        shutdown.clone(),
    ));
    progress.set_ready();

    let leases = Api::namespaced(client.clone(), &config.namespace);
    let (election, standing) =
        Election::new(leases, config.pod_uid.clone(), config.own_session_address());
    // The Lease is released last, when nothing of ours writes any more.
    let release = CancellationToken::new();
    let looked = progress.clone();
    let election = tokio::spawn(election.run(release.clone(), move || looked.election()));

    let leader = Leader {
        config: &config,
        client,
        caches,
        hub,
        authority,
        metrics,
        progress,
    };
    let outcome = tokio::select! {
        led = leader.lead(standing, wakes, shutdown.clone()) => led,
        ended = sessions => ended.context("the session server")?.context("the session server"),
        ended = admin => ended.context("the admin server")?.context("the admin server"),
    };
    shutdown.cancel();
    release.cancel();
    election.await.context("the election")?;
    outcome
}

struct Leader<'a> {
    config: &'a Config,
    client: Client,
    caches: Caches,
    hub: Hub,
    authority: Authority,
    metrics: Metrics,
    progress: Progress,
}

impl Leader<'_> {
    /// Stands by until elected, then reconciles until shutdown. Losing the Lease ends the process.
    async fn lead(
        self,
        mut standing: watch::Receiver<Standing>,
        wakes: mpsc::Receiver<ModelKey>,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let epoch = loop {
            match standing.borrow_and_update().clone() {
                Standing::Leading { epoch } => break epoch,
                Standing::StandBy { leader_address } => self.hub.stand_by(leader_address),
                Standing::Lost => bail!("the Lease is lost"),
            }
            tokio::select! {
                changed = standing.changed() => changed.context("the election ended")?,
                () = shutdown.cancelled() => return Ok(()),
            }
        };
        self.hub.lead(epoch);
        self.metrics.leads(epoch);
        let context = Arc::new(self.context(epoch));
        tokio::select! {
            () = controller::run(self.client.clone(), context, wakes, shutdown.clone()) => Ok(()),
            lost = standing.wait_for(|standing| *standing == Standing::Lost) => {
                lost.context("the election ended")?;
                bail!("the Lease is lost: another replica may lead, so this one ends")
            }
        }
    }

    fn context(&self, epoch: u64) -> Context {
        let observer = Observer {
            client: Client_(self.client.clone()),
            caches: self.caches.clone(),
            hub: self.hub.clone(),
            defaults: Defaults {
                runtime_image: self.config.runtime_image.clone(),
                stable_priority_class: self.config.stable_priority_class.clone(),
                candidate_priority_class: self.config.candidate_priority_class.clone(),
                session_address: self.config.session_address.clone(),
                session_ca: self.authority.bundle_pem(),
            },
            random: rand::random,
            epoch,
            since: Instant::now(),
        };
        let applier = Applier::new(
            self.client.clone(),
            self.hub.clone(),
            self.config.pod_name.clone(),
            self.metrics.clone(),
        );
        Context::new(
            observer,
            applier,
            self.hub.clone(),
            self.metrics.clone(),
            self.progress.clone(),
        )
    }
}
