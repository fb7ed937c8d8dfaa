//! The local cluster from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use smallfleet_cluster::images::{self, Product};
use smallfleet_cluster::oci::Image;
use smallfleet_cluster::{Cluster, Layout, Progress, onnxruntime};

/// A real Kubernetes of several nodes on this machine. Needs root on Linux; leaves nothing behind.
#[derive(Parser)]
#[command(name = "smallfleet-cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the cluster's programs into the cache (once, about 12 minutes on two cores).
    Build,
    /// Start the cluster and wait until it is ready. Clears away what a crashed one has left.
    Up {
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
    },
    /// Stop the cluster and check that nothing of it is left.
    Down,
    /// Show the components and the nodes.
    Status,
    /// Print the environment for a shell: eval "$(smallfleet-cluster env)".
    Env,
    /// Print the versions of everything in use.
    Versions,
    /// Make an image and push it to the cluster's registry.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print the path of the ONNX Runtime library, fetched from PyPI where it is absent.
    Onnxruntime,
    /// Run a command in a node's namespaces.
    Exec {
        /// As in node-1.
        node: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ImageCommand {
    /// The operator.
    Operator(ProductImage),
    /// The runtime, with the ONNX Runtime library.
    Runtime(ProductImage),
    /// The load program.
    Load(ProductImage),
    /// A shell and the usual tools, for pods of tests.
    Toolbox(Destination),
    /// A folder's files and nothing else: a model or a data set.
    Pack {
        folder: PathBuf,
        /// As name:tag.
        reference: String,
        /// Write an OCI layout folder here and push nothing.
        #[arg(long)]
        layout: Option<PathBuf>,
    },
}

#[derive(Args)]
struct ProductImage {
    /// The binary; by default the one beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Args)]
struct Destination {
    /// Name in the registry, as name:tag; by default smallfleet/<image>:dev.
    #[arg(long)]
    reference: Option<String>,
    /// Write an OCI layout folder here and push nothing.
    #[arg(long)]
    layout: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let layout = Layout::from_environment()?;
    let progress = Progress::shown();
    match arguments.command {
        Command::Build => Ok(smallfleet_cluster::build(&layout, &progress)?),
        Command::Up { nodes } => up(&layout, nodes, &progress),
        Command::Down => down(&layout, &progress),
        Command::Status => status(&layout),
        Command::Env => env(&layout),
        Command::Versions => {
            smallfleet_cluster::versions()
                .iter()
                .for_each(|line| println!("{line}"));
            Ok(())
        }
        Command::Image(command) => image(&layout, command, &progress),
        Command::Onnxruntime => {
            println!("{}", onnxruntime::library(&layout, &progress)?.display());
            Ok(())
        }
        Command::Exec { node, command } => exec(&layout, &node, &command),
    }
}

fn up(layout: &Layout, nodes: u8, progress: &Progress) -> Result<()> {
    let cluster = Cluster::up(layout, nodes, progress)?;
    progress.say(format!(
        "up: {nodes} nodes. export KUBECONFIG={}",
        cluster.kubeconfig().display()
    ));
    Ok(())
}

fn down(layout: &Layout, progress: &Progress) -> Result<()> {
    Cluster::down(layout)?;
    progress.say("down: nothing is left (processes, control groups, mounts, links, rules, files)");
    Ok(())
}

fn status(layout: &Layout) -> Result<()> {
    let cluster = Cluster::attach(layout)?;
    println!("{}", cluster.host().describe());
    for component in cluster.components() {
        match cluster.pid(component) {
            Some(pid) => println!("{component:24} runs as process {pid}"),
            None => println!("{component:24} is stopped"),
        }
    }
    print!("{}", cluster.kubectl(&["get", "nodes", "--output=wide"])?);
    Ok(())
}

/// For `eval`. PATH is extended in the shell that evaluates it, not fixed to this process's: kubectl and helm are in the cache,
/// the plugin is built beside this program.
fn env(layout: &Layout) -> Result<()> {
    let cluster = Cluster::attach(layout)?;
    let own = own_folder()?;
    println!("export KUBECONFIG={:?}", cluster.kubeconfig());
    println!("export PATH={:?}:{own:?}:\"$PATH\"", layout.bin());
    Ok(())
}

/// Where `make build` puts every program.
fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program lies")?;
    Ok(own
        .parent()
        .context("this program lies in a folder")?
        .to_owned())
}

fn image(layout: &Layout, command: ImageCommand, progress: &Progress) -> Result<()> {
    match command {
        ImageCommand::Operator(arguments) => {
            product(layout, Product::Operator, arguments, progress)
        }
        ImageCommand::Runtime(arguments) => product(layout, Product::Runtime, arguments, progress),
        ImageCommand::Load(arguments) => product(layout, Product::Load, arguments, progress),
        ImageCommand::Toolbox(destination) => deliver(
            layout,
            destination,
            "smallfleet/toolbox:dev",
            images::toolbox,
        ),
        ImageCommand::Pack {
            folder,
            reference,
            layout: out,
        } => {
            let destination = Destination {
                reference: Some(reference),
                layout: out,
            };
            deliver(layout, destination, "", |out| images::pack(&folder, out))
        }
    }
}

fn product(
    layout: &Layout,
    which: Product,
    arguments: ProductImage,
    progress: &Progress,
) -> Result<()> {
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => own_folder()?.join(which.name()),
    };
    let reference = format!("smallfleet/{}:dev", which.name());
    deliver(layout, arguments.destination, &reference, |out| {
        images::product(layout, which, &binary, out, progress)
    })
}

/// Makes an image where it was asked for, or pushes it; prints what it is called by digest.
fn deliver(
    layout: &Layout,
    destination: Destination,
    usual_reference: &str,
    make: impl FnOnce(&Path) -> smallfleet_cluster::Result<Image>,
) -> Result<()> {
    let reference = destination
        .reference
        .unwrap_or_else(|| usual_reference.to_owned());
    if let Some(out) = destination.layout {
        println!("{reference}@{}", make(&out)?.digest);
        return Ok(());
    }
    let cluster = Cluster::attach(layout)?;
    let work = layout.scratch()?;
    let image = make(&work.path().join("image"))?;
    println!("{}", cluster.push(&image.folder, &reference)?.reference());
    Ok(())
}

fn exec(layout: &Layout, node: &str, command: &[String]) -> Result<()> {
    let cluster = Cluster::attach(layout)?;
    let node = cluster
        .node(node)
        .with_context(|| format!("there is no node {node}"))?;
    let status = node.command(&command[0])?.args(&command[1..]).status()?;
    std::process::exit(status.code().unwrap_or(1));
}
