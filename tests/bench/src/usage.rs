//! Memory and CPU time of the processes in pods: every node of the local cluster is a part of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Ticks a second in /proc/PID/stat: fixed for programs, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodProcess(i32);

/// Memory, mebibytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What the kubelet counts: the control group's memory without file pages that were not used lately.
    pub working_set: f64,
    /// Resident pages of the process that are its own, not those of files.
    pub anonymous: f64,
    /// Resident pages of the process, files' too.
    pub resident: f64,
}

impl PodProcess {
    /// The process of a pod whose command line has these words, such as `smallfleet-runtime engine`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(pod_uid: &str, words: &str) -> Result<Self> {
        let group = format!("pod{pod_uid}");
        for entry in fs::read_dir("/proc").context("read /proc")? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(pid) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end while we look at it: then it has no files and is not the one.
            let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if groups.contains(&group) && command.contains(words) {
                return Ok(Self(pid));
            }
        }
        anyhow::bail!("pod {pod_uid} has no process `{words}`")
    }

    fn file(self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.0);
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }

    /// CPU time since the process began, of all its threads.
    pub fn cpu_time(self) -> Result<Duration> {
        let stat = self.file("stat")?;
        let ticks = ticks(&stat).with_context(|| format!("no times in {stat}"))?;
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
    }

    pub fn memory(self) -> Result<Memory> {
        let status = self.file("status")?;
        let group = memory_group(&self.file("cgroup")?).context("no memory control group")?;
        Ok(Memory {
            working_set: working_set_bytes(&group)? / f64::from(1 << 20),
            anonymous: kibibytes(&status, "RssAnon:") / 1024.0,
            resident: kibibytes(&status, "VmRSS:") / 1024.0,
        })
    }
}

/// utime + stime of /proc/PID/stat. The name before them is in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(number(11)? + number(12)?)
}

fn kibibytes(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0.0)
}

/// Folder of the control group that accounts for memory.
fn memory_group(groups: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|one| one == "memory") {
            return Some(root.join("memory").join(path));
        }
        if controllers.is_empty() && root.join(path).join("memory.current").exists() {
            return Some(root.join(path));
        }
    }
    None
}

/// As the kubelet reckons it.
fn working_set_bytes(group: &Path) -> Result<f64> {
    let read = |name: &str| fs::read_to_string(group.join(name));
    let used = read("memory.current").or_else(|_| read("memory.usage_in_bytes"));
    let used: f64 = used
        .with_context(|| format!("memory of {}", group.display()))?
        .trim()
        .parse()?;
    let stat = read("memory.stat")?;
    let of = |name: &str| {
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse::<f64>().ok()
    };
    let inactive = of("total_inactive_file").or_else(|| of("inactive_file"));
    Ok((used - inactive.unwrap_or(0.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0";
        assert_eq!(ticks(stat), Some(300.0));
    }

    #[test]
    fn the_memory_group_of_version_1_is_that_of_its_controller() {
        let groups = "5:cpu,cpuacct:/smallfleet/a\n4:memory:/smallfleet/b\n";
        let folder = memory_group(groups).unwrap();
        assert_eq!(folder, Path::new("/sys/fs/cgroup/memory/smallfleet/b"));
    }

    #[test]
    fn this_process_has_used_memory() {
        let own = PodProcess(i32::try_from(std::process::id()).unwrap());
        let status = own.file("status").unwrap();
        assert!(kibibytes(&status, "VmRSS:") > 100.0);
    }
}
