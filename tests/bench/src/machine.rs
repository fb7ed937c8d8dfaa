//! What the figures were measured on and with.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};
use smallfleet_cluster::{Cgroups, Host, Layout};

/// CPU flags that decide how fast small models run.
const FLAGS: [&str; 4] = ["avx2", "avx512f", "avx512_vnni", "avx_vnni"];

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    /// Those of [`FLAGS`] that the CPU has.
    pub flags: Vec<String>,
    pub cores: usize,
    pub memory_mebibytes: u64,
    pub kernel: String,
    pub distribution: String,
    /// `v1`, `v2` or empty where unknown.
    pub cgroups: String,
}

impl Machine {
    /// This machine, as far as it says.
    pub fn here() -> Self {
        let cpu = read("/proc/cpuinfo");
        let flags = field(&cpu, "flags");
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory = memory
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned();
        let distribution = read("/etc/os-release");
        let name = distribution
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            cpu: field(&cpu, "model name"),
            flags: FLAGS
                .iter()
                .filter(|flag| flags.contains(flag))
                .map(|flag| (*flag).to_owned())
                .collect(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mebibytes: memory.parse::<u64>().unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            distribution: name.unwrap_or_default().trim_matches('"').to_owned(),
            cgroups: cgroups().unwrap_or_default(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let flags = match self.flags.is_empty() {
            true => "none of avx2, avx512".to_owned(),
            false => self.flags.join(", "),
        };
        format!(
            "{} ({flags}), {} cores, {:.0} GiB of memory, Linux {}, {}, cgroup {}",
            self.cpu,
            self.cores,
            crate::stats::from_u64(self.memory_mebibytes) / 1024.0,
            self.kernel,
            self.distribution,
            self.cgroups
        )
    }
}

fn cgroups() -> Option<String> {
    let layout = Layout::from_environment().ok()?;
    let kind = match Host::detect(layout.cache()).ok()?.cgroups {
        Cgroups::V1 { .. } => "v1",
        Cgroups::V2 { .. } => "v2",
    };
    Some(kind.to_owned())
}

/// The first `name : value` line.
fn field(text: &str, name: &str) -> String {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == name);
    named
        .next()
        .map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The commit that is checked out, with `+` where files other than documents differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let status = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":/",
        ":!/docs",
    ];
    let is_changed = git(&status).is_some_and(|changes| !changes.is_empty());
    format!("{hash}{}", if is_changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t: fpu avx2\n";
        assert_eq!(field(text, "model name"), "AMD EPYC");
        assert_eq!(field(text, "MemTotal"), "");
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::here();
        assert!(
            machine.cores > 0 && machine.memory_mebibytes > 0,
            "{machine:?}"
        );
    }
}
