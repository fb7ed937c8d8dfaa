//! Bets on the pairs of answers.

use serde::{Deserialize, Serialize};

use crate::constants::{STAKE_WEIGHTS, STAKES};
use crate::grid::log_sum_exp;

/// Pairs of answers to the same examples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairedCounts {
    /// Stable right, candidate wrong.
    pub plus: u64,
    /// Stable wrong, candidate right.
    pub minus: u64,
    /// Both right or both wrong.
    pub rest: u64,
}

impl PairedCounts {
    /// Counts pairs of bits, one an example, true where the answer was right. The slices pair up by position.
    #[must_use]
    pub fn from_bits(stable: &[bool], candidate: &[bool]) -> Self {
        let mut counts = Self::default();
        for pair in stable.iter().zip(candidate) {
            match pair {
                (true, false) => counts.plus += 1,
                (false, true) => counts.minus += 1,
                (true, true) | (false, false) => counts.rest += 1,
            }
        }
        counts
    }

    /// Observed drop of accuracy (stable minus candidate), in -1..=1; 0 without examples.
    #[must_use]
    pub fn drop(&self) -> f64 {
        let examples = self.plus as f64 + self.minus as f64 + self.rest as f64;
        if examples == 0.0 {
            0.0
        } else {
            (self.plus as f64 - self.minus as f64) / examples
        }
    }
}

/// Log evidence that the drop is above `m` (in 0..1): FAIL.
#[must_use]
pub fn log_fail(pairs: &PairedCounts, m: f64) -> f64 {
    mixture(|c| {
        let stake = c / (1.0 + m);
        pairs.plus as f64 * (stake * (1.0 - m)).ln_1p()
            + pairs.minus as f64 * (-c).ln_1p()
            + pairs.rest as f64 * (-stake * m).ln_1p()
    })
}

/// Log evidence that the drop is below `m` (in 0..1): PASS.
#[must_use]
pub fn log_pass(pairs: &PairedCounts, m: f64) -> f64 {
    mixture(|c| {
        let stake = c / (1.0 - m);
        pairs.plus as f64 * (-c).ln_1p()
            + pairs.minus as f64 * (stake * (1.0 + m)).ln_1p()
            + pairs.rest as f64 * (stake * m).ln_1p()
    })
}

/// Log evidence, without labels, that the drop is below `m` (in 0..1), from the disagreements among `pairs` answers:
/// a drop is at most the share of disagreements (analysis note, section 5.2).
#[must_use]
pub fn log_agreement(pairs: u64, disagreements: u64, m: f64) -> f64 {
    mixture(|c| {
        let stake = c / (1.0 - m);
        disagreements as f64 * (-c).ln_1p()
            + pairs.saturating_sub(disagreements) as f64 * (stake * m).ln_1p()
    })
}

fn mixture(gain: impl Fn(f64) -> f64) -> f64 {
    let logs: Vec<f64> = STAKES
        .iter()
        .zip(STAKE_WEIGHTS)
        .map(|(c, weight)| weight.ln() + gain(*c))
        .collect();
    log_sum_exp(&logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, golden: f64) {
        assert!((value - golden).abs() < 1e-6, "{value} instead of {golden}");
    }

    fn pairs(examples: u64, plus: u64, minus: u64) -> PairedCounts {
        PairedCounts {
            plus,
            minus,
            rest: examples - plus - minus,
        }
    }

    #[test]
    fn gate_goldens() {
        near(log_fail(&pairs(1000, 40, 10), 0.01), 2.834_603_95);
        near(log_fail(&pairs(1000, 40, 10), 0.0), 8.077_922_73);
        near(log_pass(&pairs(1000, 6, 9), 0.01), 3.332_118_10);
        near(log_pass(&pairs(1000, 6, 9), 0.02), 9.290_866_61);
    }

    #[test]
    fn agreement_goldens() {
        near(log_agreement(1000, 3, 0.01), 2.008_475_75);
        near(log_agreement(400, 0, 0.01), 2.827_441_80);
    }

    #[test]
    fn bits_pair_up_by_example() {
        let (stable, candidate) = (
            [true, true, false, false, true],
            [true, false, true, false, false],
        );
        let counts = PairedCounts::from_bits(&stable, &candidate);
        assert_eq!(
            counts,
            PairedCounts {
                plus: 2,
                minus: 1,
                rest: 2
            }
        );
        assert!((counts.drop() - 0.2).abs() < 1e-12);
    }
}
