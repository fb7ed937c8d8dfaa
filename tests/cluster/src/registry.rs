//! The image registry: `crane registry serve` on the bridge address, over plain HTTP.

use std::path::Path;
use std::process::Command;

use crate::address::{REGISTRY, REGISTRY_ADDRESS};
use crate::command::{answers_http, output};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;
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
    Ok(PushedImage {
        name: name.to_owned(),
        digest,
    })
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
