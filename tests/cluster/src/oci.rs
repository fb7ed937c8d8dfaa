//! OCI images without a container engine: an image is a few JSON files and a tar per layer.
//!
//! The same content gives the same digest: entries are sorted, times are zero, owners are root, and
//! layers are not compressed (they go to a registry on the same machine).

mod layer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use layer::{Layer, Modes};

use crate::error::{Error, IoContext, Result};
use crate::layout::{remove_tree, write_file};
use crate::pins::hex;

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What a container of the image runs, and as whom.
#[derive(Debug, Clone, Default)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// `uid:gid`; root where empty.
    pub user: String,
    pub labels: BTreeMap<String, String>,
}

/// An image as an OCI layout folder.
#[derive(Debug, Clone)]
pub struct Image {
    pub folder: PathBuf,
    /// `sha256:...` of the manifest.
    pub digest: String,
}

/// A file under `blobs/`, as descriptors name it.
#[derive(Debug, Clone)]
struct Blob {
    digest: String,
    size_bytes: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size_bytes})
    }
}

/// Writes the image into `folder`, in place of what is there. `name` is what `ctr import` will call it.
pub fn write_image(
    folder: &Path,
    layers: &[Layer],
    config: &ImageConfig,
    name: Option<&str>,
) -> Result<Image> {
    require_replaceable(folder)?;
    remove_tree(folder)?;
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).at("create", &blobs)?;
    let layers = layers
        .iter()
        .map(|layer| layer.write(&blobs))
        .collect::<Result<Vec<_>>>()?;
    let config = write_json(&blobs, &config_json(config, &layers)?)?;
    let described = layers.iter().map(|layer| layer.descriptor(LAYER_TYPE));
    let manifest = write_json(
        &blobs,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": described.collect::<Vec<_>>(),
        }),
    )?;
    let mut entry = manifest.descriptor(MANIFEST_TYPE);
    if let Some(name) = name {
        entry["annotations"] = json!({"io.containerd.image.name": name});
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]});
    write_file(&folder.join("index.json"), index.to_string())?;
    write_file(
        &folder.join("oci-layout"),
        json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )?;
    Ok(Image {
        folder: folder.to_owned(),
        digest: manifest.digest,
    })
}

/// A mistyped path must not cost anybody a folder of other things.
fn require_replaceable(folder: &Path) -> Result<()> {
    let is_empty = |folder: &Path| {
        folder
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_none())
    };
    if !folder.exists() || folder.join("oci-layout").is_file() || is_empty(folder) {
        return Ok(());
    }
    Err(Error::Image(format!(
        "{} holds something else than an image",
        folder.display()
    )))
}

/// Packs an OCI layout folder into one file, for `ctr images import`.
pub fn write_archive(image: &Image, archive: &Path) -> Result<()> {
    Layer::of_folder(&image.folder, Modes::Normal).write_to(archive)
}

/// The layers are not compressed, so a layer's digest is that of its content (`diff_id`) too.
fn config_json(config: &ImageConfig, layers: &[Blob]) -> Result<Value> {
    let ImageConfig {
        entrypoint,
        command,
        environment,
        user,
        labels,
    } = config;
    let environment: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let history: Vec<Value> = layers.iter().map(|_| json!({"created": EPOCH})).collect();
    Ok(json!({
        "created": EPOCH,
        "architecture": architecture()?,
        "os": "linux",
        "config": {
            "User": user,
            "Env": environment,
            "Entrypoint": entrypoint,
            "Cmd": command,
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }))
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// This machine's architecture by the name that images use.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(Error::Image(format!(
            "no image name for the architecture {other}"
        ))),
    }
}

fn write_json(blobs: &Path, value: &Value) -> Result<Blob> {
    let text = value.to_string();
    let digest = hex(&Sha256::digest(text.as_bytes()));
    write_file(&blobs.join(&digest), &text)?;
    Ok(Blob {
        digest: format!("sha256:{digest}"),
        size_bytes: text.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    fn model_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("model.json"), "{}").unwrap();
        fs::write(folder.path().join("sub/weights"), [7u8; 1000]).unwrap();
        folder
    }

    fn image_of(folder: &Path) -> (tempfile::TempDir, Image) {
        let out = tempfile::tempdir().unwrap();
        let layer = Layer::of_folder(folder, Modes::Normal);
        let image = write_image(
            &out.path().join("i"),
            &[layer],
            &ImageConfig::default(),
            None,
        );
        (out, image.unwrap())
    }

    #[test]
    fn the_same_content_gives_the_same_digest_whatever_its_times_and_modes() {
        let (first, second) = (model_folder(), model_folder());
        let late = SystemTime::now() + Duration::from_secs(1000);
        let file = fs::File::options()
            .write(true)
            .open(second.path().join("model.json"))
            .unwrap();
        file.set_modified(late).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(second.path().join("model.json"), private).unwrap();
        assert_eq!(
            image_of(first.path()).1.digest,
            image_of(second.path()).1.digest
        );
    }

    #[test]
    fn another_byte_gives_another_digest() {
        let (first, second) = (model_folder(), model_folder());
        fs::write(second.path().join("model.json"), "[]").unwrap();
        assert_ne!(
            image_of(first.path()).1.digest,
            image_of(second.path()).1.digest
        );
    }

    #[test]
    fn a_folder_of_other_things_is_not_replaced() {
        let (content, other) = (model_folder(), model_folder());
        let layer = Layer::of_folder(content.path(), Modes::Normal);
        let config = ImageConfig::default();
        assert!(write_image(other.path(), &[layer], &config, None).is_err());
        assert!(other.path().join("model.json").is_file());
    }

    #[test]
    fn every_descriptor_names_a_blob_of_its_size_and_digest() {
        let content = model_folder();
        let (_out, image) = image_of(content.path());
        let read = |path: &str| -> Value {
            serde_json::from_slice(&fs::read(image.folder.join(path)).unwrap()).unwrap()
        };
        let blob_path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let index = read("index.json");
        let mut described = vec![index["manifests"][0].clone()];
        let manifest = read(&blob_path(described[0]["digest"].as_str().unwrap()));
        described.push(manifest["config"].clone());
        described.extend(manifest["layers"].as_array().unwrap().clone());
        assert_eq!(described.len(), 3);
        for descriptor in described {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = fs::read(image.folder.join(blob_path(digest))).unwrap();
            assert_eq!(format!("sha256:{}", hex(&Sha256::digest(&bytes))), digest);
            assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
        }
    }
}
