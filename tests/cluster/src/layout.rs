//! Where everything lies: the cache that outlives clusters, and the run folder that does not.

use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::pins;

/// Folders of the cluster. Nothing of it lies in the checkout.
#[derive(Debug, Clone)]
pub struct Layout {
    cache: PathBuf,
}

impl Layout {
    /// `$SMALLFLEET_CACHE`, or `.cache/smallfleet` in the home folder.
    pub fn from_environment() -> Result<Self> {
        let chosen = std::env::var_os("SMALLFLEET_CACHE").filter(|value| !value.is_empty());
        let cache = match (chosen, std::env::var_os("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(&home).join(".cache/smallfleet"),
            (None, None) => {
                return Err(Error::Machine("set SMALLFLEET_CACHE or HOME".to_owned()));
            }
        };
        std::fs::create_dir_all(&cache).at("create", &cache)?;
        // Daemons change their working folder, so every path must be absolute.
        let cache = cache.canonicalize().at("resolve", &cache)?;
        Ok(Self { cache })
    }

    /// A layout under a folder of the caller's choice.
    pub fn under(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
        }
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Binaries of the pinned versions.
    pub fn bin(&self) -> PathBuf {
        self.cache.join(format!("bin-{}", pins::binaries_hash()))
    }

    /// One binary by name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// Everything of the running cluster; removed by down.
    pub fn run(&self) -> PathBuf {
        self.cache.join("run")
    }

    pub fn state(&self) -> PathBuf {
        self.run().join("state.json")
    }

    pub fn certs(&self) -> PathBuf {
        self.run().join("certs")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run().join("kubeconfig")
    }

    /// Generated configuration of a component.
    pub fn config(&self, file: &str) -> PathBuf {
        self.run().join("config").join(file)
    }

    pub fn logs(&self) -> PathBuf {
        self.run().join("logs")
    }

    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub fn pid_record(&self, component: &str) -> PathBuf {
        self.run().join("pids").join(component)
    }

    pub fn etcd_data(&self) -> PathBuf {
        self.run().join("etcd")
    }

    /// Manifests that were pushed: the registry keeps its blobs on disk and its manifests in memory.
    pub(crate) fn pushed_manifests(&self) -> PathBuf {
        self.run().join("manifests")
    }

    pub fn registry_data(&self) -> PathBuf {
        self.run().join("registry")
    }

    /// Files of one node; parts of it are mounted at the usual places inside the node.
    pub fn node(&self, node: &str) -> PathBuf {
        self.run().join("nodes").join(node)
    }

    /// A folder for work in hand, big enough for images; it goes when it is dropped.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.cache).at("create a folder in", &self.cache)
    }

    /// Held while a cluster is started or stopped, so that two of these never mix.
    pub fn lock(&self) -> PathBuf {
        self.cache.join("cluster.lock")
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).at("create", folder)?;
    }
    std::fs::write(path, content).at("write", path)
}

/// Removes a tree that may be absent.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
