//! Control groups of the cluster, all under one group named `smallfleet` in every hierarchy.
//!
//! `smallfleet/system/<component>` holds a daemon and what it forks (containerd's shims among them);
//! `smallfleet/<node>` is the kubelet's root for pods. So every process of the cluster is found by its
//! group, whatever happened to the records in the run folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::address::NodeId;
use crate::command::wait_until;
use crate::error::{Error, IoContext, Result};
use crate::host::Cgroups;

const GROUP: &str = "smallfleet";
/// Killed processes of containers may first have to give back gigabytes of memory.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// Makes the groups of the nodes ready for their kubelets.
pub(crate) fn prepare(
    cgroups: &Cgroups,
    nodes: &(impl Iterator<Item = NodeId> + Clone),
) -> Result<()> {
    for root in cgroups.roots() {
        let ours = root.join(GROUP);
        create(&ours)?;
        if let Cgroups::V2 { .. } = cgroups {
            delegate(root)?;
            delegate(&ours)?;
        }
        for node in nodes.clone() {
            create(&ours.join(node.to_string()))?;
        }
    }
    Ok(())
}

/// The `cgroup.procs` file of a daemon's own group; a process writes itself there before it execs.
pub(crate) fn daemon_group(cgroups: &Cgroups, component: &str) -> Result<PathBuf> {
    let system = tracking_root(cgroups).join(GROUP).join("system");
    let group = system.join(component);
    std::fs::create_dir_all(&group).at("create", &group)?;
    Ok(group.join("cgroup.procs"))
}

/// The kubelet's `cgroupRoot` for a node.
pub(crate) fn kubelet_root(node: NodeId) -> String {
    format!("/{GROUP}/{node}")
}

/// The group of a node's pods in the hierarchy of a v1 controller, or in the one of v2.
pub(crate) fn node_group(cgroups: &Cgroups, node: NodeId, controller: &str) -> Option<PathBuf> {
    let has = |root: &&PathBuf| match cgroups {
        Cgroups::V1 { .. } => root.ends_with(controller) || root.ends_with("cpu,cpuacct"),
        Cgroups::V2 { .. } => true,
    };
    let root = cgroups.roots().iter().find(has)?;
    Some(root.join(GROUP).join(node.to_string()))
}

/// Kills everything in the cluster's groups: daemons, shims and containers.
pub(crate) fn kill_everything(cgroups: &Cgroups) -> Result<()> {
    kill_under(&our_groups(cgroups))
}

/// Kills everything of one node: its daemons, its shims and its containers. As on a machine that is off, no group of a container is
/// left: a kubelet that finds one of a dead container waits 3 s for each.
pub(crate) fn kill_node(cgroups: &Cgroups, node: NodeId) -> Result<()> {
    let system = tracking_root(cgroups).join(GROUP).join("system");
    let prefix = format!("{node}-");
    let daemons = subfolders(&system)
        .into_iter()
        .filter(|group| file_name(group).starts_with(&prefix));
    let pods: Vec<_> = our_groups(cgroups)
        .into_iter()
        .map(|group| group.join(node.to_string()))
        .collect();
    kill_under(&daemons.chain(pods.iter().cloned()).collect::<Vec<_>>())?;
    remove_all(|| pods.iter().flat_map(|group| subfolders(group)).collect())
}

/// Removes the groups. They are empty once everything in them is killed.
pub(crate) fn remove(cgroups: &Cgroups) -> Result<()> {
    remove_all(|| left(cgroups))
}

fn remove_all(left: impl Fn() -> Vec<PathBuf>) -> Result<()> {
    wait_until(
        "the removal of the cluster's control groups",
        KILL_LIMIT,
        || {
            left().iter().for_each(|group| remove_groups(group));
            Ok(left().is_empty())
        },
    )
}

/// Groups that still exist, for the check that nothing is left.
pub(crate) fn left(cgroups: &Cgroups) -> Vec<PathBuf> {
    let groups = our_groups(cgroups).into_iter();
    groups.filter(|group| group.exists()).collect()
}

/// Live processes in the cluster's groups.
pub(crate) fn processes(cgroups: &Cgroups) -> BTreeSet<i32> {
    our_groups(cgroups)
        .iter()
        .flat_map(|group| processes_under(group))
        .collect()
}

fn our_groups(cgroups: &Cgroups) -> Vec<PathBuf> {
    cgroups.every_root().map(|root| root.join(GROUP)).collect()
}

/// The hierarchy in which daemons are kept track of. On v1 any does, but a new cpuset group takes no
/// process before it is given CPUs.
fn tracking_root(cgroups: &Cgroups) -> &Path {
    let roots = cgroups.roots();
    let named = |name: &str| roots.iter().find(|root| root.ends_with(name));
    named("pids")
        .or_else(|| named("freezer"))
        .unwrap_or(&roots[0])
}

/// Creates a group. A v1 cpuset group is born without CPUs and memory nodes: it takes its parent's.
fn create(group: &Path) -> Result<()> {
    std::fs::create_dir_all(group).at("create", group)?;
    let parent = group.parent().unwrap_or(group);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), group.join(file));
        let is_empty = std::fs::read_to_string(&to).is_ok_and(|value| value.trim().is_empty());
        let is_v1 = !group.join("cgroup.controllers").exists();
        if is_v1 && is_empty {
            let value = std::fs::read_to_string(&from).at("read", &from)?;
            std::fs::write(&to, value.trim()).at("write", &to)?;
        }
    }
    Ok(())
}

/// Hands every controller of a v2 group down to its children.
fn delegate(group: &Path) -> Result<()> {
    let available = group.join("cgroup.controllers");
    let controllers = std::fs::read_to_string(&available).at("read", &available)?;
    let control = group.join("cgroup.subtree_control");
    let wanted: Vec<String> = controllers
        .split_whitespace()
        .map(|c| format!("+{c}"))
        .collect();
    std::fs::write(&control, wanted.join(" ")).map_err(|error| {
        let path = control.display();
        Error::Machine(format!(
            "controllers cannot be handed down in {path} ({error}): processes sit in the group itself, \
             as in a container; give the container the host's cgroup namespace"
        ))
    })
}

fn kill_under(groups: &[PathBuf]) -> Result<()> {
    wait_until("the end of killed processes", KILL_LIMIT, || {
        let alive: BTreeSet<i32> = groups
            .iter()
            .flat_map(|group| processes_under(group))
            .collect();
        groups.iter().for_each(|group| thaw(group));
        for pid in &alive {
            // It may be gone already, which is what is wanted.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            crate::process::reap(*pid);
        }
        Ok(alive.is_empty())
    })
}

/// A frozen v1 group does not take signals.
fn thaw(group: &Path) {
    for folder in subfolders(group) {
        thaw(&folder);
    }
    let state = group.join("freezer.state");
    if state.exists() {
        let _ = std::fs::write(state, "THAWED");
    }
}

fn processes_under(group: &Path) -> Vec<i32> {
    let listed = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = listed.lines().filter_map(|line| line.trim().parse().ok());
    // 0 is a process of another process namespace, which this one cannot name.
    let own = own.filter(|pid| *pid > 0 && !crate::process::is_zombie(*pid));
    let below = subfolders(group)
        .into_iter()
        .flat_map(|folder| processes_under(&folder));
    own.chain(below).collect()
}

fn remove_groups(group: &Path) {
    for folder in subfolders(group) {
        remove_groups(&folder);
    }
    let _ = std::fs::remove_dir(group);
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
