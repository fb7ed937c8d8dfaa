//! The images of this project, and images of any folder.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::containerd::PAUSE_IMAGE;
use crate::debian;
use crate::error::{Error, IoContext, Result};
use crate::layout::{Layout, write_file};
use crate::oci::{self, Image, ImageConfig, Layer, Modes};
use crate::onnxruntime;
use crate::progress::Progress;

/// User and group of everything that we ship.
const NONROOT: &str = "65532:65532";
/// Where our programs lie in their images.
const PROGRAMS: &str = "usr/local/bin";

/// A program of ours that has an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Operator,
    Runtime,
    /// The load program of the demo and the suite.
    Load,
}

impl Product {
    /// Name of the binary, and of the image under `smallfleet/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "smallfleet-operator",
            Self::Runtime => "smallfleet-runtime",
            Self::Load => "smallfleet-load",
        }
    }
}

/// The image of the operator or the runtime: a base of Debian packages, for the runtime the ONNX Runtime
/// library, and the binary as the entry point. Written to `out` as an OCI layout folder.
pub fn product(
    layout: &Layout,
    product: Product,
    binary: &Path,
    out: &Path,
    progress: &Progress,
) -> Result<Image> {
    if !binary.is_file() {
        let path = binary.display();
        return Err(Error::Image(format!(
            "{path} is not there: run `make build` first"
        )));
    }
    let base = debian::base(layout, progress)?;
    let mut config = ImageConfig {
        entrypoint: vec![format!("/{PROGRAMS}/{}", product.name())],
        environment: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
        user: NONROOT.to_owned(),
        labels: labels(product.name(), &base.packages),
        ..ImageConfig::default()
    };
    let mut layers = vec![Layer::of_folder(&base.root, Modes::Kept)];
    let engine = staging()?;
    if product == Product::Runtime {
        onnxruntime::place_under(engine.path(), layout, progress)?;
        layers.push(Layer::of_folder(engine.path(), Modes::Normal));
        let library = format!("/{}", onnxruntime::library_in_image());
        config
            .environment
            .push(("ORT_DYLIB_PATH".to_owned(), library));
    }
    let own = staging()?;
    place(
        binary,
        own.path(),
        &format!("{PROGRAMS}/{}", product.name()),
    )?;
    layers.push(Layer::of_folder(own.path(), Modes::Normal));
    oci::write_image(out, &layers, &config, None)
}

fn labels(title: &str, packages: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "org.opencontainers.image.title".to_owned(),
            title.to_owned(),
        ),
        (
            "org.opencontainers.image.licenses".to_owned(),
            "Apache-2.0".to_owned(),
        ),
        (debian::PACKAGES_LABEL.to_owned(), packages.to_owned()),
    ])
}

/// An image of nothing but a folder's files: models and data sets, mounted as image volumes.
pub fn pack(folder: &Path, out: &Path) -> Result<Image> {
    if !folder.is_dir() {
        return Err(Error::Image(format!(
            "{} is not a folder",
            folder.display()
        )));
    }
    let layer = Layer::of_folder(folder, Modes::Normal);
    oci::write_image(out, &[layer], &ImageConfig::default(), None)
}

/// A shell and the usual tools (busybox), for pods of tests.
pub fn toolbox(out: &Path) -> Result<Image> {
    let root = staging()?;
    place(Path::new("/bin/busybox"), root.path(), "bin/busybox")?;
    let listed = crate::command::output(std::process::Command::new("/bin/busybox").arg("--list"))?;
    for applet in listed.lines().filter(|name| *name != "busybox") {
        let link = root.path().join("bin").join(applet);
        std::os::unix::fs::symlink("busybox", &link).at("link", &link)?;
    }
    write_file(&root.path().join("etc/passwd"), debian::PASSWD)?;
    write_file(&root.path().join("etc/group"), debian::GROUP)?;
    make_tmp(root.path())?;
    let config = ImageConfig {
        command: vec!["/bin/sh".to_owned()],
        environment: vec![("PATH".to_owned(), "/bin".to_owned())],
        user: NONROOT.to_owned(),
        ..ImageConfig::default()
    };
    let layer = Layer::of_folder(root.path(), Modes::Normal);
    oci::write_image(out, &[layer], &config, None)
}

/// The image of every pod's sandbox, as an archive to import.
pub(crate) fn pause_archive(layout: &Layout) -> Result<PathBuf> {
    let root = staging()?;
    place(&layout.program("pause"), root.path(), "pause")?;
    let config = ImageConfig {
        entrypoint: vec!["/pause".to_owned()],
        user: "65535:65535".to_owned(),
        ..ImageConfig::default()
    };
    let layer = Layer::of_folder(root.path(), Modes::Normal);
    let out = staging()?;
    let image = oci::write_image(
        &out.path().join("pause"),
        &[layer],
        &config,
        Some(PAUSE_IMAGE),
    )?;
    let archive = layout.config("pause.tar");
    write_file(&archive, "")?;
    oci::write_archive(&image, &archive)?;
    Ok(archive)
}

fn staging() -> Result<tempfile::TempDir> {
    tempfile::tempdir().at("create a folder in", &std::env::temp_dir())
}

/// `/tmp`, for every user.
pub(crate) fn make_tmp(root: &Path) -> Result<()> {
    let tmp = root.join("tmp");
    std::fs::create_dir_all(&tmp).at("create", &tmp)?;
    let everybody = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(&tmp, everybody).at("open up", &tmp)
}

/// Copies a file to its place under a root folder.
pub(crate) fn place(file: &Path, root: &Path, inside: &str) -> Result<()> {
    let target = root.join(inside);
    let folder = target.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).at("create", folder)?;
    std::fs::copy(file, &target).at("copy", file)?;
    Ok(())
}
