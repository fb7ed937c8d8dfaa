use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path};

use serde::Deserialize;

use super::outcome::{Failure, Reason};

/// One bit each must fit into a termination message.
const EXAMPLES_MAX: usize = 20_000;
/// Largest files that are read.
const MANIFEST_MAX: u64 = 1024 * 1024;
const EXAMPLES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A labelled set of texts.
#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) labels: BTreeSet<String>,
    pub(super) examples: Vec<Example>,
}

/// One text and what a model should say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Example {
    pub(super) text: String,
    pub(super) label: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Manifest {
    schema_version: u32,
    task: String,
    labels: Vec<String>,
    examples: String,
    #[serde(rename = "license")]
    _license: String,
}

fn wrong(message: impl AsRef<str>) -> Failure {
    Failure::new(Reason::NoDataset, message.as_ref())
}

impl Dataset {
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let manifest = Manifest::read(dir)?;
        let file = open(dir, &manifest.examples)?;
        let labels: BTreeSet<String> = manifest.labels.into_iter().collect();
        let mut examples = Vec::new();
        for (index, line) in BufReader::new(file.take(EXAMPLES_BYTES_MAX))
            .lines()
            .enumerate()
        {
            let number = index + 1;
            if number > EXAMPLES_MAX {
                return Err(wrong(format!(
                    "{} has more than {EXAMPLES_MAX} lines; use at most 20000 examples",
                    manifest.examples
                )));
            }
            let line = line.map_err(|error| {
                wrong(format!("line {number} of {}: {error}", manifest.examples))
            })?;
            let example = Example::parse(&line, &labels);
            examples.push(
                example.map_err(|why| {
                    wrong(format!("line {number} of {}: {why}", manifest.examples))
                })?,
            );
        }
        if examples.is_empty() {
            return Err(wrong(format!(
                "{} is empty; put at least one example there",
                manifest.examples
            )));
        }
        Ok(Self { labels, examples })
    }
}

impl Example {
    fn parse(line: &str, labels: &BTreeSet<String>) -> Result<Self, String> {
        let example: Self = serde_json::from_str(line)
            .map_err(|error| format!("{error}; write {{\"text\": ..., \"label\": ...}}"))?;
        if example.text.trim().is_empty() {
            return Err("the text is empty".into());
        }
        if !labels.contains(&example.label) {
            return Err(format!(
                "label {:?} is not among the labels of dataset.json",
                example.label
            ));
        }
        Ok(example)
    }
}

impl Manifest {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        open(dir, "dataset.json")?
            .take(MANIFEST_MAX)
            .read_to_string(&mut text)
            .map_err(|error| wrong(format!("dataset.json: {error}")))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| wrong(format!("dataset.json: {error}")))?;
        if manifest.schema_version != 1 {
            return Err(wrong(format!(
                "dataset.json: schemaVersion {} is not 1",
                manifest.schema_version
            )));
        }
        if manifest.task != "TextClassification" {
            return Err(wrong(format!(
                "dataset.json: task {:?} is not TextClassification, the only one with an accuracy objective",
                manifest.task
            )));
        }
        Ok(manifest)
    }
}

/// A regular file of the dataset's own folder: opening a pipe would wait for its writer.
fn open(dir: &Path, name: &str) -> Result<File, Failure> {
    let mut parts = Path::new(name).components();
    let plain = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    if !plain {
        return Err(wrong(format!(
            "{name:?} is not the name of a file beside dataset.json"
        )));
    }
    let path = dir.join(name);
    let opened = match path.metadata() {
        Ok(metadata) if metadata.is_file() => File::open(path),
        Ok(_) => Err(std::io::Error::other("it is not a regular file")),
        Err(error) => Err(error),
    };
    opened.map_err(|error| {
        wrong(format!(
            "{name}: {error}; the dataset's image must hold it at its root"
        ))
    })
}

#[cfg(test)]
mod tests;
