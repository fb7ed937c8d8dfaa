//! Taking a cluster down, whatever state it is in, and checking that nothing of it is left.

use crate::cgroups;
use crate::error::{Error, Result};
use crate::holder;
use crate::host::Host;
use crate::layout::{Layout, remove_tree};
use crate::network;

/// Ends every process of a cluster and removes what it made. Works from the control groups and fixed
/// names, not from records, so it does the same after a crash. The network goes first of all that is
/// visible outside, the run folder last.
pub(crate) fn clean(layout: &Layout, host: &Host) -> Result<()> {
    cgroups::kill_everything(&host.cgroups)?;
    network::remove()?;
    cgroups::remove(&host.cgroups)?;
    unmount_left(layout);
    holder::remove_mount_points(layout);
    remove_tree(&layout.run())
}

/// What a cluster has left on the machine: processes, control groups, links, rules, mounts, files.
/// Empty after down.
pub fn leftovers(layout: &Layout, host: &Host) -> Vec<String> {
    let processes = cgroups::processes(&host.cgroups)
        .into_iter()
        .map(|pid| format!("process {pid}"));
    let groups = cgroups::left(&host.cgroups).into_iter();
    let groups = groups.map(|group| format!("control group {}", group.display()));
    let mounts = mounts_left(layout)
        .into_iter()
        .map(|mount| format!("mount {mount}"));
    let mut left: Vec<String> = processes
        .chain(groups)
        .chain(network::left())
        .chain(mounts)
        .collect();
    left.extend(daemons_by_program(layout));
    if layout.run().exists() {
        left.push(format!("folder {}", layout.run().display()));
    }
    left
}

pub(crate) fn require_clean(layout: &Layout, host: &Host) -> Result<()> {
    let left = leftovers(layout, host);
    if left.is_empty() {
        Ok(())
    } else {
        Err(Error::Leftovers(left))
    }
}

/// Daemons built from our pins that run outside of our control groups: the check of the check. Tools
/// that a person runs out of the same folder are left alone.
fn daemons_by_program(layout: &Layout) -> Vec<String> {
    const TOOLS: [&str; 4] = ["kubectl", "helm", "crane", "ctr"];
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let bin = layout.bin();
    let found = entries.flatten().filter_map(|entry| {
        let program = std::fs::read_link(entry.path().join("exe")).ok()?;
        let called = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let is_daemon = program.starts_with(&bin) && !TOOLS.contains(&called.trim());
        is_daemon.then(|| format!("process {} {}", entry.file_name().display(), called.trim()))
    });
    found.collect()
}

/// Mounts of nodes live in the nodes' own namespaces; this finds what a person or a test mounted into
/// the run folder in the root namespace.
fn mounts_left(layout: &Layout) -> Vec<String> {
    let run = layout.run().display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points
        .filter(|point| point.starts_with(&run))
        .map(str::to_owned)
        .collect()
}

/// Deepest first: a mount holds those below it busy.
fn unmount_left(layout: &Layout) {
    for point in mounts_left(layout).iter().rev() {
        // What cannot be unmounted is reported by the check for leftovers.
        let _ = nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH);
    }
}
