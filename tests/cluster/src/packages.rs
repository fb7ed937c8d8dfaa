//! Debian packages that the cluster needs: installed where absent, and their versions recorded.

use std::process::Command;

use crate::command::{on_path, output};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Something that must be there, and the Debian package that brings it.
struct Need {
    package: &'static str,
    there: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        package: "runc",
        there: || on_path("runc"),
    },
    Need {
        package: "containernetworking-plugins",
        there: || cni_folder().is_some(),
    },
    Need {
        package: "nftables",
        there: || on_path("nft"),
    },
    Need {
        package: "iptables",
        there: || on_path("iptables"),
    },
    Need {
        package: "iproute2",
        there: || on_path("ip"),
    },
    Need {
        package: "conntrack",
        there: || on_path("conntrack"),
    },
    Need {
        package: "util-linux",
        there: || on_path("nsenter") && on_path("unshare"),
    },
    Need {
        package: "curl",
        there: || on_path("curl"),
    },
    Need {
        package: "openssl",
        there: || on_path("openssl"),
    },
    Need {
        package: "busybox-static",
        there: busybox_is_static,
    },
];

/// Installs what is missing. Says nothing and does nothing where everything is there already.
pub fn ensure(progress: &Progress) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        return Err(Error::Machine(format!(
            "not a Debian machine; install what these packages bring: {}",
            missing.join(" ")
        )));
    }
    progress.say(format!("installing Debian packages: {}", missing.join(" ")));
    install(&missing)
}

fn missing() -> Vec<&'static str> {
    let absent = NEEDS.iter().filter(|need| !(need.there)());
    absent.map(|need| need.package).collect()
}

/// Refreshes the package lists and installs: lists that are older than a point release name files
/// that are gone.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    output(apt_get().arg("update"))?;
    output(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )?;
    Ok(())
}

pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "--quiet"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `package version` of each package that is installed as one; programs from elsewhere are not listed.
pub fn versions() -> Vec<String> {
    let names = NEEDS.iter().map(|need| need.package);
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat", "${Package} ${Version}\n"])
        .args(names);
    // dpkg-query fails when one of them is absent, and still prints the others.
    let listed = query.output().map(|done| done.stdout).unwrap_or_default();
    String::from_utf8_lossy(&listed)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Folder of the CNI plugins: Debian's, or the one of the upstream archive.
pub(crate) fn cni_folder() -> Option<&'static str> {
    let has = |folder: &&str| std::path::Path::new(folder).join("ptp").is_file();
    ["/usr/lib/cni", "/opt/cni/bin"].into_iter().find(has)
}

/// The plain busybox package is dynamically linked and would not run in an image of its own.
fn busybox_is_static() -> bool {
    std::fs::read("/bin/busybox").is_ok_and(|elf| !has_interpreter(&elf))
}

/// Whether a 64-bit little-endian ELF file names a program interpreter (PT_INTERP).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at + size)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let headers = || -> Option<bool> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let kind = |index: u64| number(usize::try_from(start + index * size).ok()?, 4);
        Some((0..count).any(|index| kind(index) == Some(u64::from(PT_INTERP))))
    };
    headers().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        assert!(has_interpreter(&std::fs::read("/bin/sh").unwrap()));
        assert!(has_interpreter(b"not an ELF file"));
    }
}
