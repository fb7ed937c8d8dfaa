//! Results beside the document's plots: one JSON file a table, from which the document is put together. They are committed with it,
//! so that a table can be measured again on another machine, another day.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::machine::{self, Machine};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The figures of one table.
pub trait Table: Serialize + DeserializeOwned {
    /// Name of the subcommand and of the result's file.
    const NAME: &'static str;
}

/// Figures with their circumstances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured<T> {
    pub taken_at: Timestamp,
    /// How long the measurement took.
    pub seconds: u64,
    pub commit: String,
    pub machine: Machine,
    pub data: T,
}

/// The checkout's folder of documents.
pub fn docs() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Ok(root.canonicalize().context("the checkout")?.join("docs"))
}

/// Where results and plots are kept.
pub fn folder() -> Result<PathBuf> {
    let folder = docs()?.join("benchmarks");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Measures and keeps the result.
///
/// # Errors
/// When the measurement fails or the result cannot be written.
pub async fn keep<T: Table>(measurement: impl Future<Output = Result<T>>) -> Result<()> {
    let (start, taken_at, commit) = (Instant::now(), Timestamp::now(), machine::commit());
    let data = measurement.await?;
    let measured = Measured {
        taken_at,
        seconds: start.elapsed().as_secs(),
        commit,
        machine: Machine::here(),
        data,
    };
    let path = folder()?.join(format!("{}.json", T::NAME));
    fs::write(&path, serde_json::to_vec_pretty(&measured)?)
        .with_context(|| format!("write {}", path.display()))?;
    println!("{}: {} s, {}", T::NAME, measured.seconds, path.display());
    Ok(())
}

/// The last result of a table; none where it was not measured here.
///
/// # Errors
/// When the file is of another version of this program.
pub fn load<T: Table>() -> Result<Option<Measured<T>>> {
    let path = folder()?.join(format!("{}.json", T::NAME));
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let measured = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is of another version: measure again with `make bench BENCH={}`",
            path.display(),
            T::NAME
        )
    })?;
    Ok(Some(measured))
}
