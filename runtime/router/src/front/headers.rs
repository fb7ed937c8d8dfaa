//! Headers that the router adds, and those that end at a proxy.

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Which arm answered: `stable` or `candidate`.
pub(super) const ARM: HeaderName = HeaderName::from_static("x-smallfleet-arm");
/// The node that answered.
pub(super) const NODE: HeaderName = HeaderName::from_static("x-smallfleet-node");
/// `true` when the arm that answered is not the one that was asked first.
pub(super) const FALLBACK: HeaderName = HeaderName::from_static("x-smallfleet-fallback");
/// Headers of ours: never taken from a client.
const OURS: &str = "x-smallfleet-";

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Makes a client's headers fit to be sent on. The router sends a body of known length, and has read it already.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(OURS))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Makes an engine's headers fit to be sent on.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(ARM);
    headers.remove(NODE);
    headers.remove(FALLBACK);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn what_is_meant_for_one_hop_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Session"),
            ("x-session", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("content-length", "12"),
            ("x-smallfleet-arm", "candidate"),
            ("x-tenant", "internal"),
            ("host", "intent.shop"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        clean_request(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-tenant"]);
    }
}
