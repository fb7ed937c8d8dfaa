//! `smallfleet-runtime`: the data plane's one binary. Engine and router are two containers of a pod; an evaluation and a
//! laptop use the same parts.

mod serve;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use smallfleet_router::evaluate::EvaluateConfig;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::serve::Serve;

/// Threads for connections. Models run on threads of their own.
const WORKERS: usize = 2;
/// How long blocking work may hold up the end of the process.
const END: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(
    version,
    about = "Serves small models: the router and the engine of a node"
)]
struct Cli {
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Log {
    /// What is logged, such as info or smallfleet_router=debug
    #[arg(long, env = "SMALLFLEET_LOG", default_value = "info", global = true)]
    log: String,
    /// How it is logged; text for serve, else json
    #[arg(long, env = "SMALLFLEET_LOG_FORMAT", global = true)]
    log_format: Option<LogFormat>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// One object a line
    Json,
    /// For people
    Text,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a model over HTTPS to the routers of this node
    Engine(smallfleet_engine::Config),
    /// Serve applications, and divide their requests during a rollout
    Router(smallfleet_router::Config),
    /// Ask the engine about every example of a labelled set and report which answers were right
    Evaluate(EvaluateConfig),
    /// Serve the model in a folder on this machine, without Kubernetes
    Serve(Serve),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    cli.log.start(&cli.command)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(END);
    result
}

async fn run(command: Command) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    match command {
        Command::Engine(config) => Ok(smallfleet_engine::run(config, shutdown).await?),
        Command::Router(config) => Ok(smallfleet_router::run(config, shutdown).await?),
        Command::Evaluate(config) => tokio::select! {
            result = smallfleet_router::evaluate::run(config) => Ok(result?),
            () = shutdown => anyhow::bail!("stopped before the evaluation was complete"),
        },
        Command::Serve(serve) => serve.run(shutdown).await,
    }
}

/// Done at the first SIGTERM or SIGINT.
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl Log {
    fn start(&self, command: &Command) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.log)?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        let usual = match command {
            Command::Serve(_) => LogFormat::Text,
            _ => LogFormat::Json,
        };
        match self.log_format.unwrap_or(usual) {
            LogFormat::Json => log.json().flatten_event(true).init(),
            LogFormat::Text => log.init(),
        }
        Ok(())
    }
}
