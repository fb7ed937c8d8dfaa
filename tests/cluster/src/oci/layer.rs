//! One layer: a folder's files as a tar whose bytes depend on nothing but names, modes and contents.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::Blob;
use crate::error::{Error, IoContext, Result};
use crate::pins::hex;

/// In a folder with this bit everybody writes and only the owner of a file removes it.
const STICKY: u32 = 0o1000;

/// Which access bits a layer's entries get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// As they lie on the disk: for unpacked packages, whose modes are part of the package.
    Kept,
    /// 755 for folders and programs, 644 for other files, 1777 for folders like `/tmp`: a umask does not
    /// change the digest.
    Normal,
}

/// A folder that becomes the root of a layer.
#[derive(Debug, Clone)]
pub struct Layer {
    folder: PathBuf,
    modes: Modes,
}

impl Layer {
    pub fn of_folder(folder: impl Into<PathBuf>, modes: Modes) -> Self {
        Self {
            folder: folder.into(),
            modes,
        }
    }

    /// Writes the tar under its digest into `blobs`.
    pub(super) fn write(&self, blobs: &Path) -> Result<Blob> {
        let unnamed = blobs.join("unnamed");
        let (digest, size_bytes) = self.write_hashed(&unnamed)?;
        std::fs::rename(&unnamed, blobs.join(&digest)).at("rename", &unnamed)?;
        Ok(Blob {
            digest: format!("sha256:{digest}"),
            size_bytes,
        })
    }

    /// Writes the tar to a file of this name.
    pub(super) fn write_to(&self, file: &Path) -> Result<()> {
        self.write_hashed(file).map(|_| ())
    }

    fn write_hashed(&self, path: &Path) -> Result<(String, u64)> {
        let file = File::create(path).at("create", path)?;
        let hashing = Hashing {
            inner: BufWriter::new(file),
            hasher: Sha256::new(),
            size_bytes: 0,
        };
        let mut tar = tar::Builder::new(hashing);
        self.append(&mut tar, Path::new(""))?;
        let mut hashing = tar.into_inner().at("write", path)?;
        hashing.flush().at("write", path)?;
        Ok((hex(&hashing.hasher.finalize()), hashing.size_bytes))
    }

    /// Appends what lies in a subfolder, in the order of names, folders before their content.
    fn append<W: Write>(&self, tar: &mut tar::Builder<W>, below: &Path) -> Result<()> {
        let folder = self.folder.join(below);
        let entries = std::fs::read_dir(&folder).at("list", &folder)?;
        let names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>();
        let mut names = names.at("list", &folder)?;
        names.sort();
        for name in names {
            let inside = below.join(name);
            let on_disk = self.folder.join(&inside);
            let metadata = std::fs::symlink_metadata(&on_disk).at("look at", &on_disk)?;
            self.append_one(tar, &inside, &on_disk, &metadata)?;
            if metadata.is_dir() {
                self.append(tar, &inside)?;
            }
        }
        Ok(())
    }

    fn append_one<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        inside: &Path,
        on_disk: &Path,
        metadata: &Metadata,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(self.mode(metadata));
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            // Folders end in a slash, or tools disagree about them.
            let name = inside.join("");
            return tar
                .append_data(&mut header, name, io::empty())
                .at("pack", on_disk);
        }
        if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = std::fs::read_link(on_disk).at("read", on_disk)?;
            return tar
                .append_link(&mut header, inside, target)
                .at("pack", on_disk);
        }
        if !metadata.is_file() {
            return Err(Error::Image(format!(
                "{}: neither file nor folder",
                on_disk.display()
            )));
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let file = File::open(on_disk).at("open", on_disk)?;
        tar.append_data(&mut header, inside, file.take(metadata.len()))
            .at("pack", on_disk)
    }

    fn mode(&self, metadata: &Metadata) -> u32 {
        let on_disk = metadata.permissions().mode() & 0o7777;
        match self.modes {
            Modes::Kept => on_disk,
            Modes::Normal if metadata.is_dir() && on_disk & STICKY != 0 => STICKY | 0o777,
            Modes::Normal if metadata.is_dir() || metadata.is_symlink() => 0o755,
            Modes::Normal if on_disk & 0o100 != 0 => 0o755,
            Modes::Normal => 0o644,
        }
    }
}

/// Passes bytes on and remembers their hash and number.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size_bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn entries_are_sorted_owned_by_root_and_without_times() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("d")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("d/link")).unwrap();
        let archive = tempfile::NamedTempFile::new().unwrap();
        Layer::of_folder(folder.path(), Modes::Normal)
            .write_to(archive.path())
            .unwrap();
        let mut tar = tar::Archive::new(File::open(archive.path()).unwrap());
        let mut seen = Vec::new();
        for entry in tar.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            seen.push(entry.path().unwrap().display().to_string());
        }
        assert_eq!(seen, ["a", "b", "c", "d/", "d/link"]);
    }

    #[test]
    fn long_names_and_executable_bits_survive() {
        let folder = tempfile::tempdir().unwrap();
        let name = "x".repeat(180);
        fs::write(folder.path().join(&name), "").unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder.path().join(&name), mode).unwrap();
        let archive = tempfile::NamedTempFile::new().unwrap();
        Layer::of_folder(folder.path(), Modes::Normal)
            .write_to(archive.path())
            .unwrap();
        let mut tar = tar::Archive::new(File::open(archive.path()).unwrap());
        let entry = tar.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().display().to_string(), name);
        assert_eq!(entry.header().mode().unwrap(), 0o755);
    }
}
