//! Label selectors in text: `key`, `!key`, `key=value`, `key!=value`.

use serde_json::Value;

use super::refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Exists(String),
    Absent(String),
    Equals(String, String),
    Differs(String, String),
}

/// All terms have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

impl Selector {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let terms = text
            .split(',')
            .map(str::trim)
            .filter(|term| !term.is_empty());
        terms.map(term).collect::<Result<_, _>>().map(Self)
    }

    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &String| object["metadata"]["labels"].get(key)?.as_str();
        self.0.iter().all(|term| match term {
            Term::Exists(key) => label(key).is_some(),
            Term::Absent(key) => label(key).is_none(),
            Term::Equals(key, value) => label(key) == Some(value),
            Term::Differs(key, value) => label(key) != Some(value),
        })
    }
}

fn term(text: &str) -> Result<Term, Refusal> {
    let own = |part: &str| part.trim().to_owned();
    if text.contains([' ', '(', '<', '>']) {
        return Err(Refusal::bad_request(format!(
            "this server knows no selector like {text:?}"
        )));
    }
    Ok(if let Some(key) = text.strip_prefix('!') {
        Term::Absent(own(key))
    } else if let Some((key, value)) = text.split_once("!=") {
        Term::Differs(own(key), own(value))
    } else if let Some((key, value)) = text.split_once('=') {
        Term::Equals(own(key), own(value.trim_start_matches('=')))
    } else {
        Term::Exists(own(text))
    })
}
