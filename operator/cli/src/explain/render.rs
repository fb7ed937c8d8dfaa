//! The story as text: a label in front, what belongs to it behind.

use std::fmt::Write;

use super::Story;

/// Width of the labels.
const LABEL: usize = 10;

/// The whole story.
#[must_use]
pub fn render(story: &Story) -> String {
    let mut text = format!(
        "{} in namespace {}: {}\n\n",
        story.name, story.namespace, story.headline
    );
    section(&mut text, "Stable", std::slice::from_ref(&story.stable));
    if !story.target.is_empty() && story.target != story.stable {
        section(&mut text, "Target", std::slice::from_ref(&story.target));
    }
    section(&mut text, "Now", &story.state);
    section(&mut text, "Why", &story.waits);
    let evidence: Vec<_> = story
        .evidence
        .iter()
        .map(|evidence| format!("{}: {}", evidence.figures.name, evidence.meaning))
        .collect();
    section(&mut text, "Evidence", &evidence);
    section(&mut text, "Nodes", &story.nodes);
    section(&mut text, "Before", &story.history);
    let next: Vec<_> = story
        .next
        .iter()
        .map(|next| format!("{}\n{:LABEL$}  {}", next.what, "", next.command))
        .collect();
    section(&mut text, "Next", &next);
    text
}

fn section(text: &mut String, label: &str, lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(text, "{label:LABEL$}{line}").expect("a String takes all text");
    }
}
