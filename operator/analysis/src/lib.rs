//! The evidence of a rollout: is the candidate harmful, and may it be promoted?
//!
//! Pure: no I/O, no clock, no randomness, so the same evidence and settings give the same verdict after any
//! number of restarts. Everything bets on which arm the next bad event falls into, with the arm drawn by a coin
//! that knows nothing of the outcome; the gains are e-values, valid at any look:
//!
//! - a harmless revision is rolled back with probability at most `falseRollbackRate` over its whole rollout;
//! - a revision at or beyond the promotion margin is promoted with probability at most `falsePromotionRate`.
//!
//! Start at [`assess`]: settings, frozen thresholds and counts in, verdict out. Logs are natural throughout.

pub mod capacity;
pub mod cell;
pub mod constants;
pub mod counts;
pub mod difference;
pub mod errors;
pub mod evidence;
pub mod gate;
pub mod grid;
pub mod interval;
pub mod latency;
pub mod ratio;
pub mod restart;
pub mod settings;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod two_sided;
pub mod verdict;

mod error;
mod ppm;

pub use counts::{Arm, ArmCounts, BinaryCounts, Counts, LatencyCounts};
pub use error::{AnalysisError, Shape};
pub use evidence::Evidence;
pub use latency::{FrozenLatency, LatencySignal, Percentile};
pub use ppm::Ppm;
pub use settings::{AnalysisSettings, Objective, ObjectiveKind};
pub use verdict::{Assessment, Verdict, assess};
