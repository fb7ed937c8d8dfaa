//! etcd, the API server, the controller manager and the scheduler: processes in the root namespace.

use crate::address::{
    API_PORT, BRIDGE_ADDRESS, CLUSTER_DOMAIN, ETCD_CLIENT, ETCD_PEER, LOOPBACK, SERVICE_NETWORK,
};
use crate::certs;
use crate::error::Result;
use crate::kubeconfig;
use crate::layout::Layout;
use crate::process::Launch;

/// Without a heartbeat for this long a node counts as gone. Short, so that tests of faults are; four
/// missed renewals of the lease (see [`crate::kubelet`]).
const NODE_GRACE: &str = "16s";
/// Pods leave a node this many seconds after it is gone, where their owner does not say otherwise.
const EVICTION_SECONDS: &str = "15";

pub(crate) const ETCD: &str = "etcd";
pub(crate) const API_SERVER: &str = "kube-apiserver";
pub(crate) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
pub(crate) const SCHEDULER: &str = "kube-scheduler";

pub(crate) fn etcd(layout: &Layout) -> Launch {
    let (client, peer) = (
        format!("http://{ETCD_CLIENT}"),
        format!("http://{ETCD_PEER}"),
    );
    Launch::new(ETCD, layout.program("etcd")).args([
        "--name=smallfleet".to_owned(),
        format!("--data-dir={}", layout.etcd_data().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=smallfleet={peer}"),
        // The data does not outlive the run folder, so nothing is gained by waiting for the disk.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ])
}

pub(crate) fn api_server(layout: &Layout) -> Launch {
    let file = |name: &str| certs::files(layout, name);
    let serving = file(certs::API_SERVER);
    let kubelet = file(certs::API_SERVER_TO_KUBELET);
    let front_proxy = file(certs::FRONT_PROXY);
    let ca = file(certs::CA).certificate;
    let accounts = file(certs::SERVICE_ACCOUNTS).key;
    let paths = [
        ("client-ca-file", &ca),
        ("tls-cert-file", &serving.certificate),
        ("tls-private-key-file", &serving.key),
        ("kubelet-certificate-authority", &ca),
        ("kubelet-client-certificate", &kubelet.certificate),
        ("kubelet-client-key", &kubelet.key),
        ("service-account-key-file", &accounts),
        ("service-account-signing-key-file", &accounts),
        (
            "requestheader-client-ca-file",
            &file(certs::FRONT_PROXY_CA).certificate,
        ),
        ("proxy-client-cert-file", &front_proxy.certificate),
        ("proxy-client-key-file", &front_proxy.key),
    ];
    let paths = paths.map(|(flag, path)| format!("--{flag}={}", path.display()));
    Launch::new(API_SERVER, layout.program(API_SERVER))
        .args(paths)
        .args(api_server_settings())
}

fn api_server_settings() -> Vec<String> {
    let settings = [
        ("advertise-address", BRIDGE_ADDRESS),
        ("bind-address", BRIDGE_ADDRESS),
        ("service-cluster-ip-range", SERVICE_NETWORK),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("allow-privileged", "true"),
        ("default-not-ready-toleration-seconds", EVICTION_SECONDS),
        ("default-unreachable-toleration-seconds", EVICTION_SECONDS),
        // Exec and logs go to the nodes' addresses: their names are known to nobody outside the API.
        ("kubelet-preferred-address-types", "InternalIP"),
        ("requestheader-allowed-names", certs::FRONT_PROXY),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        ("requestheader-group-headers", "X-Remote-Group"),
        ("requestheader-username-headers", "X-Remote-User"),
        // The root namespace has routes to pods but no kube-proxy: webhooks and aggregated APIs are
        // called at their endpoints.
        ("enable-aggregator-routing", "true"),
        // A stopped cluster leaves nobody to say goodbye to.
        ("shutdown-delay-duration", "0s"),
    ];
    let mut flags: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
    flags.push(format!("--secure-port={API_PORT}"));
    flags.push(format!("--etcd-servers=http://{ETCD_CLIENT}"));
    flags.push(format!(
        "--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}"
    ));
    flags
}

pub(crate) fn controller_manager(layout: &Layout) -> Result<Launch> {
    let kubeconfig = kubeconfig::write_for(layout, CONTROLLER_MANAGER)?
        .display()
        .to_string();
    let ca = certs::files(layout, certs::CA);
    let accounts = certs::files(layout, certs::SERVICE_ACCOUNTS).key;
    let mut flags = authenticated_by(&kubeconfig);
    flags.extend([
        format!("--root-ca-file={}", ca.certificate.display()),
        format!("--cluster-signing-cert-file={}", ca.certificate.display()),
        format!("--cluster-signing-key-file={}", ca.key.display()),
        format!("--service-account-private-key-file={}", accounts.display()),
        "--use-service-account-credentials=true".to_owned(),
        format!("--node-monitor-grace-period={NODE_GRACE}"),
        "--node-monitor-period=2s".to_owned(),
        // The usual 20 requests a second make the controllers' start take four seconds longer.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]);
    Ok(Launch::new(CONTROLLER_MANAGER, layout.program(CONTROLLER_MANAGER)).args(flags))
}

pub(crate) fn scheduler(layout: &Layout) -> Result<Launch> {
    let kubeconfig = kubeconfig::write_for(layout, SCHEDULER)?
        .display()
        .to_string();
    let flags = authenticated_by(&kubeconfig);
    Ok(Launch::new(SCHEDULER, layout.program(SCHEDULER)).args(flags))
}

/// What both have in common. There is one of each, so an election would only cost time at the start.
fn authenticated_by(kubeconfig: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={LOOPBACK}"),
        "--leader-elect=false".to_owned(),
    ]
}
