//! docs/benchmarks.md and its plots, put together from the results of all tables.

mod classify;
mod commit;
mod equal;
mod evidence;
mod rest;
mod rollbacks;
mod router;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::results::{self, Measured, Table};

const INTRODUCTION: &str = "# Benchmarks

Written by `make bench`, which measures everything on one machine and puts this page together; `make bench BENCH=router` measures one
table again. All figures are in `benchmarks/`, a file a table. They are of small, shared machines: compare the columns of one table, not
tables of two machines. Whatever is compared ran in turns of a few seconds or less, and a figure is the median over the turns, so a busy
moment hits both sides.

";

/// The part of the page that belongs to one table.
pub struct Section {
    pub title: &'static str,
    pub text: String,
    /// Name of the file and its content.
    pub plots: Vec<(&'static str, String)>,
}

/// What is known of one table.
struct Entry {
    section: Section,
    name: &'static str,
    /// When, of which commit, how long; none where it was not measured.
    taken: Option<(String, String, u64)>,
    machine: Option<Machine>,
}

/// Writes the page and the plots into the checkout.
///
/// # Errors
/// When a result is of another version, or a file cannot be written.
pub fn write() -> Result<()> {
    let entries = entries()?;
    let plots = results::folder()?;
    for (file, svg) in entries.iter().flat_map(|entry| &entry.section.plots) {
        fs::write(plots.join(file), svg).with_context(|| format!("write {file}"))?;
    }
    let page = results::docs()?.join("benchmarks.md");
    fs::write(&page, text(&entries))?;
    println!("{}", page.display());
    Ok(())
}

fn entries() -> Result<[Entry; 7]> {
    Ok([
        entry(
            "Rollback: from the decision to the last candidate request",
            rollbacks::section,
        )?,
        entry("Evidence: requests to a verdict", evidence::section)?,
        entry("A/A: an equal revision under swinging load", equal::section)?,
        entry("The router", router::section)?,
        entry("Classification beside Python", classify::section)?,
        entry("From a commit to serving", commit::section)?,
        entry("At rest", rest::section)?,
    ])
}

fn entry<T: Table>(title: &'static str, section: fn(&T) -> Section) -> Result<Entry> {
    let Some(measured) = results::load::<T>()? else {
        let text = format!("Not measured yet: `make bench BENCH={}`.\n", T::NAME);
        let section = Section {
            title,
            text,
            plots: Vec::new(),
        };
        return Ok(Entry {
            section,
            name: T::NAME,
            taken: None,
            machine: None,
        });
    };
    let Measured {
        taken_at,
        seconds,
        commit,
        machine,
        data,
    } = measured;
    let taken = taken_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    Ok(Entry {
        section: Section {
            title,
            ..section(&data)
        },
        name: T::NAME,
        taken: Some((taken, commit, seconds)),
        machine: Some(machine),
    })
}

fn text(entries: &[Entry]) -> String {
    let machines: BTreeSet<String> = entries.iter().filter_map(machine).collect();
    let mut text = INTRODUCTION.to_owned() + &circumstances(&machines);
    text += "| table | measured | machine | commit | took |\n|---|---|---|---|---|\n";
    for entry in entries {
        text += &match &entry.taken {
            Some((taken, commit, seconds)) => {
                let place = machines
                    .iter()
                    .position(|one| machine(entry).as_ref() == Some(one));
                let number = place.map_or(0, |place| place + 1);
                format!(
                    "| `{}` | {taken} | {number} | {commit} | {seconds} s |\n",
                    entry.name
                )
            }
            None => format!("| `{}` | not yet | | | |\n", entry.name),
        };
    }
    for Entry { section, .. } in entries {
        text += &format!("\n## {}\n\n{}", section.title, section.text);
        for (file, _) in &section.plots {
            text += &format!("\n![{}](benchmarks/{file})\n", section.title);
        }
    }
    text
}

fn machine(entry: &Entry) -> Option<String> {
    entry.machine.as_ref().map(Machine::describe)
}

/// The machines and the versions.
fn circumstances(machines: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for (number, machine) in (1..).zip(machines) {
        text += &format!("- Machine {number}: {machine}\n");
    }
    let versions = smallfleet_cluster::versions();
    let named = |line: &&String| {
        let known = ["kubernetes ", "etcd ", "containerd ", "coredns ", "runc "];
        known.iter().any(|name| line.starts_with(name))
    };
    let versions: Vec<&str> = versions.iter().filter(named).map(String::as_str).collect();
    text += &format!(
        "- Cluster: three nodes on the one machine; {}\n",
        versions.join(", ")
    );
    text += "- ONNX Runtime 1.31.1 on both sides; the models are those of `make models` (MiniLM classifiers, int8; `slow` is fp32 and padded)\n\n";
    text
}

/// Whether a goal is reached, for the last column of a table.
pub fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "**missed**" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rest::Data;

    #[test]
    fn the_committed_results_are_of_this_version() {
        entries().expect("results that can be read: measure again, or convert them");
    }

    #[test]
    fn a_table_that_was_not_measured_says_how() {
        let section = Section {
            title: "At rest",
            text: "Not measured yet.\n".to_owned(),
            plots: vec![("rest.svg", String::new())],
        };
        let entry = Entry {
            section,
            name: Data::NAME,
            taken: None,
            machine: None,
        };
        let text = text(&[entry]);
        for words in [
            "| `rest` | not yet | | | |",
            "## At rest",
            "![At rest](benchmarks/rest.svg)",
        ] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
    }
}
