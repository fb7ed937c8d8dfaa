//! What a request to the API server is about, for metrics: verb and resource, from method and path.

/// Verb and resource of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// As RBAC names it.
    pub verb: &'static str,
    /// Plural, with the subresource: `pods`, `smallmodels/status`; `other` where the path is none of the API's objects.
    pub resource: String,
}

impl RequestKind {
    /// Reads a request line.
    #[must_use]
    pub fn of(method: &str, path: &str, query: Option<&str>) -> Self {
        let (resource, named) = resource(path).unwrap_or_else(|| ("other".to_owned(), true));
        let watch = query.is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let verb = match method {
            "GET" if watch => "watch",
            "GET" if named => "get",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }

    /// A watch lasts for minutes: neither limited nor timed.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        self.verb == "watch"
    }
}

/// Resource of a path, and whether the path names one object.
fn resource(path: &str) -> Option<(String, bool)> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next()? {
        "api" => {
            parts.next()?;
        }
        "apis" => {
            parts.next()?;
            parts.next()?;
        }
        _ => return None,
    }
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let plural = (*rest.first()?).to_owned();
    match rest.get(2) {
        Some(subresource) => Some((format!("{plural}/{subresource}"), true)),
        None => Some((plural, rest.len() > 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_resources_are_those_of_rbac() {
        let cases = [
            ("GET", "/api/v1/nodes", None, "list", "nodes"),
            (
                "GET",
                "/api/v1/pods",
                Some("limit=5&watch=true"),
                "watch",
                "pods",
            ),
            ("POST", "/api/v1/namespaces/a/pods", None, "create", "pods"),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods/p",
                None,
                "delete",
                "pods",
            ),
            (
                "PATCH",
                "/apis/smallfleet.dev/v1alpha1/namespaces/a/smallmodels/m/status",
                None,
                "patch",
                "smallmodels/status",
            ),
            (
                "GET",
                "/apis/apps/v1/namespaces/a/daemonsets/m",
                None,
                "get",
                "daemonsets",
            ),
            ("GET", "/openid/v1/jwks", None, "get", "other"),
            ("GET", "/api/v1/namespaces/a", None, "get", "namespaces"),
        ];
        for (method, path, query, verb, resource) in cases {
            let kind = RequestKind::of(method, path, query);
            assert_eq!(
                (kind.verb, kind.resource.as_str()),
                (verb, resource),
                "{method} {path}"
            );
        }
    }
}
