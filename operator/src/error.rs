//! What can go wrong with the API server, by class: the class decides how soon it is tried again.

use kube::core::Status;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Passes by itself: unreachable, throttled, timed out.
    Transient,
    /// Somebody was faster: read again, decide again.
    Conflict,
    /// The API server refuses the object: the text says why.
    Invalid,
    /// A right is missing.
    Forbidden,
    /// An object of another owner has the name: shown as NameConflict until it is gone.
    Foreign,
    /// Nothing that should happen.
    Bug,
}

impl Class {
    /// Label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::Foreign => "foreign",
            Self::Bug => "bug",
        }
    }
}

/// An error of a reconcile, with what was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Api {
        what: &'static str,
        source: kube::Error,
    },
    #[error("{what}: no answer from the API server within {seconds} s")]
    Timeout { what: &'static str, seconds: u64 },
    #[error("{what}: the SmallModel has changed since this was planned")]
    Superseded { what: &'static str },
    #[error("{object} belongs to somebody else and is not touched")]
    Foreign { object: String },
    #[error("{what}: {source}")]
    Json {
        what: &'static str,
        source: serde_json::Error,
    },
}

impl Error {
    /// How to treat it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => class_of(source),
            Self::Timeout { .. } => Class::Transient,
            Self::Superseded { .. } => Class::Conflict,
            Self::Foreign { .. } => Class::Foreign,
            Self::Json { .. } => Class::Bug,
        }
    }
}

fn class_of(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) => class_of_status(status),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => Class::Bug,
        _ => Class::Transient,
    }
}

fn class_of_status(status: &Status) -> Class {
    match status.code {
        409 => Class::Conflict,
        403 | 401 => Class::Forbidden,
        400 | 413 | 415 | 422 => Class::Invalid,
        408 | 429 | 500..=599 => Class::Transient,
        404 => Class::Conflict,
        _ => Class::Bug,
    }
}

/// The API server has no such object.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// An object of this name is there already, or it changed since it was read.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a conflict is tried again at once; a stranger's object may stay for ever.
    #[test]
    fn a_name_that_is_taken_is_no_conflict() {
        let taken = Error::Foreign {
            object: "Pod intent-x".to_owned(),
        };
        assert_eq!(taken.class(), Class::Foreign);
    }
}
