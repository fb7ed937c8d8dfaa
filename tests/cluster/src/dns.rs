//! The cluster's DNS: CoreDNS as a process on the bridge address.

use crate::address::{BRIDGE_ADDRESS, CLUSTER_DOMAIN, DNS_READY, REGISTRY_HOST};
use crate::command::answers_http;
use crate::error::Result;
use crate::kubeconfig;
use crate::layout::{Layout, write_file};
use crate::process::Launch;

pub(crate) const NAME: &str = "coredns";

/// What CoreDNS may read; the default roles of the API server know nothing of it.
pub(crate) const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: system:coredns
rules:
- apiGroups: [""]
  resources: [services, pods, namespaces]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: system:coredns
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:coredns
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: system:coredns
"#;

pub(crate) fn launch(layout: &Layout) -> Result<Launch> {
    let kubeconfig = kubeconfig::write_for(layout, NAME)?;
    let corefile = layout.config("Corefile");
    write_file(&corefile, corefile_text(&kubeconfig.display().to_string()))?;
    Ok(Launch::new(NAME, layout.program(NAME)).args(["-conf".into(), corefile]))
}

/// Names outside the cluster do not exist: nothing is forwarded, and no resolver waits. A block for each,
/// since within one block CoreDNS would ask `template` before the others.
fn corefile_text(kubeconfig: &str) -> String {
    format!(
        "{CLUSTER_DOMAIN}:53 in-addr.arpa:53 {{\n\
         \tbind {BRIDGE_ADDRESS}\n\
         \terrors\n\
         \tready {DNS_READY}\n\
         \tkubernetes {{\n\
         \t\tkubeconfig {kubeconfig}\n\
         \t\tttl 5\n\
         \t}}\n\
         }}\n\
         {REGISTRY_HOST}:53 {{\n\
         \tbind {BRIDGE_ADDRESS}\n\
         \thosts {{\n\
         \t\t{BRIDGE_ADDRESS} {REGISTRY_HOST}\n\
         \t}}\n\
         }}\n\
         .:53 {{\n\
         \tbind {BRIDGE_ADDRESS}\n\
         \ttemplate ANY ANY {{\n\
         \t\trcode NXDOMAIN\n\
         \t}}\n\
         }}\n"
    )
}

pub(crate) fn is_ready() -> bool {
    answers_http(DNS_READY, "/ready")
}
