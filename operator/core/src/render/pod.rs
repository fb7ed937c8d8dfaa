//! Pods. Candidates and evaluations are rendered exactly like stable pods but for their role.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, HTTPGetAction, ImageVolumeSource, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, Pod,
    PodSecurityContext, PodSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
    SeccompProfile, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_crds::names::{self, container, port, role};
use smallfleet_crds::{Placement, Task};

use super::{Owner, labels, name};
use crate::revision::Revision;
use crate::world::Defaults;

/// User and group of every container.
const USER: i64 = 65_532;
/// Audience of the session's token.
const TOKEN_AUDIENCE: &str = "smallfleet";
/// Seconds for which a token is valid; the kubelet renews it at 80 %.
const TOKEN_SECONDS: i64 = 3600;
/// Time to settle and to close politely on top of the longest request.
const GRACE_SECONDS: u32 = 15;

/// Candidate pod of a rollout on one node.
#[must_use]
pub fn candidate(
    owner: &Owner,
    revision: &Revision,
    placement: &Placement,
    defaults: &Defaults,
    rollout: &str,
    (node, node_uid): (&str, &str),
) -> Pod {
    let mut spec = spec(
        owner,
        revision,
        placement,
        "Candidate",
        &defaults.candidate_priority_class,
    );
    bind(&mut spec, node);
    let hash = revision.hash();
    let ours = labels([
        (names::LABEL_MODEL, &owner.name),
        (names::LABEL_ROLE, role::CANDIDATE),
        (names::LABEL_ROLLOUT, rollout),
        (names::LABEL_REVISION, &hash),
    ]);
    pod(
        owner,
        revision,
        name::candidate(&owner.name, rollout, node_uid),
        ours,
        spec,
    )
}

/// What an evaluation pod evaluates on.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Image reference of the dataset, with digest.
    pub dataset: &'a str,
    /// Empty for the gate of a first install.
    pub rollout: &'a str,
    pub node: &'a str,
    pub node_uid: &'a str,
    pub ready_seconds: u32,
}

/// Evaluation pod: the rendering plus the dataset; its router runs the examples and finishes.
#[must_use]
pub fn evaluation(
    owner: &Owner,
    revision: &Revision,
    placement: &Placement,
    defaults: &Defaults,
    on: Evaluation<'_>,
) -> Pod {
    let mut spec = spec(
        owner,
        revision,
        placement,
        "Evaluation",
        &defaults.candidate_priority_class,
    );
    bind(&mut spec, on.node);
    spec.restart_policy = Some("Never".to_owned());
    let digest = on.dataset.split_once('@').map_or("", |(_, digest)| digest);
    add_dataset(&mut spec, on.dataset, digest, on.ready_seconds);
    let hash = revision.hash();
    let mut ours = labels([
        (names::LABEL_MODEL, &owner.name),
        (names::LABEL_ROLE, role::EVALUATION),
        (names::LABEL_REVISION, &hash),
    ]);
    if !on.rollout.is_empty() {
        ours.insert(names::LABEL_ROLLOUT.to_owned(), on.rollout.to_owned());
    }
    pod(
        owner,
        revision,
        name::evaluation(&owner.name, &hash, digest, on.node_uid),
        ours,
        spec,
    )
}

fn add_dataset(spec: &mut PodSpec, image: &str, digest: &str, ready_seconds: u32) {
    spec.volumes
        .get_or_insert_default()
        .push(image_volume("dataset", image));
    for router in &mut spec.containers {
        router.args = Some(vec!["evaluate".to_owned()]);
        // It serves nothing: the kubelet asks it nothing.
        router.readiness_probe = None;
        router.liveness_probe = None;
        router
            .volume_mounts
            .get_or_insert_default()
            .push(mount("dataset", "/dataset", true));
        router.env.get_or_insert_default().extend([
            value("SMALLFLEET_DATASET_DIR", "/dataset"),
            value("SMALLFLEET_DATASET_DIGEST", digest),
            value(
                "SMALLFLEET_CANDIDATE_READY_SECONDS",
                &ready_seconds.to_string(),
            ),
        ]);
    }
}

fn pod(
    owner: &Owner,
    revision: &Revision,
    name: String,
    ours: BTreeMap<String, String>,
    spec: PodSpec,
) -> Pod {
    let mut metadata = owner.metadata(name, with_ours(&revision.runtime.pod_metadata.labels, ours));
    metadata.annotations = Some(annotations(revision));
    Pod {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

/// The user's labels, ours on top.
pub(super) fn with_ours(
    users: &BTreeMap<String, String>,
    ours: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = users.clone();
    all.extend(ours);
    all
}

/// The user's annotations, and the container that `kubectl logs` and `exec` mean.
pub(super) fn annotations(revision: &Revision) -> BTreeMap<String, String> {
    let ours = labels([("kubectl.kubernetes.io/default-container", container::ROUTER)]);
    with_ours(&revision.runtime.pod_metadata.annotations, ours)
}

/// Spec shared by all roles.
pub(super) fn spec(
    owner: &Owner,
    revision: &Revision,
    placement: &Placement,
    role: &str,
    priority_class: &str,
) -> PodSpec {
    let runtime = &revision.runtime;
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: Some(runtime.service_account_name.clone()),
        priority_class_name: Some(priority_class.to_owned()).filter(|class| !class.is_empty()),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(i64::from(
            runtime.max_request_seconds + GRACE_SECONDS,
        )),
        image_pull_secrets: none_if_empty(
            runtime
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect(),
        ),
        node_selector: Some(placement.node_selector.clone())
            .filter(|selector| !selector.is_empty()),
        affinity: affinity(&placement.required_node_affinity),
        tolerations: none_if_empty(placement.tolerations.clone()),
        init_containers: Some(vec![engine(owner, revision)]),
        containers: vec![router(owner, revision, role)],
        volumes: Some(volumes(owner, revision)),
        ..PodSpec::default()
    }
}

fn none_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn affinity(terms: &[NodeSelectorTerm]) -> Option<Affinity> {
    if terms.is_empty() {
        return None;
    }
    Some(required(terms.to_vec()))
}

fn required(terms: Vec<NodeSelectorTerm>) -> Affinity {
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: terms,
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Binds a pod to one node through the scheduler: the node's name, ANDed into every term, because terms are alternatives.
fn bind(spec: &mut PodSpec, node: &str) {
    let on_node = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let mut terms = spec
        .affinity
        .take()
        .and_then(|affinity| affinity.node_affinity)
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution)
        .map_or_else(
            || vec![NodeSelectorTerm::default()],
            |selector| selector.node_selector_terms,
        );
    for term in &mut terms {
        term.match_fields
            .get_or_insert_default()
            .push(on_node.clone());
    }
    spec.affinity = Some(required(terms));
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

/// The engine is a native sidecar: the kubelet stops it only after the router has drained.
fn engine(owner: &Owner, revision: &Revision) -> Container {
    let runtime = &revision.runtime;
    let mut env = shared_env(owner, revision);
    env.extend([
        value("SMALLFLEET_MODEL_DIR", "/model"),
        value("SMALLFLEET_TASK", task_name(revision.task)),
        value("SMALLFLEET_THREADS", &revision.threads().to_string()),
        value(
            "SMALLFLEET_ENGINE_LISTEN",
            &format!("0.0.0.0:{}", port::ENGINE),
        ),
    ]);
    env.extend(
        runtime
            .env
            .iter()
            .map(|variable| value(&variable.name, &variable.value)),
    );
    Container {
        name: container::ENGINE.to_owned(),
        image: Some(runtime.image.clone()),
        args: Some(vec!["engine".to_owned()]),
        restart_policy: Some("Always".to_owned()),
        env: Some(env),
        ports: Some(vec![container_port("engine", port::ENGINE)]),
        resources: Some(engine_resources(revision)),
        readiness_probe: Some(probe("/readyz", port::ENGINE, "HTTPS", 2, 2)),
        liveness_probe: Some(probe("/healthz", port::ENGINE, "HTTPS", 10, 3)),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![
            mount("model", "/model", true),
            mount("run", "/run/smallfleet", false),
        ]),
        ..Container::default()
    }
}

fn router(owner: &Owner, revision: &Revision, role: &str) -> Container {
    let mut env = shared_env(owner, revision);
    env.extend([
        value("SMALLFLEET_ROLE", role),
        value("SMALLFLEET_SESSION_DIR", "/etc/smallfleet/session"),
        value("SMALLFLEET_TOKEN_FILE", "/var/run/secrets/smallfleet/token"),
        value(
            "SMALLFLEET_FRONT_LISTEN",
            &format!("0.0.0.0:{}", port::FRONT),
        ),
        value(
            "SMALLFLEET_ADMIN_LISTEN",
            &format!("0.0.0.0:{}", port::ADMIN),
        ),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_UID", "metadata.uid"),
        field("POD_IP", "status.podIP"),
        field("NODE_NAME", "spec.nodeName"),
    ]);
    Container {
        name: container::ROUTER.to_owned(),
        image: Some(revision.runtime.image.clone()),
        args: Some(vec!["router".to_owned()]),
        env: Some(env),
        ports: Some(vec![
            container_port("front", port::FRONT),
            container_port("admin", port::ADMIN),
        ]),
        resources: Some(resources(
            &[("cpu", "50m"), ("memory", "64Mi")],
            &[("memory", "192Mi")],
        )),
        readiness_probe: Some(probe("/readyz", port::ADMIN, "HTTP", 2, 2)),
        liveness_probe: Some(probe("/healthz", port::ADMIN, "HTTP", 10, 3)),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![
            mount("run", "/run/smallfleet", false),
            mount("session", "/etc/smallfleet/session", true),
            mount("token", "/var/run/secrets/smallfleet", true),
        ]),
        ..Container::default()
    }
}

fn shared_env(owner: &Owner, revision: &Revision) -> Vec<EnvVar> {
    let runtime = &revision.runtime;
    vec![
        value("SMALLFLEET_MODEL_NAME", &owner.name),
        value("SMALLFLEET_REVISION", &revision.hash()),
        value("SMALLFLEET_RUN_DIR", "/run/smallfleet"),
        value(
            "SMALLFLEET_MAX_CONCURRENT_REQUESTS",
            &runtime.max_concurrent_requests.to_string(),
        ),
        value(
            "SMALLFLEET_MAX_QUEUED_REQUESTS",
            &runtime.max_queued_requests.to_string(),
        ),
        value(
            "SMALLFLEET_MAX_REQUEST_SECONDS",
            &runtime.max_request_seconds.to_string(),
        ),
    ]
}

const fn task_name(task: Task) -> &'static str {
    match task {
        Task::TextClassification => "TextClassification",
        Task::TextGeneration => "TextGeneration",
    }
}

fn engine_resources(revision: &Revision) -> ResourceRequirements {
    let wanted = &revision.runtime.resources;
    let mut limits = vec![("memory", wanted.requests.memory.as_str())];
    if !wanted.limits.cpu.is_empty() {
        limits.push(("cpu", &wanted.limits.cpu));
    }
    resources(
        &[
            ("cpu", &wanted.requests.cpu),
            ("memory", &wanted.requests.memory),
        ],
        &limits,
    )
}

fn resources(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
            .collect()
    };
    ResourceRequirements {
        requests: Some(quantities(requests)),
        limits: Some(quantities(limits)),
        claims: None,
    }
}

fn volumes(owner: &Owner, revision: &Revision) -> Vec<Volume> {
    vec![
        image_volume("model", &revision.model.image),
        Volume {
            name: "run".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Quantity("1Mi".to_owned())),
            }),
            ..Volume::default()
        },
        Volume {
            name: "session".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name::session_config(&owner.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        token_volume(),
    ]
}

fn token_volume() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(TOKEN_AUDIENCE.to_owned()),
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".to_owned(),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token]),
            default_mode: None,
        }),
        ..Volume::default()
    }
}

fn image_volume(name: &str, reference: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        image: Some(ImageVolumeSource {
            reference: Some(reference.to_owned()),
            pull_policy: Some("IfNotPresent".to_owned()),
        }),
        ..Volume::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only).filter(|read_only| *read_only),
        ..VolumeMount::default()
    }
}

fn value(name: &str, text: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(text.to_owned()),
        value_from: None,
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, number: u16, scheme: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(number)),
            scheme: Some(scheme.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
