//! The kinds that this API server knows: those that the operator reads and writes.

/// One kind and how the real API server treats it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// It has a status subresource.
    pub status: bool,
    /// `metadata.generation` counts changes of its spec.
    pub generation: bool,
    /// Its own definition: an update has to name the resourceVersion that it starts from.
    pub custom: bool,
}

/// Index into [`KINDS`].
pub type KindIndex = usize;

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        namespaced: true,
        status: false,
        generation: false,
        custom: false,
    }
}

/// All kinds.
pub static KINDS: [Kind; 10] = [
    Kind {
        status: true,
        generation: true,
        custom: true,
        ..kind("smallfleet.dev", "v1alpha1", "SmallModel", "smallmodels")
    },
    Kind {
        status: true,
        generation: true,
        ..kind("apps", "v1", "DaemonSet", "daemonsets")
    },
    kind("apps", "v1", "ControllerRevision", "controllerrevisions"),
    Kind {
        status: true,
        generation: true,
        ..kind("", "v1", "Pod", "pods")
    },
    Kind {
        status: true,
        ..kind("", "v1", "Service", "services")
    },
    kind("", "v1", "ConfigMap", "configmaps"),
    Kind {
        namespaced: false,
        status: true,
        ..kind("", "v1", "Node", "nodes")
    },
    Kind {
        namespaced: false,
        status: true,
        ..kind("", "v1", "Namespace", "namespaces")
    },
    kind("coordination.k8s.io", "v1", "Lease", "leases"),
    kind("events.k8s.io", "v1", "Event", "events"),
];

impl Kind {
    /// `apps/v1`, or `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// The kind with this name.
///
/// # Panics
/// When there is none: tests name kinds of the table only.
#[must_use]
pub fn named(name: &str) -> KindIndex {
    KINDS
        .iter()
        .position(|kind| kind.kind == name)
        .expect("tests name kinds of the table only")
}
