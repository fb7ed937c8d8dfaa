//! Syntax of names.

use super::{Checked, require};

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
/// Headers that belong to a connection, not to a request.
const OF_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Keys of labels or annotations that a user adds: well formed and not ours.
pub(super) fn keys<'a>(field: &str, keys: impl IntoIterator<Item = &'a String>) -> Checked {
    keys.into_iter().try_for_each(|key| {
        require(is_key(key), || {
            format!("{field}: {key:?} is no label key: write [prefix/]name")
        })?;
        require(!is_ours(key), || {
            format!(
                "{field}: {key} is the operator's own: choose another prefix than smallfleet.dev"
            )
        })
    })
}

fn is_ours(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| {
        prefix == smallfleet_crds::names::GROUP || prefix.ends_with(".smallfleet.dev")
    })
}

/// `[prefix/]name`.
pub(super) fn is_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && is_label_name(name)
}

/// A label value: empty or a name.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= LABEL_MAX
        && bytes.iter().all(|byte| inner(*byte))
        && outer(bytes.first())
        && outer(bytes.last())
}

fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= SUBDOMAIN_MAX && text.split('.').all(part)
}

/// A header that a client may choose and that reaches us as it was sent.
pub(super) fn is_clients_header(name: &str) -> bool {
    let token = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    !name.is_empty()
        && token
        && !name.starts_with("x-smallfleet-")
        && !OF_CONNECTION.contains(&name)
}
