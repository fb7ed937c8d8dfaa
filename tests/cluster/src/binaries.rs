//! Builds the programs of the cluster from their pinned modules, once, into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::output;
use crate::error::{IoContext, Result};
use crate::layout::{Layout, remove_tree, write_file};
use crate::pins::{self, MODULES, Module};
use crate::progress::Progress;
use crate::toolchain;

/// Builds what is missing and returns the folder of the binaries.
///
/// Cold it takes about 12 minutes on two idle cores and 10 GB for Go's caches, which are removed at
/// the end; 0.4 GB of binaries stay. The folder gets its name only when it is complete, so an
/// interrupted build is continued and never used.
pub fn ensure(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let bin = layout.bin();
    if bin.is_dir() {
        return Ok(bin);
    }
    let go = Go::prepare(layout, progress)?;
    progress.say("building the cluster's programs from pinned Go modules (once; about 12 minutes on two cores)");
    let partial = bin.with_extension("partial");
    std::fs::create_dir_all(&partial).at("create", &partial)?;
    for module in MODULES {
        progress.say(announcement(module));
        go.build(module, &partial)?;
    }
    std::fs::rename(&partial, &bin).at("rename", &partial)?;
    progress.say(format!("built {}", bin.display()));
    go.remove_caches()?;
    Ok(bin)
}

/// `name version` of every component.
pub fn versions() -> Vec<String> {
    let named = MODULES
        .iter()
        .filter_map(|module| Some((module.name, module.version()?)));
    named
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

fn announcement(module: &Module) -> String {
    let version = module
        .version()
        .map(|v| format!(" {v}"))
        .unwrap_or_default();
    format!(
        "building {}{version} (about {})",
        module.name, module.minutes
    )
}

/// A Go toolchain with caches of its own, so that they can be removed without touching the user's.
struct Go {
    program: PathBuf,
    sources: PathBuf,
    module_cache: PathBuf,
    build_cache: PathBuf,
}

impl Go {
    fn prepare(layout: &Layout, progress: &Progress) -> Result<Self> {
        let cache = layout.cache();
        Ok(Self {
            program: toolchain::go(layout, progress)?,
            sources: cache.join(format!("go-src-{}", pins::binaries_hash())),
            module_cache: cache.join("go-mod"),
            build_cache: cache.join("go-build"),
        })
    }

    fn build(&self, module: &Module, bin: &Path) -> Result<()> {
        let source = self.write_source(module)?;
        for (package, name) in module.programs {
            let mut command = self.command(&source);
            command.args(["build", "-trimpath", "-ldflags", &module.linker_flags()]);
            command
                .args(["-tags", module.tags, "-o"])
                .arg(bin.join(name))
                .arg(package);
            output(&mut command)?;
        }
        for link in module.links {
            let path = bin.join(link);
            let _ = std::fs::remove_file(&path);
            std::os::unix::fs::symlink(module.programs[0].1, &path).at("link", &path)?;
        }
        Ok(())
    }

    fn write_source(&self, module: &Module) -> Result<PathBuf> {
        let folder = self.sources.join(module.name);
        let files = [
            ("go.mod", module.go_mod),
            ("go.sum", module.go_sum),
            ("main.go", module.main_go),
        ];
        for (name, text) in files.iter().filter(|(_, text)| !text.is_empty()) {
            write_file(&folder.join(name), text)?;
        }
        Ok(folder)
    }

    /// `-mod=readonly`: a module that is not in the committed go.sum fails the build.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("GOMODCACHE", &self.module_cache)
            .env("GOCACHE", &self.build_cache);
        command
    }

    fn remove_caches(&self) -> Result<()> {
        // Modules are unpacked read-only where another Go call without -modcacherw filled the cache.
        let _ = output(
            self.command(&self.sources.join("pause"))
                .args(["clean", "-modcache"]),
        );
        remove_tree(&self.module_cache)?;
        remove_tree(&self.build_cache)?;
        remove_tree(&self.sources)
    }
}
