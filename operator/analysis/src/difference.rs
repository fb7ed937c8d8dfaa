//! Bets on the difference of the event probabilities d = b - a (analysis note, section 3).
//!
//! The stakes are [`STAKES`] times the largest stake that cannot go bankrupt in a cell, which depends on its share;
//! the bets of one stake are summed over the cells. Unlike the ratio, the difference learns from units without an
//! event: zero errors promote after about a thousand requests.

use crate::cell::{Cell, split};
use crate::constants::{STAKE_WEIGHTS, STAKES};
use crate::grid::log_sum_exp;

/// Log evidence that b - a is above `d`, with `d` in 0..1; 0 without units.
#[must_use]
pub fn log_d(cells: &[Cell], d: f64) -> f64 {
    log_bets(cells, |cell, c| {
        let (if_stable, if_candidate) = (1.0 / (1.0 - cell.pi()), 1.0 / cell.pi());
        let stake = c / (if_stable + d);
        cell.harmless() * (-stake * d).ln_1p()
            + cell.candidate() * (stake * (if_candidate - d)).ln_1p()
            + cell.stable() * (-c).ln_1p()
    })
}

/// Log evidence that b - a is below `d`, with `d` in 0..1; 0 without units.
#[must_use]
pub fn log_q(cells: &[Cell], d: f64) -> f64 {
    log_bets(cells, |cell, c| {
        let (if_stable, if_candidate) = (1.0 / (1.0 - cell.pi()), 1.0 / cell.pi());
        let stake = c / (if_candidate - d);
        cell.harmless() * (stake * d).ln_1p()
            + cell.candidate() * (-c).ln_1p()
            + cell.stable() * (stake * (d + if_stable)).ln_1p()
    })
}

/// Mixture over the stakes of what a stake gains, summed over the cells.
fn log_bets(cells: &[Cell], gain: impl Fn(&Cell, f64) -> f64) -> f64 {
    let mut logs = STAKE_WEIGHTS.map(f64::ln);
    for cell in split(cells) {
        for (log, c) in logs.iter_mut().zip(STAKES) {
            *log += gain(cell, c);
        }
    }
    log_sum_exp(&logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, golden: f64) {
        assert!((value - golden).abs() < 1e-6, "{value} instead of {golden}");
    }

    #[test]
    fn evidence_of_a_harmful_difference_goldens() {
        near(
            log_d(&[Cell::of_units(0.1, 1_000_000, 0, 5)], 0.001),
            -19.459_661_34,
        );
        near(
            log_d(&[Cell::of_units(0.5, 2000, 5, 40)], 0.001),
            12.096_522_81,
        );
    }

    #[test]
    fn evidence_of_a_small_difference_goldens() {
        near(
            log_q(&[Cell::of_units(0.5, 1000, 0, 0)], 0.01),
            3.697_870_97,
        );
        near(
            log_q(&[Cell::of_units(0.5, 2400, 6, 5)], 0.01),
            3.963_917_81,
        );
        near(
            log_q(&[Cell::of_units(0.1, 5000, 20, 3)], 0.02),
            3.232_717_54,
        );
    }

    #[test]
    fn cells_of_one_share_may_be_cut_anywhere() {
        let whole = [Cell::of_units(0.3, 3000, 12, 9)];
        let parts = [
            Cell::of_units(0.3, 1000, 12, 1),
            Cell::of_units(0.3, 2000, 0, 8),
        ];
        near(log_d(&parts, 0.001), log_d(&whole, 0.001));
        near(log_q(&parts, 0.01), log_q(&whole, 0.01));
    }

    #[test]
    fn one_sided_coins_tell_nothing() {
        let cells = [
            Cell::of_units(0.0, 500, 7, 0),
            Cell::of_units(1.0, 500, 0, 7),
        ];
        assert!(log_d(&cells, 0.001).abs() < 1e-12);
        assert!(log_q(&cells, 0.01).abs() < 1e-12);
    }
}
