//! Labels, annotations, commands and the like: read from the source of this crate, because a doc comment is nowhere else.

use smallfleet_crds::CommandVerb;

const NAMES: &str = include_str!("../../../src/names.rs");
const COMMAND: &str = include_str!("../../../src/command.rs");

/// A line of code and the doc comment above it.
struct Documented {
    /// Module or enum that it stands in; empty at the top.
    inside: String,
    code: String,
    doc: String,
}

/// Everything after the two big tables.
pub fn sections() -> String {
    let names = documented(NAMES);
    let top = |prefix: &'static str| {
        let of_prefix =
            move |one: &&Documented| one.inside.is_empty() && one.code.starts_with(prefix);
        names.iter().filter(of_prefix).collect::<Vec<_>>()
    };
    let inside = |module: &str| {
        names
            .iter()
            .filter(|one| one.inside == module)
            .collect::<Vec<_>>()
    };
    [
        section(
            "Conditions",
            "Their reasons are explained in [runbook.md](runbook.md).",
            &inside("condition"),
        ),
        commands(),
        section("Annotations", "", &top("pub const ANNOTATION_")),
        section(
            "Labels",
            "Of the objects that the operator makes.",
            &top("pub const LABEL_"),
        ),
        section(
            "Roles",
            "Values of the label `smallfleet.dev/role`.",
            &inside("role"),
        ),
        section("Containers", "Of every runtime pod.", &inside("container")),
        section("Ports", "They are fixed.", &inside("port")),
        section("Response headers", "", &inside("header")),
    ]
    .concat()
}

fn section(title: &str, what: &str, constants: &[&Documented]) -> String {
    let rows = constants
        .iter()
        .map(|one| (value(&one.code), one.doc.clone()));
    table(title, what, rows)
}

fn table(title: &str, what: &str, rows: impl Iterator<Item = (String, String)>) -> String {
    let what = if what.is_empty() {
        String::new()
    } else {
        format!("{what}\n\n")
    };
    let rows: String = rows
        .map(|(name, doc)| format!("| `{name}` | {doc} |\n"))
        .collect();
    assert!(!rows.is_empty(), "{title}: nothing was found in the source");
    format!("## {title}\n\n{what}| | |\n|---|---|\n{rows}\n")
}

fn commands() -> String {
    let what = "`kubectl smallfleet` writes the annotation `smallfleet.dev/command: <verb>/<rolloutID>/<nonce>` and waits for \
                `status.lastCommand` with its nonce. Each is answered once; one for another rolloutID has no effect. Verbs:";
    let variants = documented(COMMAND)
        .into_iter()
        .filter(|one| one.inside == "CommandVerb" && one.code.ends_with(','));
    let variants: Vec<_> = variants.collect();
    assert_eq!(
        variants.len(),
        CommandVerb::ALL.len(),
        "every verb has a doc comment"
    );
    let rows = CommandVerb::ALL
        .into_iter()
        .zip(variants)
        .map(|(verb, variant)| (verb.to_string(), variant.doc));
    table("Commands", what, rows)
}

/// `"x"` or `80` of `pub const NAME: &str = "x";`.
fn value(code: &str) -> String {
    let value = code.rsplit_once(" = ").map_or("", |(_, value)| value);
    value.trim_end_matches(';').trim_matches('"').to_owned()
}

/// A table's title says already that these are labels.
fn without_kind(doc: &str) -> String {
    let rest = ["Label: ", "Annotation: "]
        .iter()
        .find_map(|kind| doc.strip_prefix(kind));
    rest.unwrap_or(doc).to_owned()
}

/// All lines of code with a doc comment.
fn documented(source: &str) -> Vec<Documented> {
    let (mut found, mut inside, mut doc) = (Vec::new(), String::new(), Vec::new());
    for line in source.lines() {
        let code = line.trim();
        let opened = ["pub mod ", "pub enum "]
            .iter()
            .find_map(|word| code.strip_prefix(word));
        if let Some(comment) = code.strip_prefix("/// ") {
            doc.push(comment.replace("[`", "`").replace("`]", "`"));
            continue;
        }
        if let Some(opened) = opened {
            inside = opened.trim_end_matches(" {").to_owned();
        } else if line == "}" {
            inside.clear();
        } else if doc.is_empty() {
            let is_constant = code.starts_with("pub const ") && code.contains(" = ");
            assert!(!is_constant, "no doc comment: {code}");
        } else {
            found.push(Documented {
                inside: inside.clone(),
                code: code.to_owned(),
                doc: without_kind(&doc.join(" ")),
            });
        }
        doc.clear();
    }
    found
}
