//! Nodes, and those that hold it up.

use smallfleet_crds::status::{NodeCounts, WorstNode};

use crate::facts::Facts;
use crate::words;

/// Nodes of one kind that are shown.
const MOST: usize = 10;

/// Counts first, then one line a node that is not as it should be.
pub(super) fn all(facts: &Facts<'_>) -> Vec<String> {
    let Some(status) = facts.status() else {
        return Vec::new();
    };
    let nodes = &status.nodes;
    let mut lines = Vec::new();
    if nodes.desired > 0 {
        lines.push(counts(nodes));
    }
    lines.extend(named(&status.worst_nodes, ""));
    if let Some(rollout) = facts.rollout() {
        lines.extend(named(&rollout.excluded, "no longer used by this rollout: "));
        lines.extend(named(&rollout.faults, "the candidate failed: "));
    }
    lines
}

fn counts(nodes: &NodeCounts) -> String {
    let of = words::counted(nodes.desired.into(), "node");
    let mut text = format!(
        "{of} should serve: {} ready, {} with the promoted revision",
        nodes.ready, nodes.updated
    );
    let rare = [
        (nodes.wave, "with a candidate"),
        (nodes.unavailable, "unavailable"),
        (nodes.excluded, "excluded"),
    ];
    for (count, what) in rare.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

fn named<'a>(nodes: &'a [WorstNode], what: &'a str) -> impl Iterator<Item = String> + 'a {
    nodes
        .iter()
        .take(MOST)
        .map(move |node| format!("{}: {what}{}", node.node, node.reason))
}
