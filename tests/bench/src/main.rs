//! `smallfleet-bench`: measures Smallfleet, a table at a time, and writes docs/benchmarks.md from the results.

mod apiserver;
mod ask;
mod document;
mod machine;
mod plot;
mod processes;
mod records;
mod results;
mod site;
mod stats;
mod tables;
mod usage;

use anyhow::Result;
use clap::{Parser, Subcommand};

use tables::{classify, commit, rest, rollbacks, router, verdicts};

#[derive(Parser)]
#[command(about = "Measures Smallfleet; results are kept in docs/benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the router costs (loopback; about 3 minutes)
    Router(router::Arguments),
    /// Classification beside Python onnxruntime and uvicorn (Service or loopback; about 7 minutes)
    Classify(classify::Arguments),
    /// From the decision to the last candidate request (cluster; about 8 minutes)
    Rollbacks(rollbacks::Arguments),
    /// Requests to find `slow` and to promote an equal revision (cluster; about 12 minutes)
    Evidence(verdicts::EvidenceArguments),
    /// A/A with load swings (cluster; about 95 minutes for 100 runs)
    Equal(verdicts::EqualArguments),
    /// From a commit to serving on every node (cluster; about 2 minutes)
    Commit(commit::Arguments),
    /// The operator at rest, and memory of the pods (cluster; about 12 minutes)
    Rest(rest::Arguments),
    /// Writes docs/benchmarks.md and its plots from the results
    Document,
    /// Asks one server and prints the answers; `classify` starts it
    #[command(hide = true)]
    Client(classify::ClientArguments),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Router(arguments) => results::keep(router::run(arguments)).await,
        Command::Classify(arguments) => results::keep(classify::run(arguments)).await,
        Command::Rollbacks(arguments) => results::keep(rollbacks::run(arguments)).await,
        Command::Evidence(arguments) => results::keep(verdicts::evidence(arguments)).await,
        Command::Equal(arguments) => results::keep(verdicts::equal(arguments)).await,
        Command::Commit(arguments) => results::keep(commit::run(arguments)).await,
        Command::Rest(arguments) => results::keep(rest::run(arguments)).await,
        Command::Document => document::write(),
        Command::Client(arguments) => classify::run_client(arguments).await,
    }
}
