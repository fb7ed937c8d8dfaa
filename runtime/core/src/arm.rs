/// One of the two revisions that share a node during a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// The revision in the DaemonSet's template (A).
    Stable,
    /// The revision on trial (B).
    Candidate,
}

impl Arm {
    /// The arm's name in headers, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        }
    }

    /// The arm that answers when this one fails.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Stable => Self::Candidate,
            Self::Candidate => Self::Stable,
        }
    }
}

/// A value for each arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerArm<T> {
    /// Of stable.
    pub stable: T,
    /// Of the candidate.
    pub candidate: T,
}

impl<T> PerArm<T> {
    /// The value of `arm`.
    pub fn get(&self, arm: Arm) -> &T {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Candidate => &self.candidate,
        }
    }

    /// The value of `arm`, to change it.
    pub fn get_mut(&mut self, arm: Arm) -> &mut T {
        match arm {
            Arm::Stable => &mut self.stable,
            Arm::Candidate => &mut self.candidate,
        }
    }
}
