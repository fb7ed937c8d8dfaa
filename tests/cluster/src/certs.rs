//! Certificates of the cluster: one authority, made anew at every start, and its leaves.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::address::{API_SERVICE_ADDRESS, BRIDGE_ADDRESS, CLUSTER_DOMAIN, NodeId};
use crate::command::output;
use crate::error::Result;
use crate::layout::{Layout, write_file};

/// A certificate authority that is kept in memory while its leaves are made.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key_pem: String,
}

/// Whom a certificate names: for a client Kubernetes reads the user and its groups from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub user: &'a str,
    pub groups: &'a [&'a str],
}

/// Files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// File names (without ending) of the leaves, by what they are for.
pub(crate) const CA: &str = "ca";
pub(crate) const API_SERVER: &str = "kube-apiserver";
pub(crate) const API_SERVER_TO_KUBELET: &str = "kube-apiserver-kubelet-client";
pub(crate) const FRONT_PROXY_CA: &str = "front-proxy-ca";
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";
pub(crate) const ADMIN: &str = "admin";
pub(crate) const SERVICE_ACCOUNTS: &str = "service-accounts";

pub(crate) fn files(layout: &Layout, name: &str) -> Files {
    let at = |ending: &str| layout.certs().join(format!("{name}.{ending}"));
    Files {
        certificate: at("crt"),
        key: at("key"),
    }
}

/// Makes every certificate and key of a cluster with these nodes.
pub(crate) fn make_all(layout: &Layout, nodes: impl Iterator<Item = NodeId>) -> Result<()> {
    let ca = Authority::new("smallfleet-cluster")?;
    ca.save(layout, CA)?;
    let sans = api_server_names();
    ca.server(
        layout,
        API_SERVER,
        Subject {
            user: API_SERVER,
            groups: &[],
        },
        &sans,
    )?;
    for (name, user, groups) in CLIENTS {
        ca.client(layout, name, Subject { user, groups })?;
    }
    for node in nodes {
        let name = node_certificate(node);
        let user = format!("system:node:{node}");
        let subject = Subject {
            user: &user,
            groups: &["system:nodes"],
        };
        ca.node(layout, &name, subject, &[node.to_string(), node.address()])?;
    }
    let front_proxy = Authority::new("smallfleet-front-proxy")?;
    front_proxy.save(layout, FRONT_PROXY_CA)?;
    front_proxy.client(
        layout,
        FRONT_PROXY,
        Subject {
            user: FRONT_PROXY,
            groups: &[],
        },
    )?;
    make_service_account_key(layout)
}

/// (file, user, groups) of the clients that the API server's default roles know.
const CLIENTS: &[(&str, &str, &[&str])] = &[
    (ADMIN, "admin", &["system:masters"]),
    (
        API_SERVER_TO_KUBELET,
        API_SERVER_TO_KUBELET,
        &["system:masters"],
    ),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        &[],
    ),
    ("kube-scheduler", "system:kube-scheduler", &[]),
    ("kube-proxy", "system:kube-proxy", &["system:node-proxier"]),
    ("coredns", "system:coredns", &[]),
];

/// Name of a node's certificate, which serves the kubelet and is its client certificate as well.
pub(crate) fn node_certificate(node: NodeId) -> String {
    format!("{node}-kubelet")
}

/// Every name and address by which the API server is called.
fn api_server_names() -> Vec<String> {
    let in_cluster = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = in_cluster.iter().map(|&name| name.to_owned()).collect();
    names.push(format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"));
    names.extend(
        [
            "localhost",
            "127.0.0.1",
            BRIDGE_ADDRESS,
            API_SERVICE_ADDRESS,
        ]
        .map(str::to_owned),
    );
    names
}

/// RSA, although everything else is elliptic: most clusters sign service account tokens with RS256, and
/// whoever verifies these tokens should meet the usual case here.
fn make_service_account_key(layout: &Layout) -> Result<()> {
    let key = files(layout, SERVICE_ACCOUNTS).key;
    let mut openssl = Command::new("openssl");
    openssl.args([
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
    ]);
    output(openssl.arg(&key))?;
    Ok(())
}

impl Authority {
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(Subject {
            user: name,
            groups: &[],
        });
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let (pem, key_pem) = (params.self_signed(&key)?.pem(), key.serialize_pem());
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
            key_pem,
        })
    }

    fn save(&self, layout: &Layout, name: &str) -> Result<()> {
        let files = files(layout, name);
        write_file(&files.certificate, &self.pem)?;
        write_file(&files.key, &self.key_pem)
    }

    fn server(
        &self,
        layout: &Layout,
        name: &str,
        subject: Subject<'_>,
        sans: &[String],
    ) -> Result<()> {
        let params = leaf(subject, sans, vec![ExtendedKeyUsagePurpose::ServerAuth])?;
        self.issue(layout, name, &params)
    }

    fn client(&self, layout: &Layout, name: &str, subject: Subject<'_>) -> Result<()> {
        let params = leaf(subject, &[], vec![ExtendedKeyUsagePurpose::ClientAuth])?;
        self.issue(layout, name, &params)
    }

    /// A kubelet serves (exec, logs) and is a client of the API server.
    fn node(
        &self,
        layout: &Layout,
        name: &str,
        subject: Subject<'_>,
        sans: &[String],
    ) -> Result<()> {
        let both = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(layout, name, &leaf(subject, sans, both)?)
    }

    fn issue(&self, layout: &Layout, name: &str, params: &CertificateParams) -> Result<()> {
        let key = KeyPair::generate()?;
        let files = files(layout, name);
        write_file(
            &files.certificate,
            params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        write_file(&files.key, key.serialize_pem())
    }
}

fn leaf(
    subject: Subject<'_>,
    sans: &[String],
    usages: Vec<ExtendedKeyUsagePurpose>,
) -> Result<CertificateParams> {
    // Names that parse as addresses become address entries.
    let mut params = CertificateParams::new(sans.to_vec())?;
    params.distinguished_name = distinguished_name(subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn distinguished_name(subject: Subject<'_>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // rcgen keeps one value per type, so a subject has at most one group here.
    assert!(
        subject.groups.len() <= 1,
        "a subject of this cluster has at most one group"
    );
    for group in subject.groups {
        name.push(DnType::OrganizationName, *group);
    }
    name.push(DnType::CommonName, subject.user);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::SanType;

    #[test]
    fn the_api_server_is_named_by_service_and_by_address() {
        let names = api_server_names();
        let params = leaf(
            Subject {
                user: "x",
                groups: &[],
            },
            &names,
            Vec::new(),
        )
        .unwrap();
        let has = |wanted: &str| {
            params.subject_alt_names.iter().any(|san| match san {
                SanType::DnsName(name) => name.as_str() == wanted,
                SanType::IpAddress(address) => address.to_string() == wanted,
                _ => false,
            })
        };
        let wanted = [
            "kubernetes.default.svc",
            "198.18.0.1",
            "198.19.0.1",
            "localhost",
        ];
        assert!(
            wanted.into_iter().all(has),
            "{:?}",
            params.subject_alt_names
        );
    }

    #[test]
    fn a_node_is_in_the_group_of_nodes() {
        let subject = Subject {
            user: "system:node:node-1",
            groups: &["system:nodes"],
        };
        let name = distinguished_name(subject);
        let value = |of: DnType| name.get(&of).cloned();
        assert_eq!(value(DnType::OrganizationName), Some("system:nodes".into()));
        assert_eq!(value(DnType::CommonName), Some("system:node:node-1".into()));
    }

    #[test]
    fn openssl_accepts_the_chain_of_every_leaf() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::under(folder.path());
        make_all(&layout, NodeId::first(2)).unwrap();
        let ca = files(&layout, CA).certificate;
        for name in [API_SERVER, ADMIN, "kube-proxy", "node-2-kubelet"] {
            let mut verify = Command::new("openssl");
            verify.args(["verify", "-CAfile"]).arg(&ca);
            output(verify.arg(files(&layout, name).certificate)).unwrap();
        }
        assert!(files(&layout, SERVICE_ACCOUNTS).key.is_file());
    }
}
