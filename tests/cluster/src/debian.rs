//! The base of our images: a few Debian packages, unpacked into a folder.
//!
//! Package files vanish from the archive at point releases, so the versions are those that the archive
//! offers when the cache is filled; they are recorded in a label of the image.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::output;
use crate::error::{Error, IoContext, Result};
use crate::images::make_tmp;
use crate::layout::{Layout, remove_tree, write_file};
use crate::packages::apt_get;
use crate::progress::Progress;

/// Label of an image: the packages of its base, as `name=version` separated by spaces.
pub const PACKAGES_LABEL: &str = "dev.smallfleet.base.packages";

/// What a Rust binary and the ONNX Runtime library (C++) need, certificates and time zones.
const PACKAGES: &[&str] = &[
    "base-files",
    "ca-certificates",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "tzdata",
];

/// Files of packages that no program reads. Copyright files stay: they are the licences.
const UNREAD: &[&str] = &[
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/gcc",
    "usr/share/gdb",
];

pub(crate) const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
    nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n";
pub(crate) const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Changed when the recipe below changes, so that an old cache is not used.
const RECIPE: &str = "2";

/// An unpacked base.
#[derive(Debug)]
pub(crate) struct Base {
    pub root: PathBuf,
    /// `name=version` of every package, separated by spaces.
    pub packages: String,
}

/// File beside the root with the packages that it was made of.
const RECORD: &str = "packages";

/// The base: from the cache where it is there, so that a later run needs no archive, else of today's package versions.
pub(crate) fn base(layout: &Layout, progress: &Progress) -> Result<Base> {
    let folder = layout.cache().join(format!("debian-base-{RECIPE}"));
    if !folder.is_dir() {
        progress.say("unpacking the base of the images from Debian's packages");
        let partial = folder.with_extension("partial");
        make(&partial).or_else(|_| {
            // Lists that are older than the archive name files that are gone, or there are none yet.
            output(apt_get().arg("update"))?;
            make(&partial)
        })?;
        std::fs::rename(&partial, &folder).at("rename", &partial)?;
    }
    let record = folder.join(RECORD);
    Ok(Base {
        root: folder.join("root"),
        packages: std::fs::read_to_string(&record).at("read", &record)?,
    })
}

fn make(folder: &Path) -> Result<()> {
    remove_tree(folder)?;
    let packages = candidates()?;
    unpack(&packages, folder)?;
    write_file(&folder.join(RECORD), packages.join(" "))
}

/// `name=version` of what the archive offers.
fn candidates() -> Result<Vec<String>> {
    let policy = output(
        Command::new("apt-cache")
            .arg("policy")
            .args(PACKAGES)
            .env("LC_ALL", "C"),
    )?;
    PACKAGES
        .iter()
        .map(|name| candidate(&policy, name))
        .collect()
}

/// The `Candidate:` line of a package in the output of `apt-cache policy`.
fn candidate(policy: &str, name: &str) -> Result<String> {
    let header = format!("{name}:");
    let mut lines = policy.lines().skip_while(|line| *line != header).skip(1);
    let mut own = lines.by_ref().take_while(|line| line.starts_with(' '));
    let version = own.find_map(|line| line.trim().strip_prefix("Candidate: "));
    match version {
        Some(version) if version != "(none)" => Ok(format!("{name}={version}")),
        _ => Err(Error::Image(format!(
            "the package archive offers no {name}"
        ))),
    }
}

fn unpack(packages: &[String], folder: &Path) -> Result<()> {
    let (downloads, root) = (folder.join("downloads"), folder.join("root"));
    std::fs::create_dir_all(&downloads).at("create", &downloads)?;
    std::fs::create_dir_all(&root).at("create", &root)?;
    output(
        apt_get()
            .arg("download")
            .args(packages)
            .current_dir(&downloads),
    )?;
    for file in sorted(&downloads)? {
        output(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&file)
                .arg(&root),
        )?;
    }
    remove_tree(&downloads)?;
    for unread in UNREAD {
        remove_tree(&root.join(unread))?;
    }
    keep_only_copyrights(&root.join("usr/share/doc"))?;
    bundle_certificates(&root)?;
    make_tmp(&root)?;
    write_file(&root.join("etc/passwd"), PASSWD)?;
    write_file(&root.join("etc/group"), GROUP)?;
    write_file(
        &root.join("etc/nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files dns\n",
    )
}

fn keep_only_copyrights(folder: &Path) -> Result<()> {
    for package in sorted(folder)?
        .into_iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
    {
        for file in sorted(&package)?
            .into_iter()
            .filter(|path| !path.ends_with("copyright"))
        {
            let removed = if file.is_dir() && !file.is_symlink() {
                std::fs::remove_dir_all(&file)
            } else {
                std::fs::remove_file(&file)
            };
            removed.at("remove", &file)?;
        }
    }
    Ok(())
}

/// What the package's install script would do: all certificates in one file, where libraries look.
fn bundle_certificates(root: &Path) -> Result<()> {
    let mut bundle = Vec::new();
    for certificate in sorted(&root.join("usr/share/ca-certificates/mozilla"))? {
        bundle.extend(std::fs::read(&certificate).at("read", &certificate)?);
    }
    write_file(&root.join("etc/ssl/certs/ca-certificates.crt"), bundle)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).at("list", folder)?;
    let paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.at("list", folder)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "libc6:\n  Installed: 2.36-9\n  Candidate: 2.36-9+deb12u14\n  Version table:\n\
        \x20    2.36-9 500\ntzdata:\n  Installed: (none)\n  Candidate: (none)\n";

    #[test]
    fn the_candidate_of_each_package_is_its_own() {
        assert_eq!(candidate(POLICY, "libc6").unwrap(), "libc6=2.36-9+deb12u14");
        assert!(candidate(POLICY, "tzdata").is_err());
        assert!(candidate(POLICY, "base-files").is_err());
    }
}
