//! The runbook has one heading for every reason, and no reason is spelled anywhere but in `reason`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use smallfleet_crds::reason;

use crate::{admit, render};

fn read(path: &str) -> String {
    fs::read_to_string(render::repository().join(path)).unwrap()
}

#[test]
fn every_reason_has_a_heading_that_says_what_serves_and_what_to_do() {
    let runbook = read("docs/runbook.md");
    let sections: Vec<(&str, &str)> = runbook
        .split("\n### ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .collect();
    let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    let unique: BTreeSet<&str> = headings.iter().copied().collect();
    assert_eq!(unique.len(), headings.len(), "one heading a reason");
    assert_eq!(unique, reason::ALL.iter().copied().collect());
    for (heading, text) in sections {
        for part in ["**Means:**", "**Still serves:**", "**Do:**"] {
            assert!(text.contains(part), "{heading} has {part}");
        }
    }
}

#[test]
fn a_reason_stands_in_the_list_once() {
    let unique: BTreeSet<_> = reason::ALL.iter().collect();
    assert_eq!(unique.len(), reason::ALL.len());
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let inner = folders.iter().flat_map(|folder| sources(folder));
    inner
        .chain(files)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Where the planner gives a reason, it gives a constant: a literal would escape the runbook.
#[test]
fn the_planner_gives_no_reason_as_a_literal() {
    let literal = [
        ".note(\"",
        ".warn(\"",
        "why(\"",
        "blocked(\"",
        "environment(\"",
        "reason:\"",
        "refusal(&to,\"",
        "refusal(&rollout.to,\"",
        "Blame::Spec,\"",
        "Blame::Environment,\"",
        "Blame::Revision,\"",
    ];
    let files = sources(&render::repository().join("operator/core/src"));
    assert!(files.len() > 30, "only {} files were read", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code: String = text.split_whitespace().collect();
        for start in literal {
            assert!(!code.contains(start), "{}: {start}...", file.display());
        }
    }
}

/// Reasons that other crates spell: an engine's and an evaluation's failures, errors of the analysis, pauses of the API.
#[test]
fn reasons_of_other_crates_are_in_the_list() {
    let arms = |path: &str| {
        let text = read(path);
        let named = text.lines().filter_map(|line| line.split_once("=> \""));
        let named = named.filter_map(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
        named.collect::<Vec<_>>()
    };
    let mut reasons = arms("runtime/engine/src/state.rs");
    reasons.extend(arms("operator/analysis/src/error.rs"));
    let outcome = read("runtime/router/src/evaluate/outcome.rs");
    let (_, list) = outcome.split_once("enum Reason {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    reasons.extend(list.split(',').map(|one| one.trim().to_owned()));
    let status = &admit::schema()["properties"]["status"]["properties"];
    let pauses = &status["rollout"]["properties"]["paused"]["properties"]["reason"]["enum"];
    let pauses = pauses.as_array().unwrap();
    reasons.extend(pauses.iter().map(|one| one.as_str().unwrap().to_owned()));
    reasons.retain(|reason| !reason.is_empty());
    assert!(reasons.len() >= 5 + 3 + 3 + 4, "{reasons:?}");
    for reason in reasons {
        assert!(reason::ALL.contains(&reason.as_str()), "{reason}");
    }
}
