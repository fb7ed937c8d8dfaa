//! The kubelet and the kube-proxy of a node.

use serde_json::{Value, json};

use crate::address::{BRIDGE_ADDRESS, CLUSTER_DOMAIN, NodeId};
use crate::certs;
use crate::cgroups;
use crate::error::Result;
use crate::host::{Cgroups, Host};
use crate::kubeconfig;
use crate::layout::{Layout, write_file};
use crate::process::Launch;

pub(crate) fn kubelet_name(node: NodeId) -> String {
    format!("{node}-kubelet")
}

pub(crate) fn proxy_name(node: NodeId) -> String {
    format!("{node}-kube-proxy")
}

pub(crate) fn kubelet(layout: &Layout, host: &Host, node: NodeId, holder: i32) -> Result<Launch> {
    let name = kubelet_name(node);
    let config = layout.config(&format!("{name}.json"));
    write_file(
        &config,
        format!("{:#}\n", kubelet_config(layout, host, node)),
    )?;
    let kubeconfig = kubeconfig::write_for(layout, &certs::node_certificate(node))?;
    let args = [
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={node}"),
        format!("--node-ip={}", node.address()),
    ];
    Ok(Launch::new(name, layout.program("kubelet"))
        .args(args)
        .inside(holder))
}

fn kubelet_config(layout: &Layout, host: &Host, node: NodeId) -> Value {
    let files = certs::files(layout, &certs::node_certificate(node));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": certs::files(layout, certs::CA).certificate},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": files.certificate,
        "tlsPrivateKeyFile": files.key,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::kubelet_root(node),
        "failCgroupV1": matches!(host.cgroups, Cgroups::V2 { .. }),
        "clusterDNS": [BRIDGE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "",
        "failSwapOn": false,
        // Lowering it takes CAP_SYS_RESOURCE, and nothing here needs the kubelet to outlive the others.
        "oomScoreAdj": 0,
        // The disk is shared with the machine: its fill level says nothing about this node, and
        // collecting images would take those that a test is about to use.
        "evictionHard": {"memory.available": "64Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": false,
        // Tests of crashing containers wait for restarts; five minutes is the usual limit.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        // Renewed every 2 s, so that the short grace period of the controller manager is safe.
        "nodeLeaseDurationSeconds": 8,
        "registerNode": true,
    })
}

pub(crate) fn kube_proxy(layout: &Layout, node: NodeId, holder: i32) -> Result<Launch> {
    let name = proxy_name(node);
    let config = layout.config(&format!("{name}.json"));
    let kubeconfig = kubeconfig::write_for(layout, "kube-proxy")?;
    let text = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node.to_string(),
        "mode": "nftables",
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": node.pod_network(),
        "oomScoreAdj": 0,
        // The sizes of the connection table belong to the machine and cannot be set from a namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    });
    write_file(&config, format!("{text:#}\n"))?;
    let args = [format!("--config={}", config.display())];
    Ok(Launch::new(name, layout.program("kube-proxy"))
        .args(args)
        .inside(holder))
}
