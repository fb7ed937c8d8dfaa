//! The container runtime of a node.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::address::{NodeId, REGISTRY, REGISTRY_ADDRESS};
use crate::command::output;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::layout::{Layout, write_file};
use crate::packages::cni_folder;
use crate::process::Launch;

/// Name of the image that every pod's sandbox runs. Never pulled: it is imported at the start.
pub(crate) const PAUSE_IMAGE: &str = "smallfleet.test/pause:1";

pub(crate) fn name(node: NodeId) -> String {
    format!("{node}-containerd")
}

/// Writes the configuration and says how it is started inside the node.
pub(crate) fn launch(layout: &Layout, host: &Host, node: NodeId, holder: i32) -> Result<Launch> {
    let cni = write_cni_config(layout, node)?;
    let registries = write_registry_config(layout)?;
    let config = layout.config(&format!("{node}-containerd.toml"));
    let plugins = cni_folder().ok_or_else(|| Error::Machine("no CNI plugins".to_owned()))?;
    let text = config_text(
        host,
        &[
            ("@CNI_PLUGINS@", plugins),
            ("@CNI_CONFIG@", &cni.display().to_string()),
            ("@REGISTRIES@", &registries.display().to_string()),
        ],
    );
    write_file(&config, text)?;
    Ok(Launch::new(name(node), layout.program("containerd"))
        .args(["--config".into(), config])
        .env("PATH", path_with_shim(layout))
        .inside(holder))
}

/// containerd finds its shim on the PATH.
fn path_with_shim(layout: &Layout) -> std::ffi::OsString {
    let mut path = layout.bin().into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    path
}

fn config_text(host: &Host, places: &[(&str, &str)]) -> String {
    let restrict = if host.may_lower_oom_score {
        "false"
    } else {
        "true"
    };
    let settings = [
        ("@SNAPSHOTTER@", host.snapshotter.name()),
        ("@RESTRICT_OOM@", restrict),
        ("@PAUSE@", PAUSE_IMAGE),
    ];
    let all = settings.iter().chain(places);
    all.fold(CONFIG.to_owned(), |text, (mark, value)| {
        text.replace(mark, value)
    })
}

/// Folders are containerd's own defaults: they are private to the node (see [`crate::holder`]).
const CONFIG: &str = r#"version = 4
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
imports = []

[plugins."io.containerd.cri.v1.images"]
snapshotter = "@SNAPSHOTTER@"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "@PAUSE@"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "@REGISTRIES@"

[plugins."io.containerd.transfer.v1.local"]
config_path = "@REGISTRIES@"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = @RESTRICT_OOM@
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["@CNI_PLUGINS@"]
conf_dir = "@CNI_CONFIG@"

# Nothing of a node outlives the cluster, so nothing waits for the disk.
[plugins."io.containerd.metadata.v1.bolt"]
no_sync = true
"#;

/// Point-to-point cables and routes, not a bridge: on a bridge, the answer of a Service's pod to a pod of
/// the same node takes the short way around kube-proxy's translation unless the machine's bridge filter is
/// set up for it.
fn write_cni_config(layout: &Layout, node: NodeId) -> Result<PathBuf> {
    let folder = layout.run().join("config").join(format!("{node}-cni"));
    let config = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "smallfleet",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pod_network()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    write_file(
        &folder.join("10-smallfleet.conflist"),
        format!("{config:#}\n"),
    )?;
    Ok(folder)
}

/// The registry's name stands for its address and for plain HTTP: no name is looked up.
fn write_registry_config(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.run().join("config").join("registries");
    let text = format!(
        "server = \"http://{REGISTRY_ADDRESS}\"\n\n\
         [host.\"http://{REGISTRY_ADDRESS}\"]\n\
         capabilities = [\"pull\", \"resolve\"]\n"
    );
    write_file(&folder.join(REGISTRY).join("hosts.toml"), text)?;
    Ok(folder)
}

/// `ctr` in the namespace of Kubernetes' containers, inside the node.
pub(crate) fn ctr(layout: &Layout, holder: i32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={holder}"))
        .args(["--net", "--mount", "--"]);
    command
        .arg(layout.program("ctr"))
        .args(["--namespace", "k8s.io"]);
    command
}

/// Gives containerd the pause image. This comes before the first pod: without it the sandbox would wait
/// for a name that nobody resolves.
pub(crate) fn import(layout: &Layout, holder: i32, archive: &Path) -> Result<()> {
    output(ctr(layout, holder).args(["images", "import"]).arg(archive))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Cgroups, Snapshotter};

    fn host(may_lower_oom_score: bool, snapshotter: Snapshotter) -> Host {
        Host {
            cgroups: Cgroups::V2 {
                root: "/sys/fs/cgroup".into(),
            },
            may_lower_oom_score,
            snapshotter,
            bridge_passes_iptables: false,
        }
    }

    #[test]
    fn the_configuration_follows_the_machine() {
        let text = config_text(
            &host(false, Snapshotter::Native),
            &[("@CNI_PLUGINS@", "/x")],
        );
        assert!(text.contains("restrict_oom_score_adj = true"));
        assert!(text.contains("snapshotter = \"native\""));
        assert!(text.contains("bin_dirs = [\"/x\"]"));
        let text = config_text(&host(true, Snapshotter::Overlay), &[]);
        assert!(text.contains("restrict_oom_score_adj = false"));
        assert!(text.contains("snapshotter = \"overlayfs\""));
    }
}
