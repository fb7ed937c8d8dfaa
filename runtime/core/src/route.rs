//! What the operator tells a router: the route, parsed and checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Arm;

/// Most characters of a rollout's id.
pub const ROLLOUT_ID_MAX: usize = 64;
/// Most overrides of a route, and most values of an override.
pub const OVERRIDES_MAX: usize = 64;
/// Most thresholds and most slow-downs of a freeze: a table of counts stays small.
pub const THRESHOLDS_MAX: usize = 16;
/// Most units per arm of a burn-in: the sample is sent every second.
pub const BURN_IN_UNITS_MAX: u32 = 1_000;
/// The longest maturity of the errors: one hour.
pub const ERRORS_MATURITY_MAX: Duration = Duration::from_secs(3_600);

/// Why a route is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoute {
    /// Empty or too long.
    #[error("rolloutID has {0} characters, not 1 to {ROLLOUT_ID_MAX}")]
    RolloutId(usize),
    /// Above 1000.
    #[error("candidate traffic of {0} permille is above 1000")]
    Share(u32),
    /// A lease of zero or longer than the contract's.
    #[error("a lease of {0:?} is not above zero and at most {1:?}")]
    Lease(Duration, Duration),
    /// More than fits.
    #[error("{0} overrides or override values are more than {OVERRIDES_MAX}")]
    Overrides(usize),
    /// More than fits, or unusable.
    #[error("frozen thresholds: {0}")]
    Freeze(&'static str),
    /// More than fits.
    #[error("a burn-in of {0} units is above {BURN_IN_UNITS_MAX}")]
    BurnIn(u32),
    /// Zero or more than fits.
    #[error("an errors maturity of {0:?} is not above zero and at most {ERRORS_MATURITY_MAX:?}")]
    ErrorsMaturity(Duration),
}

/// A route: what a router may do for one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The rollout, and the coin's salt.
    pub rollout_id: String,
    /// Rises at every change within a rollout.
    pub sequence: u64,
    /// Rises at every change of the leader.
    pub leader_epoch: u64,
    /// What to do.
    pub instruction: Instruction,
}

/// What a route says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// Toss the coin.
    Grant(Arc<Grant>),
    /// Stable only, for now.
    Withdraw,
    /// Stable only, for as long as this rollout's id is known.
    Cut,
}

impl Instruction {
    /// The instruction's name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grant(_) => "grant",
            Self::Withdraw => "withdraw",
            Self::Cut => "cut",
        }
    }
}

/// Permission to send requests to a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The candidate's share at the coin.
    pub permille: u16,
    /// Where it is and how to recognise it.
    pub candidate: Candidate,
    /// Requests whose arm is not left to the coin; the first that matches decides.
    pub overrides: Vec<Override>,
    /// What latency is compared with; absent during the burn-in.
    pub freeze: Option<Arc<Freeze>>,
    /// How long the grant lives after an answered keep-alive was sent.
    pub lease: Duration,
    /// Units per arm that are not counted.
    pub burn_in_units: u32,
    /// When errors are booked after the coin.
    pub errors_maturity: Duration,
    /// What a unit's latency is.
    pub signal: Signal,
}

/// What a unit's latency is, from the coin on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signal {
    /// Until the last byte of a good answer.
    #[default]
    Total,
    /// Until the first byte of a good answer's content, whatever becomes of the rest.
    FirstToken,
}

/// The candidate's engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its revision's hash.
    pub revision: String,
    /// Pod address and port.
    pub address: SocketAddr,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`, DER).
    pub fingerprint: [u8; 32],
}

/// Requests with one of these values in this header go to this arm and are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Header name, lower case.
    pub header: String,
    /// Exact values.
    pub values: Vec<String>,
    /// Where they go.
    pub to: Arm,
}

/// Thresholds that were frozen after the burn-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Number of the freeze within the rollout: part of the cell.
    pub index: u32,
    /// What stable's latencies are compared with, microseconds.
    pub thresholds_us: Vec<u64>,
    /// Factors of the thresholds that the candidate's latencies are compared with, permille.
    pub rhos_permille: Vec<u32>,
}

impl Freeze {
    /// `threshold * rho`, rounded down, as the operator computes it.
    #[must_use]
    pub fn scaled_us(threshold_us: u64, rho_permille: u32) -> u64 {
        let scaled = u128::from(threshold_us) * u128::from(rho_permille) / 1000;
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// The largest number that a latency is compared with.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        let threshold = self.thresholds_us.iter().copied().max().unwrap_or(0);
        let rho = self.rhos_permille.iter().copied().max().unwrap_or(1000);
        Duration::from_micros(Self::scaled_us(threshold, rho.max(1000)))
    }

    fn check(&self) -> Result<(), InvalidRoute> {
        if self.thresholds_us.len() > THRESHOLDS_MAX || self.rhos_permille.len() > THRESHOLDS_MAX {
            return Err(InvalidRoute::Freeze("too many thresholds or factors"));
        }
        if self.rhos_permille.is_empty() && !self.thresholds_us.is_empty() {
            return Err(InvalidRoute::Freeze("thresholds without factors"));
        }
        if self.rhos_permille.contains(&0) {
            return Err(InvalidRoute::Freeze("a factor of zero"));
        }
        Ok(())
    }
}

impl Route {
    /// Refuses what does not fit the limits of this module. `lease_max` is the contract's route lease.
    pub fn check(&self, lease_max: Duration) -> Result<(), InvalidRoute> {
        let characters = self.rollout_id.len();
        if characters == 0 || characters > ROLLOUT_ID_MAX {
            return Err(InvalidRoute::RolloutId(characters));
        }
        match &self.instruction {
            Instruction::Grant(grant) => grant.check(lease_max),
            Instruction::Withdraw | Instruction::Cut => Ok(()),
        }
    }
}

impl Grant {
    fn check(&self, lease_max: Duration) -> Result<(), InvalidRoute> {
        if self.permille > 1000 {
            return Err(InvalidRoute::Share(self.permille.into()));
        }
        if self.lease.is_zero() || self.lease > lease_max {
            return Err(InvalidRoute::Lease(self.lease, lease_max));
        }
        let values = self.overrides.iter().map(|entry| entry.values.len());
        let most = values.max().unwrap_or(0).max(self.overrides.len());
        if most > OVERRIDES_MAX {
            return Err(InvalidRoute::Overrides(most));
        }
        if self.burn_in_units > BURN_IN_UNITS_MAX {
            return Err(InvalidRoute::BurnIn(self.burn_in_units));
        }
        if self.errors_maturity.is_zero() || self.errors_maturity > ERRORS_MATURITY_MAX {
            return Err(InvalidRoute::ErrorsMaturity(self.errors_maturity));
        }
        self.freeze.as_ref().map_or(Ok(()), |freeze| freeze.check())
    }

    /// Whether requests at the other grant's candidate may go on under this one.
    #[must_use]
    pub fn same_candidate(&self, other: &Self) -> bool {
        self.candidate == other.candidate
    }
}
