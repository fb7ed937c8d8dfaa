//! The image registry: `crane registry serve` on the bridge address, over plain HTTP.

use std::path::Path;
use std::process::Command;

use crate::address::{REGISTRY, REGISTRY_ADDRESS};
use crate::command::{answers_http, output};
use crate::error::{Error, IoContext, Result};
use crate::layout::{Layout, write_file};
use crate::oci::MANIFEST_TYPE;
use crate::process::Launch;

pub(crate) const NAME: &str = "registry";

/// An image in the registry of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// `name:tag` as given.
    pub name: String,
    /// `sha256:...` of the manifest.
    pub digest: String,
}

impl PushedImage {
    /// What a pod names: `registry.smallfleet.test:5000/name@sha256:...`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository(), self.digest)
    }

    /// `registry.smallfleet.test:5000/name:tag`.
    pub fn tagged(&self) -> String {
        format!("{REGISTRY}/{}", self.name)
    }

    /// `registry.smallfleet.test:5000/name`.
    pub fn repository(&self) -> String {
        let name = self
            .name
            .rsplit_once(':')
            .map_or(self.name.as_str(), |(name, _)| name);
        format!("{REGISTRY}/{name}")
    }
}

pub(crate) fn launch(layout: &Layout) -> Result<Launch> {
    let data = layout.registry_data();
    // crane does not make it.
    std::fs::create_dir_all(&data).at("create", &data)?;
    let serve = ["registry", "serve", "--address", REGISTRY_ADDRESS, "--disk"];
    Ok(Launch::new(NAME, layout.program("crane"))
        .args(serve)
        .args([data]))
}

pub(crate) fn is_ready() -> bool {
    answers_http(REGISTRY_ADDRESS, "/v2/")
}

/// Pushes an OCI layout folder as `name:tag` and returns what it is called by digest.
pub(crate) fn push(layout: &Layout, image: &Path, name: &str) -> Result<PushedImage> {
    if name.contains('@') || name.starts_with('/') || !name.contains(':') {
        return Err(Error::Image(format!(
            "{name}: an image is pushed as name:tag"
        )));
    }
    let mut push = Command::new(layout.program("crane"));
    push.args(["push", "--insecure"])
        .arg(image)
        .arg(format!("{REGISTRY_ADDRESS}/{name}"));
    let said = output(&mut push)?;
    let digest = said
        .trim()
        .rsplit_once('@')
        .map(|(_, digest)| digest.to_owned());
    let digest = digest.ok_or_else(|| Error::Image(format!("crane push said {said:?}")))?;
    keep(layout, image, name, &digest)?;
    Ok(PushedImage {
        name: name.to_owned(),
        digest,
    })
}

/// Keeps a pushed manifest for [`restore`], in a file named after the image.
fn keep(layout: &Layout, image: &Path, name: &str, digest: &str) -> Result<()> {
    let blob = image.join("blobs").join(digest.replace(':', "/"));
    let manifest = std::fs::read(&blob).at("read", &blob)?;
    let file = layout.pushed_manifests().join(name.replace('/', "%"));
    write_file(&file, manifest)
}

/// Gives a registry that was started again the manifests that it had; its blobs are still on disk.
pub(crate) fn restore(layout: &Layout) -> Result<()> {
    let folder = layout.pushed_manifests();
    // Nothing was pushed yet.
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries {
        put(&entry.at("list", &folder)?.path())?;
    }
    Ok(())
}

fn put(manifest: &Path) -> Result<()> {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    let (name, tag) = name
        .rsplit_once(':')
        .ok_or_else(|| Error::Image(format!("{name} names no tag")))?;
    let url = format!(
        "http://{REGISTRY_ADDRESS}/v2/{}/manifests/{tag}",
        name.replace('%', "/")
    );
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--request", "PUT"])
        .args(["--header", &format!("content-type: {MANIFEST_TYPE}")])
        .arg("--data-binary")
        .arg(format!("@{}", manifest.display()))
        .arg(url);
    output(&mut curl).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_image_is_named_by_digest() {
        let image = PushedImage {
            name: "team/model:v1".to_owned(),
            digest: "sha256:ab".to_owned(),
        };
        assert_eq!(
            image.reference(),
            "registry.smallfleet.test:5000/team/model@sha256:ab"
        );
        assert_eq!(
            image.tagged(),
            "registry.smallfleet.test:5000/team/model:v1"
        );
    }
}
