//! Commands that people give to a rollout: one annotation `<verb>/<rolloutID>/<nonce>`, answered in `status.lastCommand`.
//!
//! The rolloutID makes a stale command harmless, the nonce lets its sender find the answer.

use std::fmt;
use std::str::FromStr;

/// Longest nonce that is answered.
pub const NONCE_MAX_LENGTH: usize = 64;

/// A command, as it stands in the annotation [`crate::names::ANNOTATION_COMMAND`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub verb: CommandVerb,
    /// The rollout that it speaks of; of a refused revision that of the rollout that refused it.
    pub rollout: String,
    /// Chosen by the sender; different for every command.
    pub nonce: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandVerb {
    /// Ends the step that waits for approval, or goes on after a pause.
    Promote,
    /// Promotes now, whatever the evidence.
    PromoteFull,
    /// Rolls back and refuses the candidate.
    Abort,
    /// Lets a refused revision begin anew.
    Retry,
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCommandError {
    #[error("{0:?} is not a command: write <verb>/<rolloutID>/<nonce>")]
    Form(String),
    #[error("{0:?} is not a verb: use promote, promote-full, abort or retry")]
    Verb(String),
}

impl CommandVerb {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Promote, Self::PromoteFull, Self::Abort, Self::Retry];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::PromoteFull => "promote-full",
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }
}

impl fmt::Display for CommandVerb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for CommandVerb {
    type Err = ParseCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|verb| verb.as_str() == text);
        known.ok_or_else(|| ParseCommandError::Verb(text.to_owned()))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.verb, self.rollout, self.nonce)
    }
}

impl FromStr for Command {
    type Err = ParseCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split('/').collect();
        let [verb, rollout, nonce] = parts[..] else {
            return Err(ParseCommandError::Form(text.to_owned()));
        };
        if rollout.is_empty() || nonce.is_empty() || nonce.len() > NONCE_MAX_LENGTH {
            return Err(ParseCommandError::Form(text.to_owned()));
        }
        Ok(Self {
            verb: verb.parse()?,
            rollout: rollout.to_owned(),
            nonce: nonce.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_is_written() {
        for verb in CommandVerb::ALL {
            let command = Command {
                verb,
                rollout: "5f0c3a9e1b2d".to_owned(),
                nonce: "a1".to_owned(),
            };
            assert_eq!(command.to_string().parse(), Ok(command));
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_to_write() {
        for text in [
            "",
            "promote",
            "promote/5f0c",
            "promote//a1",
            "promote/5f0c/",
            "promote/5f0c/a/b",
        ] {
            let error = text.parse::<Command>().unwrap_err();
            assert!(
                error.to_string().contains("<verb>/<rolloutID>/<nonce>"),
                "{text:?}: {error}"
            );
        }
        let error = "restart/5f0c/a1".parse::<Command>().unwrap_err();
        assert_eq!(error, ParseCommandError::Verb("restart".to_owned()));
    }
}
