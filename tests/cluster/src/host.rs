//! What kind of machine this is: the facts on which the nodes' configuration depends.

use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// Bit of CAP_SYS_RESOURCE in the capability masks of `/proc/self/status`.
const CAP_SYS_RESOURCE: u32 = 24;
/// File system types on which an overlay may not be put.
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// Facts about the machine, found once per start.
#[derive(Debug, Clone)]
pub struct Host {
    pub cgroups: Cgroups,
    /// Without CAP_SYS_RESOURCE nobody may lower an oom_score_adj, and containerd must not try.
    pub may_lower_oom_score: bool,
    pub snapshotter: Snapshotter,
    /// Bridged frames pass the host's iptables, whose FORWARD chain may drop them.
    pub bridge_passes_iptables: bool,
}

/// Where control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// One folder per hierarchy, each with its controllers. On hybrid machines there is a v2 hierarchy
    /// without controllers besides, in which runc makes groups too.
    V1 {
        hierarchies: Vec<PathBuf>,
        unified: Option<PathBuf>,
    },
    /// The unified hierarchy.
    V2 { root: PathBuf },
}

/// How containerd stacks image layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshotter {
    Overlay,
    /// Plain copies: slower and bigger, for caches that lie on an overlay themselves.
    Native,
}

impl Snapshotter {
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlayfs",
            Self::Native => "native",
        }
    }
}

impl Host {
    /// Looks at the machine; `data` is the folder in which the nodes keep their images.
    pub fn detect(data: &Path) -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).at("read", Path::new(path));
        let bridge = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        Ok(Self {
            cgroups: Cgroups::from_mounts(&read("/proc/self/mounts")?)?,
            may_lower_oom_score: has_capability(&read("/proc/self/status")?, CAP_SYS_RESOURCE),
            snapshotter: snapshotter_for(data)?,
            bridge_passes_iptables: bridge.is_ok_and(|value| value.trim() == "1"),
        })
    }

    /// One line for people: which of the paths through this crate are in use.
    pub fn describe(&self) -> String {
        let cgroups = match &self.cgroups {
            Cgroups::V1 { .. } => "v1 (failCgroupV1 off, cpusets copied)",
            Cgroups::V2 { .. } => "v2",
        };
        let oom = if self.may_lower_oom_score {
            "with CAP_SYS_RESOURCE"
        } else {
            "without CAP_SYS_RESOURCE (restrict_oom_score_adj)"
        };
        format!(
            "cgroup {cgroups}, {oom}, {} snapshots",
            self.snapshotter.name()
        )
    }
}

impl Cgroups {
    /// Reads a mount table. A v2 mount below a v1 root (the hybrid layout) counts as v1: the
    /// controllers are there.
    fn from_mounts(mounts: &str) -> Result<Self> {
        let of_type = |wanted: &str| -> Vec<PathBuf> {
            mounts
                .lines()
                .map(|line| line.split(' ').collect::<Vec<_>>())
                .filter(|fields| fields.get(2) == Some(&wanted))
                .filter_map(|fields| fields.get(1).map(PathBuf::from))
                .collect()
        };
        let hierarchies = of_type("cgroup");
        let unified = of_type("cgroup2").into_iter().next();
        if !hierarchies.is_empty() {
            return Ok(Self::V1 {
                hierarchies,
                unified,
            });
        }
        unified
            .map(|root| Self::V2 { root })
            .ok_or_else(|| Error::Machine("no cgroup file system is mounted".to_owned()))
    }

    /// Root folders of the hierarchies that have controllers.
    pub fn roots(&self) -> &[PathBuf] {
        match self {
            Self::V1 { hierarchies, .. } => hierarchies,
            Self::V2 { root } => std::slice::from_ref(root),
        }
    }

    /// Root folders of every hierarchy in which groups of ours can be.
    pub fn every_root(&self) -> impl Iterator<Item = &PathBuf> {
        let unified = match self {
            Self::V1 { unified, .. } => unified.as_ref(),
            Self::V2 { .. } => None,
        };
        self.roots().iter().chain(unified)
    }
}

fn has_capability(status: &str, bit: u32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

fn snapshotter_for(data: &Path) -> Result<Snapshotter> {
    let found = nix::sys::statfs::statfs(data)
        .map_err(std::io::Error::from)
        .at("look at the file system of", data)?;
    if found.filesystem_type().0 as i64 == OVERLAYFS_MAGIC {
        return Ok(Snapshotter::Native);
    }
    Ok(Snapshotter::Overlay)
}

/// Refuses machines on which nothing below could work, before anything is built.
pub(crate) fn require_linux_root() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Error::Machine("it needs Linux".to_owned()));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Machine(
            "network namespaces, mounts and cgroups need root".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_counts_as_v1() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Cgroups::from_mounts(mounts).unwrap();
        assert!(matches!(found, Cgroups::V1 { .. }));
        assert_eq!(found.roots().len(), 2);
        assert_eq!(found.every_root().count(), 3);
    }

    #[test]
    fn a_unified_machine_counts_as_v2() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        let root = PathBuf::from("/sys/fs/cgroup");
        assert_eq!(Cgroups::from_mounts(mounts).unwrap(), Cgroups::V2 { root });
    }

    #[test]
    fn a_machine_without_cgroups_is_refused() {
        assert!(Cgroups::from_mounts("proc /proc proc rw 0 0\n").is_err());
    }

    #[test]
    fn capabilities_are_read_from_the_effective_mask() {
        let without = "CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n";
        assert!(!has_capability(without, CAP_SYS_RESOURCE));
        let with = "CapEff:\t000001ffffffffff\n";
        assert!(has_capability(with, CAP_SYS_RESOURCE));
    }
}
