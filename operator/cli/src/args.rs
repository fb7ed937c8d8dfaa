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
    #[arg(short, long, global = true, value_parser = object_name)]
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
    #[arg(value_parser = object_name)]
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
    #[arg(value_parser = object_name)]
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
    #[arg(value_parser = object_name)]
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

/// A name becomes a part of a path: what cannot be a name is refused before anything is sent.
fn object_name(text: &str) -> Result<String, String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(allowed) {
        return Err("a name has a-z, 0-9, '-' and '.' only".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_may_stand_on_either_side_of_the_verb() {
        for line in [
            "x -n shop get intent",
            "x get intent -n shop",
            "x get -n shop intent",
        ] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(args.connection.namespace.as_deref(), Some("shop"), "{line}");
        }
    }

    #[test]
    fn what_is_no_name_never_becomes_a_path() {
        for name in ["a/b", "..%2f", "Intent", "a b", ""] {
            assert!(
                Args::try_parse_from(["x", "explain", name]).is_err(),
                "{name:?}"
            );
            assert!(
                Args::try_parse_from(["x", "get", "-n", name]).is_err(),
                "{name:?}"
            );
        }
    }
}
