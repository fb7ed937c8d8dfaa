//! What an error of the API server means for the caller.

use kube::core::Status;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Goes away by itself: again, later.
    Transient,
    /// What was read is outdated: read again.
    Conflict,
    /// The API server refuses what was written; it will until something changes.
    Invalid,
    /// Not allowed, or a quota is used up; people have to act.
    Forbidden,
    /// A mistake of ours.
    Bug,
}

impl Class {
    /// Value of the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::Bug => "bug",
        }
    }

    /// Class of a client error.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => Self::Bug,
            _ => Self::Transient,
        }
    }

    fn of_status(status: &Status) -> Self {
        match status.code {
            400 | 405 | 413 | 415 | 422 => Self::Invalid,
            401 | 403 => Self::Forbidden,
            // The namespace is gone or a definition is not there (yet): a later try may find it.
            404 => Self::Transient,
            409 => Self::Conflict,
            _ => Self::Transient,
        }
    }
}

/// The object is not there.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Written from an outdated read, or the name is taken.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The text for people: the API server's message where there is one.
#[must_use]
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("text", "Reason").with_code(code).boxed())
    }

    #[test]
    fn status_codes_have_a_class() {
        let cases = [
            (409, Class::Conflict),
            (403, Class::Forbidden),
            (422, Class::Invalid),
            (404, Class::Transient),
            (429, Class::Transient),
            (500, Class::Transient),
            (503, Class::Transient),
        ];
        for (code, class) in cases {
            assert_eq!(Class::of(&api(code)), class, "{code}");
        }
        assert!(is_not_found(&api(404)));
        assert!(is_conflict(&api(409)));
        assert_eq!(message(&api(409)), "text");
    }
}
