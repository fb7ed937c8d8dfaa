//! A cluster with Smallfleet installed as a user installs it: with helm, from images in a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use smallfleet_cluster::{Cluster, Layout, REGISTRY, REGISTRY_ADDRESS};

use crate::fleet::Fleet;
use crate::shell::Shell;

/// Namespace of the operator.
pub const SYSTEM: &str = "smallfleet-system";

/// Where this machine keeps what was built, and the running cluster.
#[derive(Debug)]
pub struct Lab {
    pub shell: Shell,
    /// The checkout.
    pub root: PathBuf,
    binaries: PathBuf,
    models: PathBuf,
    generator: PathBuf,
    images: BTreeMap<String, String>,
}

impl Lab {
    /// Finds the running cluster of `make cluster-up` and what `make build` and `make models` made.
    ///
    /// # Errors
    /// When a part is missing; the error says which command makes it.
    pub fn open() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .context("the checkout")?;
        let binaries = std::env::current_exe()?;
        let binaries = binaries
            .ancestors()
            .find(|folder| folder.join("smallfleet-cluster").is_file());
        let binaries = binaries
            .context("smallfleet-cluster is not built: run `make build`")?
            .to_owned();
        let layout = Layout::from_environment()?;
        ensure!(
            layout.kubeconfig().is_file(),
            "no cluster is up: run `make cluster-up`"
        );
        let shell = Shell {
            kubeconfig: layout.kubeconfig(),
            path: vec![layout.bin(), binaries.clone()],
            show: false,
        };
        let folder = |name: &str| {
            let folder = std::env::var_os(name).map(PathBuf::from);
            folder.with_context(|| format!("{name} is not set: run this through make"))
        };
        Ok(Self {
            shell,
            root,
            binaries,
            models: folder("SMALLFLEET_MODELS")?,
            generator: folder("SMALLFLEET_GENERATOR")?,
            images: BTreeMap::new(),
        })
    }

    /// Client of the cluster.
    ///
    /// # Errors
    /// When the kubeconfig is unusable.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.shell.kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A new namespace under the restricted pod security profile; what an earlier run left of it goes first.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn namespace(&self, name: &str) -> Result<Fleet> {
        self.delete_namespace(name)?;
        let manifest = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        self.shell
            .run_with_input("kubectl apply -f -", &manifest.to_string())?;
        Ok(Fleet {
            client: self.client().await?,
            namespace: name.to_owned(),
        })
    }

    /// Deletes a namespace with everything in it, and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after two minutes.
    pub fn delete_namespace(&self, name: &str) -> Result<()> {
        let line = format!("kubectl delete namespace {name} --ignore-not-found --timeout=120s");
        self.shell.run(&line).map(drop)
    }

    /// Pushes the images of operator, runtime, load program, and of every model folder, to the cluster's registry.
    ///
    /// # Errors
    /// When a folder or binary is missing or the registry does not answer.
    pub fn push_images(&mut self) -> Result<()> {
        for name in ["operator", "runtime", "load"] {
            let reference = self.cluster(&["image", name])?;
            self.images.insert(name.to_owned(), reference);
        }
        let requests = tempfile::tempdir()?;
        std::fs::copy(
            self.models.join("requests.jsonl"),
            requests.path().join("requests.jsonl"),
        )
        .context("the models' requests.jsonl: run `make models`")?;
        let reference = self.cluster(&[
            "image",
            "pack",
            &requests.path().to_string_lossy(),
            "smallfleet/requests:dev",
        ])?;
        self.images.insert("requests".to_owned(), reference);
        for folder in self.model_folders()? {
            let name = folder
                .strip_prefix(&self.models)
                .or_else(|_| folder.strip_prefix(&self.generator))
                .context("a folder of the models")?
                .to_string_lossy()
                .replace('/', "-");
            let reference = self.cluster(&[
                "image",
                "pack",
                &folder.to_string_lossy(),
                &format!("models/{name}:dev"),
            ])?;
            self.images.insert(name, reference);
        }
        Ok(())
    }

    /// The local cluster itself, to stop and start its parts.
    ///
    /// # Errors
    /// When it is not up.
    pub fn machines(&self) -> Result<Cluster> {
        Ok(Cluster::attach(&Layout::from_environment()?)?)
    }

    /// Pushes a model under a digest that no node has pulled yet; its reference.
    ///
    /// # Errors
    /// When there is no such model or the registry does not answer.
    pub fn push_unseen(&self, model: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        for entry in std::fs::read_dir(self.models.join(model))? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
        std::fs::write(folder.path().join("unseen"), std::process::id().to_string())?;
        let pushed = self
            .machines()?
            .push_folder(folder.path(), &format!("models/{model}-unseen:dev"))?;
        Ok(pushed.reference())
    }

    fn model_folders(&self) -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        let broken = self.models.join("broken");
        for parent in [&self.models, &broken, &self.generator] {
            let entries = std::fs::read_dir(parent)
                .with_context(|| format!("read {}: run `make models`", parent.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() && path.file_name().is_some_and(|name| name != "broken") {
                    folders.push(path);
                }
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// Reference with digest of a pushed image: `operator`, `runtime`, `load`, `good`, `broken-no-model`, ...
    ///
    /// # Panics
    /// When no such image was pushed: a mistake in the test.
    #[must_use]
    pub fn image(&self, name: &str) -> &str {
        self.images.get(name).unwrap_or_else(|| {
            panic!(
                "no image {name} was pushed; there are {:?}",
                self.images.keys()
            )
        })
    }

    /// Pushes an image once more under another digest, as a release of the same programs has; its reference.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub fn release_again(&self, name: &str) -> Result<String> {
        // The registry's name is known to the cluster alone.
        let image = self.image(name).replace(REGISTRY, REGISTRY_ADDRESS);
        let (repository, _) = image.split_once('@').context("a digest")?;
        let line = format!(
            "crane mutate --insecure --label release=again --tag {repository}:again {image}"
        );
        let pushed = self.shell.run(&line)?;
        Ok(pushed.trim().replace(REGISTRY_ADDRESS, REGISTRY))
    }

    fn cluster(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.binaries.join("smallfleet-cluster"))
            .args(arguments)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "smallfleet-cluster {}: {errors}",
            arguments.join(" ")
        );
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().last().unwrap_or_default().trim().to_owned())
    }

    /// The helm command that installs or upgrades the chart with the images of this checkout.
    #[must_use]
    pub fn helm_install(&self) -> String {
        self.helm_install_of(self.image("operator"), self.image("runtime"))
    }

    /// The same with these images.
    #[must_use]
    pub fn helm_install_of(&self, operator: &str, runtime: &str) -> String {
        format!(
            "helm upgrade --install smallfleet {}/charts/smallfleet --namespace {SYSTEM} --create-namespace --wait --timeout 120s \
             --set image={operator} --set runtime.image={runtime}",
            self.root.display(),
        )
    }
}
