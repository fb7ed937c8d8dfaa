//! DaemonSet, Service, session ConfigMap and ControllerRevision.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_crds::names::{self, port, role};
use smallfleet_crds::{Locality, Placement, Service as ServiceSettings, Update};

use super::{Owner, labels, name, pod, seal};
use crate::revision::Revision;
use crate::world::Defaults;

/// The stable DaemonSet: its template is only ever the promoted revision.
#[must_use]
pub fn daemon_set(
    owner: &Owner,
    revision: &Revision,
    placement: &Placement,
    update: &Update,
    defaults: &Defaults,
) -> DaemonSet {
    let selector = labels([
        (names::LABEL_MODEL, owner.name.as_str()),
        (names::LABEL_ROLE, role::STABLE),
    ]);
    let hash = revision.hash();
    let mut ours = selector.clone();
    ours.extend(labels([
        (names::LABEL_FRONT, owner.name.as_str()),
        (names::LABEL_REVISION, hash.as_str()),
    ]));
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod::with_ours(&revision.runtime.pod_metadata.labels, ours)),
            annotations: Some(pod::annotations(revision)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod::spec(
            owner,
            revision,
            placement,
            "Stable",
            &defaults.stable_priority_class,
        )),
    };
    let mut daemon_set = DaemonSet {
        metadata: owner.metadata(owner.name.clone(), object_labels(owner)),
        spec: Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(selector),
                match_expressions: None,
            },
            template,
            update_strategy: Some(update_strategy(update)),
            // The DaemonSet's own history: ours is in ControllerRevisions of the SmallModel.
            revision_history_limit: Some(1),
            min_ready_seconds: None,
        }),
        status: None,
    };
    seal(&mut daemon_set, |object| &mut object.metadata);
    daemon_set
}

/// Nodes that run an old and a new pod at a time where spec says nothing.
pub(crate) fn default_surge() -> IntOrString {
    IntOrString::String("5%".to_owned())
}

fn update_strategy(update: &Update) -> DaemonSetUpdateStrategy {
    let rolling = match (&update.max_surge, &update.max_unavailable) {
        (_, Some(unavailable)) => RollingUpdateDaemonSet {
            max_surge: Some(IntOrString::Int(0)),
            max_unavailable: Some(unavailable.clone()),
        },
        (surge, None) => RollingUpdateDaemonSet {
            max_surge: Some(surge.clone().unwrap_or_else(default_surge)),
            max_unavailable: Some(IntOrString::Int(0)),
        },
    };
    DaemonSetUpdateStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(rolling),
    }
}

fn object_labels(owner: &Owner) -> BTreeMap<String, String> {
    labels([
        ("app.kubernetes.io/managed-by", names::FIELD_MANAGER),
        ("app.kubernetes.io/instance", owner.name.as_str()),
        (names::LABEL_MODEL, owner.name.as_str()),
    ])
}

/// The Service in front of the stable pods.
#[must_use]
pub fn service(owner: &Owner, settings: &ServiceSettings) -> Service {
    let distribution = match settings.locality {
        Locality::PreferSameNode => Some("PreferSameNode"),
        Locality::PreferSameZone => Some("PreferSameZone"),
        Locality::SameNodeOnly | Locality::Any => None,
    };
    let internal = match settings.locality {
        Locality::SameNodeOnly => "Local",
        Locality::PreferSameNode | Locality::PreferSameZone | Locality::Any => "Cluster",
    };
    let mut service = Service {
        metadata: owner.metadata(owner.name.clone(), object_labels(owner)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels([(names::LABEL_FRONT, owner.name.as_str())])),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: i32::from(settings.port),
                target_port: Some(IntOrString::Int(i32::from(port::FRONT))),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                node_port: None,
            }]),
            traffic_distribution: distribution.map(str::to_owned),
            internal_traffic_policy: Some(internal.to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    seal(&mut service, |object| &mut object.metadata);
    service
}

/// Where and how routers reach the operator.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// PEM of one or two CAs.
    pub ca: &'a str,
}

/// The ConfigMap that runtime pods mount at `/etc/smallfleet/session`.
#[must_use]
pub fn session_config(owner: &Owner, session: SessionConfig<'_>) -> ConfigMap {
    let mut config = ConfigMap {
        metadata: owner.metadata(name::session_config(&owner.name), object_labels(owner)),
        data: Some(labels([
            ("address", session.address),
            ("ca.crt", session.ca),
        ])),
        ..ConfigMap::default()
    };
    seal(&mut config, |object| &mut object.metadata);
    config
}

/// The object that keeps a revision. `number` orders revisions of one model.
#[must_use]
pub fn controller_revision(owner: &Owner, revision: &Revision, number: i64) -> ControllerRevision {
    let hash = revision.hash();
    let mut labels = object_labels(owner);
    labels.insert(names::LABEL_REVISION.to_owned(), hash.clone());
    let data =
        serde_json::to_value(revision).expect("a revision is plain data and always serializes");
    ControllerRevision {
        metadata: owner.metadata(name::revision(&owner.name, &hash), labels),
        data: Some(RawExtension(data)),
        revision: number,
    }
}
