//! Results in the cache folder: one JSON file a table, from which the document is put together.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smallfleet_cluster::Layout;

use crate::machine::{self, Machine};

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

/// Where results are kept.
pub fn folder() -> Result<PathBuf> {
    let folder = Layout::from_environment()?.cache().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Measures and keeps the result.
///
/// # Errors
/// When the measurement fails or the result cannot be written.
pub async fn keep<T: Table>(measurement: impl Future<Output = Result<T>>) -> Result<()> {
    let (start, taken_at) = (Instant::now(), Timestamp::now());
    let data = measurement.await?;
    let measured = Measured {
        taken_at,
        seconds: start.elapsed().as_secs(),
        commit: machine::commit(),
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
