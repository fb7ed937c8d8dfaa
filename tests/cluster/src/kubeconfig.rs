//! Kubeconfig files: who a component is to the API server.

use serde_json::json;

use crate::address::API_SERVER;
use crate::certs;
use crate::error::Result;
use crate::layout::{Layout, write_file};
use std::path::{Path, PathBuf};

/// Writes the kubeconfig of the client whose certificate has this name, and returns its path.
pub(crate) fn write_for(layout: &Layout, certificate: &str) -> Result<PathBuf> {
    let path = layout.config(&format!("{certificate}.kubeconfig"));
    write(layout, certificate, &path)?;
    Ok(path)
}

/// The administrator's, which people and tests use.
pub(crate) fn write_admin(layout: &Layout) -> Result<()> {
    write(layout, certs::ADMIN, &layout.kubeconfig())
}

fn write(layout: &Layout, certificate: &str, path: &Path) -> Result<()> {
    let client = certs::files(layout, certificate);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "smallfleet",
        "contexts": [{"name": "smallfleet", "context": {"cluster": "smallfleet", "user": certificate}}],
        "clusters": [{"name": "smallfleet", "cluster": {
            "server": format!("https://{API_SERVER}"),
            "certificate-authority": certs::files(layout, certs::CA).certificate,
        }}],
        "users": [{"name": certificate, "user": {
            "client-certificate": client.certificate,
            "client-key": client.key,
        }}],
    });
    write_file(path, format!("{config:#}\n"))
}
