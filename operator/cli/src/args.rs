//! The command line as it is written.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Shows small models, explains their rollouts and gives commands to them.
#[derive(Debug, Parser)]
#[command(name = "kubectl-smallfleet", bin_name = "kubectl smallfleet", version)]
pub struct Args {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which cluster, and where in it.
#[derive(Debug, ClapArgs)]
pub struct Connection {
    /// Namespace [default: that of the kubeconfig's context]
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Kubeconfig [default: the environment variable KUBECONFIG, then ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show small models; with a name and a rollout, its evidence too
    Get(Get),
    /// Tell the whole story of a model in plain words: what serves, what is asked for, why it waits or was refused
    Explain(Explain),
    /// Approve the step that waits, or go on after a pause
    Promote(Promote),
    /// Roll back and refuse the candidate
    Abort(Target),
    /// Let a refused revision begin anew
    Retry(Target),
    /// Show the versions of this program, of the operator and of the API
    Version,
}

#[derive(Debug, ClapArgs)]
pub struct Get {
    /// Name of a SmallModel [default: all of the namespace]
    pub name: Option<String>,
    /// SmallModels of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Go on showing changes
    #[arg(short, long)]
    pub watch: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text, conflicts_with = "watch")]
    pub output: Format,
}

#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// Name of a SmallModel
    pub name: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

#[derive(Debug, ClapArgs)]
pub struct Promote {
    #[command(flatten)]
    pub target: Target,
    /// Promote the candidate now, whatever the evidence
    #[arg(long)]
    pub full: bool,
}

/// The model that a command speaks to.
#[derive(Debug, ClapArgs)]
pub struct Target {
    /// Name of a SmallModel
    pub name: String,
    /// Seconds to wait for the operator's answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: the object of the API (get), the story's facts (explain)
    Json,
}
