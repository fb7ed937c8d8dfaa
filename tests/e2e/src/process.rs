//! Processes of pods: every node of the local cluster is a namespace of this machine, so a test can signal them.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal to the processes of one pod whose command line has the given words, such as `smallfleet-runtime engine`.
///
/// # Errors
/// When there is none, or it cannot be signalled.
pub fn signal(pod_uid: &str, words: &str, signal: Signal) -> Result<()> {
    let processes = of_pod(pod_uid, words)?;
    ensure!(
        !processes.is_empty(),
        "pod {pod_uid} has no process `{words}`"
    );
    for pid in processes {
        kill(pid, signal).with_context(|| format!("{signal} to {pid}"))?;
    }
    Ok(())
}

fn of_pod(pod_uid: &str, words: &str) -> Result<Vec<Pid>> {
    let group = format!("pod{pod_uid}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let path = entry?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while we look at it: then it has no files and is not the one.
        let cgroup = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if cgroup.contains(&group) && command.contains(words) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}
