//! What makes a node a machine of its own: a network and a mount namespace, held by one process.
//!
//! Inside, the usual folders of a node (`/var/lib/kubelet`, `/run/containerd`, ...) are the node's own:
//! daemons run with the paths they are built for, several nodes do not meet, and a kubelet or
//! containerd of the user's is not touched. The mounts of pods exist in this namespace only, so they are
//! gone with its last process, even after a crash.

use std::path::Path;
use std::time::Duration;

use crate::address::NodeId;
use crate::command::wait_until;
use crate::error::{IoContext, Result};
use crate::host::Cgroups;
use crate::layout::{Layout, write_file};
use crate::process::{self, Launch, Recorded};

/// Folders that a node has to itself: (folder of the node's data, place inside the node).
const OWN_FOLDERS: &[(&str, &str)] = &[
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    (CONTAINERD_STATE, "/run/containerd"),
    ("cni", "/var/lib/cni"),
    ("pod-logs", "/var/log/pods"),
    ("container-logs", "/var/log/containers"),
];

/// What lies in `/run` on a usual machine and is gone after a boot.
pub(crate) const CONTAINERD_STATE: &str = "containerd-state";

/// Makes the mounts, says so, and becomes the pause program.
const SCRIPT: &str = r#"
set -e
data=$1 pause=$2
shift 2
while [ $# -gt 0 ]; do
  mount --bind "$data/$1" "$2"
  shift 2
done
: > "$data/mounted"
exec "$pause"
"#;

const READY_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn name(node: NodeId) -> String {
    format!("{node}-holder")
}

pub(crate) fn launch(layout: &Layout, node: NodeId) -> Launch {
    let places = OWN_FOLDERS.iter().flat_map(|(own, place)| [*own, *place]);
    let data = layout.node(&node.to_string()).into_os_string();
    Launch::new(name(node), "unshare")
        // Changes of the host's mounts come in, so that nothing of the host is kept busy; none go out.
        .args([
            "--net",
            "--mount",
            "--propagation=slave",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ])
        .args([data, layout.program("pause").into_os_string()])
        .args(places)
}

/// Starts the holder of a node; its process id stands for the node's namespaces.
pub(crate) fn start(layout: &Layout, groups: &Cgroups, node: NodeId) -> Result<Recorded> {
    let data = layout.node(&node.to_string());
    for (own, _) in OWN_FOLDERS {
        let own = data.join(own);
        std::fs::create_dir_all(&own).at("create", &own)?;
    }
    let mounted = data.join("mounted");
    // A node that was powered off and on again has it from before.
    let _ = std::fs::remove_file(&mounted);
    let recorded = launch(layout, node).start(layout, groups)?;
    wait_until(&format!("the namespaces of {node}"), READY_LIMIT, || {
        if !recorded.is_alive() {
            return Err(process::died(layout, &name(node)));
        }
        Ok(mounted.exists())
    })?;
    Ok(recorded)
}

/// Makes the folders of the host that the nodes mount over. Those that did not exist are noted, to be
/// removed by down.
pub(crate) fn make_mount_points(layout: &Layout) -> Result<()> {
    OWN_FOLDERS
        .iter()
        .try_for_each(|(_, place)| make_mount_point(layout, Path::new(place)))
}

fn make_mount_point(layout: &Layout, place: &Path) -> Result<()> {
    for folder in place.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if folder.exists() {
            continue;
        }
        std::fs::create_dir(folder).at("create", folder)?;
        let record = made_folders(layout);
        let known = std::fs::read_to_string(&record).unwrap_or_default();
        write_file(&record, format!("{known}{}\n", folder.display()))?;
    }
    Ok(())
}

fn made_folders(layout: &Layout) -> std::path::PathBuf {
    layout.run().join("made-folders")
}

/// Removes the mount points that were made, if nobody has put anything into them since.
pub(crate) fn remove_mount_points(layout: &Layout) {
    let made = std::fs::read_to_string(made_folders(layout)).unwrap_or_default();
    for folder in made.lines().rev() {
        let _ = std::fs::remove_dir(folder);
    }
}
