//! The bare process of analysis note, section 1, against the fastest that any method can be (section 6).

use super::dice::Dice;
use crate::ArmCounts;
use crate::cell::Cell;
use crate::error::AnalysisError;
use crate::ratio::log_e;

/// Probability that an event falls into the candidate: `pi omega / (1 - pi + pi omega)`.
fn theta(pi: f64, omega: f64) -> f64 {
    pi * omega / (1.0 - pi + pi * omega)
}

/// Fewest events, on average, after which any method that sees only the events' arms can tell a ratio `omega` from 1 at
/// error probability `alpha`: `ln(1/alpha) / KL(theta(omega), theta(1))` (Wald 1945). `omega` must not be 1.
#[must_use]
pub fn events_lower_bound(pi: f64, omega: f64, alpha: f64) -> f64 {
    let (there, null) = (theta(pi, omega), pi);
    let kl = there * (there / null).ln() + (1.0 - there) * ((1.0 - there) / (1.0 - null)).ln();
    -alpha.ln() / kl
}

/// Mean number of events at which the evidence for a ratio above 1 reaches `1/alpha`, over `runs` rollouts of a candidate
/// with the ratio `omega`, above 1.
pub fn mean_events_to_detect(
    pi_permille: u16,
    omega: f64,
    alpha: f64,
    runs: u32,
    dice: &mut Dice,
) -> Result<f64, AnalysisError> {
    let theta = theta(f64::from(pi_permille) / 1000.0, omega);
    let mut total = 0;
    for _ in 0..runs {
        let mut events = ArmCounts::default();
        while log_e(&[Cell::new(pi_permille, events, events)?], 1.0) < -alpha.ln() {
            if dice.happens(theta) {
                events.candidate += 1;
            } else {
                events.stable += 1;
            }
        }
        total += events.total();
    }
    Ok(total as f64 / f64::from(runs.max(1)))
}
