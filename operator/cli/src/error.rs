//! What can go wrong, in words that say what to do.

use std::io;

use kube::core::Status;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("no usable kubeconfig: {0}. Set KUBECONFIG, --kubeconfig or --context")]
    Kubeconfig(String),
    #[error(
        "the API server {server} cannot be reached: {cause}. Check the network and the kubeconfig's context"
    )]
    Unreachable { server: String, cause: String },
    #[error("the API server does not accept your credentials: {0}. Log in again")]
    Unauthorized(String),
    #[error(
        "the API server knows no SmallModels: the CRD smallmodels.smallfleet.dev is not installed. Install the chart smallfleet (helm install smallfleet charts/smallfleet ...)"
    )]
    CrdMissing,
    #[error(
        "there is no SmallModel {name} in namespace {namespace}. \"kubectl smallfleet get -A\" lists all that you may see"
    )]
    NotFound { name: String, namespace: String },
    #[error(
        "you may not {verb} SmallModels in {place}: {message}. Ask for the ClusterRole {role} (the cluster's role {usual} has it too)"
    )]
    Forbidden {
        verb: &'static str,
        place: String,
        message: String,
        role: &'static str,
        usual: &'static str,
    },
    #[error(
        "{name} has no rollout to {verb}: {why}. \"kubectl smallfleet explain {name} -n {namespace}\" tells more"
    )]
    NoRollout {
        name: String,
        namespace: String,
        verb: &'static str,
        why: String,
    },
    #[error("the operator refused: {0}")]
    Refused(String),
    #[error(
        "the operator did not answer within {seconds} s. The command stays in the annotation smallfleet.dev/command and is carried out when the operator is back. Is it running? \"kubectl get pods -A -l app.kubernetes.io/name=smallfleet\""
    )]
    NoAnswer { seconds: u64 },
    #[error("{name} was deleted")]
    Deleted { name: String },
    #[error("the API server answered {code} {reason}: {message}")]
    Api {
        code: u16,
        reason: String,
        message: String,
    },
    #[error(
        "the API server's answer cannot be read: {0}. Is this program as new as the CRD? See \"kubectl smallfleet version\""
    )]
    Unreadable(String),
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

/// What was asked of the API server, for the text of a refusal.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub server: &'a str,
    pub verb: &'static str,
    /// A namespace, or `None` for all.
    pub namespace: Option<&'a str>,
    /// One SmallModel, or `None` for a list.
    pub name: Option<&'a str>,
}

impl CliError {
    /// Whether only the reader of our output went away.
    #[must_use]
    pub fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What a failed request means.
    #[must_use]
    pub fn of(error: kube::Error, request: &Request<'_>) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status, request),
            kube::Error::SerdeError(error) => Self::Unreadable(error.to_string()),
            other => Self::Unreachable {
                server: request.server.to_owned(),
                cause: innermost(&other),
            },
        }
    }

    /// What a refusal by the API server means.
    #[must_use]
    pub fn of_status(status: &Status, request: &Request<'_>) -> Self {
        let message = status.message.clone();
        match (status.code, request.name) {
            (401, _) => Self::Unauthorized(message),
            (403, _) => Self::forbidden(message, request),
            // An API that is not there answers in plain text, an object that is not there with its name.
            (404, Some(name)) if names(status, name) => Self::NotFound {
                name: name.to_owned(),
                namespace: request.namespace.unwrap_or_default().to_owned(),
            },
            (404, _) => Self::CrdMissing,
            (code, _) => Self::Api {
                code,
                reason: status.reason.clone(),
                message,
            },
        }
    }

    fn forbidden(message: String, request: &Request<'_>) -> Self {
        let (role, usual) = match request.verb {
            "patch" => ("smallfleet-edit", "edit"),
            _ => ("smallfleet-view", "view"),
        };
        let place = request.namespace.map_or_else(
            || "all namespaces".to_owned(),
            |namespace| format!("namespace {namespace}"),
        );
        Self::Forbidden {
            verb: request.verb,
            place,
            message,
            role,
            usual,
        }
    }
}

fn names(status: &Status, name: &str) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| details.name == name)
}

/// The first cause: what wraps it only says that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    fn request<'a>(verb: &'static str, name: Option<&'a str>) -> Request<'a> {
        Request {
            server: "https://192.0.2.1:6443",
            verb,
            namespace: Some("shop"),
            name,
        }
    }

    fn refusal(code: u16, details: Option<StatusDetails>) -> Status {
        Status {
            code,
            message: "because".to_owned(),
            details,
            ..Status::default()
        }
    }

    #[test]
    fn a_missing_crd_is_not_a_missing_model() {
        let plain = CliError::of_status(&refusal(404, None), &request("get", Some("intent")));
        assert!(matches!(plain, CliError::CrdMissing), "{plain}");
        let details = StatusDetails {
            name: "intent".to_owned(),
            group: String::new(),
            kind: "smallmodels".to_owned(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        let named = CliError::of_status(
            &refusal(404, Some(details)),
            &request("get", Some("intent")),
        );
        assert!(matches!(named, CliError::NotFound { .. }), "{named}");
        assert!(
            named
                .to_string()
                .contains("no SmallModel intent in namespace shop")
        );
    }

    #[test]
    fn a_missing_right_names_the_role_to_ask_for() {
        let patch = CliError::of_status(&refusal(403, None), &request("patch", Some("intent")));
        assert!(
            patch
                .to_string()
                .contains("may not patch SmallModels in namespace shop"),
            "{patch}"
        );
        assert!(
            patch.to_string().contains("ClusterRole smallfleet-edit"),
            "{patch}"
        );
        let list = CliError::of_status(&refusal(403, None), &request("list", None));
        assert!(
            list.to_string().contains("ClusterRole smallfleet-view"),
            "{list}"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let closed = CliError::Output(io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_closed_output());
        assert!(!CliError::CrdMissing.is_closed_output());
    }
}
