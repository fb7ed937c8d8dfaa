//! The accuracy gate before traffic: stable and candidate on the same labelled examples (analysis note, section 5.1).

mod bets;
mod decision;

pub use bets::{PairedCounts, log_agreement, log_fail, log_pass};
pub use decision::{ClassResult, GateDecision, GateOutcome, GateReason, GateSettings, decide};
