//! The ONNX Runtime library, out of its PyPI wheel, for the image of the runtime and for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::command::output;
use crate::error::{Error, IoContext, Result};
use crate::images::place;
use crate::layout::{Layout, remove_tree};
use crate::pins::{self, ONNXRUNTIME_VERSION, hex};
use crate::progress::Progress;
use crate::toolchain::pip;

/// Where the licences lie in an image.
const LICENSES: &str = "usr/share/doc/onnxruntime";

/// Path of the library in the image, without the leading slash.
pub(crate) fn library_in_image() -> String {
    format!("usr/local/lib/libonnxruntime.so.{ONNXRUNTIME_VERSION}")
}

/// The library on this machine, fetched where it is absent: the unpacked wheel lies in the cache as
/// `onnxruntime-<version>/`.
pub fn library(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let folder = layout
        .cache()
        .join(format!("onnxruntime-{ONNXRUNTIME_VERSION}"));
    let library = library_in_wheel(&folder);
    if !library.is_file() {
        progress.say(format!(
            "taking onnxruntime {ONNXRUNTIME_VERSION} from PyPI"
        ));
        let work = layout.scratch()?;
        let (wheel, unpacked) = (download(work.path())?, work.path().join("unpacked"));
        let mut unzip = Command::new("python3");
        output(
            unzip
                .args(["-m", "zipfile", "-e"])
                .arg(wheel)
                .arg(&unpacked),
        )?;
        require_pinned(&library_in_wheel(&unpacked))?;
        remove_tree(&folder)?;
        std::fs::rename(&unpacked, &folder).at("rename", &unpacked)?;
    }
    require_pinned(&library)?;
    Ok(library)
}

fn library_in_wheel(folder: &Path) -> PathBuf {
    folder.join(format!(
        "onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME_VERSION}"
    ))
}

/// Lays the library and its licences out under `root` as they lie in an image.
pub(crate) fn place_under(root: &Path, layout: &Layout, progress: &Progress) -> Result<()> {
    let library = library(layout, progress)?;
    place(&library, root, &library_in_image())?;
    let package = library
        .ancestors()
        .nth(2)
        .expect("the library lies two folders into its package");
    for license in ["LICENSE", "ThirdPartyNotices.txt"] {
        place(
            &package.join(license),
            root,
            &format!("{LICENSES}/{license}"),
        )?;
    }
    Ok(())
}

/// The library is the same file in the wheel of every Python version; one of them is named, so that the
/// machine's own Python does not matter.
fn download(folder: &Path) -> Result<PathBuf> {
    let platform = format!("manylinux_2_28_{}", std::env::consts::ARCH);
    let mut download = pip()?;
    download.args([
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        "311",
    ]);
    download
        .args(["--platform", &platform, "--dest"])
        .arg(folder);
    output(download.arg(format!("onnxruntime=={ONNXRUNTIME_VERSION}")))?;
    let entries = std::fs::read_dir(folder).at("list", folder)?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let wheel = paths.find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    wheel.ok_or_else(|| Error::Image("pip brought no wheel of onnxruntime".to_owned()))
}

fn require_pinned(library: &Path) -> Result<()> {
    let pinned = pins::onnxruntime_sha256(std::env::consts::ARCH).ok_or_else(|| {
        Error::Image(format!(
            "no ONNX Runtime is pinned for {}",
            std::env::consts::ARCH
        ))
    })?;
    let found = hex(&Sha256::digest(std::fs::read(library).at("read", library)?));
    if found == pinned {
        return Ok(());
    }
    let what = library.display().to_string();
    Err(Error::WrongHash {
        what,
        found,
        pinned: pinned.to_owned(),
    })
}
