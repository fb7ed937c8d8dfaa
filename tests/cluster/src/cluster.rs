//! Starting, finding and stopping the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::address::NodeId;
use crate::cleanup;
use crate::command::{answers_http, output, wait_until};
use crate::component::Component;
use crate::error::{Error, IoContext, Result};
use crate::host::Host;
use crate::layout::{Layout, write_file};
use crate::node::Node;
use crate::process::{Launch, Recorded, died};
use crate::progress::Progress;
use crate::registry::PushedImage;
use crate::{address, binaries, containerd, control_plane, dns, holder, host, images, kubelet};
use crate::{packages, registry, start};

/// How long a component that is started again may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    host: Host,
    state: State,
}

/// What is remembered of a running cluster; written when all of it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub nodes: u8,
    pub bin: PathBuf,
}

impl Cluster {
    /// Brings a cluster with this many nodes up: builds what is missing, clears away what an earlier one
    /// has left, starts everything and waits until the nodes are ready. A cluster that is up, whole and
    /// of the same kind is left as it is.
    pub fn up(layout: &Layout, nodes: u8, progress: &Progress) -> Result<Self> {
        host::require_linux_root()?;
        let _lock = lock(layout)?;
        packages::ensure(progress)?;
        let wanted = State {
            nodes,
            bin: binaries::ensure(layout, progress)?,
        };
        let host = Host::detect(layout.cache())?;
        progress.say(host.describe());
        if let Ok(running) = Self::attach(layout)
            && running.state == wanted
            && running.is_whole()
        {
            progress.say("the cluster is up already");
            return Ok(running);
        }
        if !cleanup::leftovers(layout, &host).is_empty() {
            progress.say("clearing away an earlier cluster");
            cleanup::clean(layout, &host)?;
            cleanup::require_clean(layout, &host)?;
        }
        let cluster = Self {
            layout: layout.clone(),
            host,
            state: wanted,
        };
        start::everything(&cluster, progress)?;
        let text = serde_json::to_string(&cluster.state).expect("a state is plain data");
        write_file(&layout.state(), text)?;
        Ok(cluster)
    }

    /// The cluster that is up.
    pub fn attach(layout: &Layout) -> Result<Self> {
        let path = layout.state();
        let text = std::fs::read_to_string(&path).map_err(|_| Error::NotUp)?;
        let state = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: path.display().to_string(),
            source,
        })?;
        let host = Host::detect(layout.cache())?;
        Ok(Self {
            layout: layout.clone(),
            host,
            state,
        })
    }

    /// Takes down whatever there is of a cluster, in any state, and checks that nothing is left.
    pub fn down(layout: &Layout) -> Result<()> {
        host::require_linux_root()?;
        let _lock = lock(layout)?;
        let host = Host::detect(layout.cache())?;
        cleanup::clean(layout, &host)?;
        cleanup::require_clean(layout, &host)
    }

    /// What a cluster has left on this machine; empty after down.
    pub fn leftovers(layout: &Layout) -> Result<Vec<String>> {
        Ok(cleanup::leftovers(layout, &Host::detect(layout.cache())?))
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// What a program needs to use this cluster: KUBECONFIG, and a PATH on which our kubectl, helm and
    /// crane come first.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        vec![
            ("KUBECONFIG", self.kubeconfig().display().to_string()),
            ("PATH", format!("{}:{path}", self.layout.bin().display())),
        ]
    }

    /// A program of the cluster's folder (`kubectl`, `helm`, `crane`), set up for this cluster.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.layout.program(name));
        command.envs(self.environment());
        command
    }

    /// Runs kubectl to its end and returns what it printed.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        output(self.program("kubectl").args(args))
    }

    /// `kubectl apply` of manifests in YAML.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut apply = self.program("kubectl");
        apply.args(["apply", "--server-side", "-f", "-"]);
        crate::command::output_with_input(&mut apply, manifests).map(|_| ())
    }

    /// Runs helm to its end and returns what it printed.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        output(self.program("helm").args(args))
    }

    /// Pushes an OCI layout folder into the registry as `name:tag`.
    pub fn push(&self, image: &Path, name: &str) -> Result<PushedImage> {
        registry::push(&self.layout, image, name)
    }

    /// Packs a folder's files into an image and pushes it as `name:tag`.
    pub fn push_folder(&self, folder: &Path, name: &str) -> Result<PushedImage> {
        let work = self.layout.scratch()?;
        self.push(
            &images::pack(folder, &work.path().join("image"))?.folder,
            name,
        )
    }

    /// Pushes a shell and the usual tools as `smallfleet/toolbox:dev`, for pods of tests.
    pub fn push_toolbox(&self) -> Result<PushedImage> {
        let work = self.layout.scratch()?;
        let image = images::toolbox(&work.path().join("image"))?;
        self.push(&image.folder, "smallfleet/toolbox:dev")
    }

    pub fn nodes(&self) -> Vec<Node<'_>> {
        NodeId::first(self.state.nodes)
            .map(|id| Node::new(self, id))
            .collect()
    }

    /// The node of this name, as in `node-1`.
    pub fn node(&self, name: &str) -> Option<Node<'_>> {
        self.nodes().into_iter().find(|node| node.name() == name)
    }

    pub fn components(&self) -> impl Iterator<Item = Component> {
        Component::all(self.state.nodes)
    }

    pub fn is_running(&self, component: Component) -> bool {
        self.recorded(component).is_some()
    }

    /// Process id of a component; none where it is stopped.
    pub fn pid(&self, component: Component) -> Option<i32> {
        self.recorded(component).map(|recorded| recorded.pid)
    }

    /// Kills a component and waits for its end. Containers go on when their containerd or kubelet stops.
    pub fn stop(&self, component: Component) -> Result<()> {
        match self.recorded(component) {
            Some(recorded) => recorded.kill(&component.to_string()),
            None => Ok(()),
        }
    }

    /// Sends a signal: SIGSTOP makes a component hang and SIGCONT lets it go on.
    pub fn signal(&self, component: Component, signal: Signal) {
        if let Some(recorded) = self.recorded(component) {
            recorded.signal(signal);
        }
    }

    /// Starts a stopped component with the settings that it had, and waits until it answers.
    pub fn start(&self, component: Component) -> Result<()> {
        if self.is_running(component) {
            return Ok(());
        }
        let recorded = self
            .launch(component)?
            .start(&self.layout, &self.host.cgroups)?;
        self.wait_ready(component, recorded)?;
        if component == Component::Registry {
            registry::restore(&self.layout)?;
        }
        Ok(())
    }

    pub(crate) fn launch_now(&self, component: Component) -> Result<Recorded> {
        self.launch(component)?
            .start(&self.layout, &self.host.cgroups)
    }

    pub(crate) fn node_ids(&self) -> impl Iterator<Item = NodeId> + Clone + use<> {
        NodeId::first(self.state.nodes)
    }

    /// Waits until a started component answers, or says why it died.
    pub(crate) fn wait_ready(&self, component: Component, recorded: Recorded) -> Result<()> {
        wait_until(
            &format!("the readiness of {component}"),
            READY_LIMIT,
            || {
                if !recorded.is_alive() {
                    return Err(died(&self.layout, &component.to_string()));
                }
                Ok(self.answers(component))
            },
        )
    }

    fn answers(&self, component: Component) -> bool {
        match component {
            Component::Etcd => answers_http(address::ETCD_CLIENT, "/health"),
            Component::ApiServer => self.kubectl(&["get", "--raw=/readyz"]).is_ok(),
            Component::Registry => registry::is_ready(),
            Component::Dns => dns::is_ready(),
            Component::Containerd(node) => self.holder(node).is_ok_and(|holder| {
                output(containerd::ctr(&self.layout, holder).arg("version")).is_ok()
            }),
            // These are ready when the cluster does its work, which is waited for there.
            Component::ControllerManager
            | Component::Scheduler
            | Component::Holder(_)
            | Component::Kubelet(_)
            | Component::KubeProxy(_) => true,
        }
    }

    fn launch(&self, component: Component) -> Result<Launch> {
        let (layout, host) = (&self.layout, &self.host);
        match component {
            Component::Etcd => Ok(control_plane::etcd(layout)),
            Component::ApiServer => Ok(control_plane::api_server(layout)),
            Component::ControllerManager => control_plane::controller_manager(layout),
            Component::Scheduler => control_plane::scheduler(layout),
            Component::Registry => registry::launch(layout),
            Component::Dns => dns::launch(layout),
            Component::Holder(node) => Ok(holder::launch(layout, node)),
            Component::Containerd(node) => {
                containerd::launch(layout, host, node, self.holder(node)?)
            }
            Component::Kubelet(node) => kubelet::kubelet(layout, host, node, self.holder(node)?),
            Component::KubeProxy(node) => kubelet::kube_proxy(layout, node, self.holder(node)?),
        }
    }

    /// Process whose namespaces are the node's.
    pub(crate) fn holder(&self, node: NodeId) -> Result<i32> {
        let component = Component::Holder(node);
        self.pid(component)
            .ok_or_else(|| died(&self.layout, &component.to_string()))
    }

    fn recorded(&self, component: Component) -> Option<Recorded> {
        Recorded::load(&self.layout, &component.to_string())
    }

    fn is_whole(&self) -> bool {
        self.components()
            .all(|component| self.is_running(component))
            && self.answers(Component::ApiServer)
    }
}

/// One start or stop at a time. The lock ends with the process that holds it, however that ends.
fn lock(layout: &Layout) -> Result<Flock<std::fs::File>> {
    let path = layout.lock();
    let file = std::fs::File::create(&path).at("create", &path)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| std::io::Error::from(errno))
        .at("lock", &path)
}
