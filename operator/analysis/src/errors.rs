//! Errors and escalations: harm is ratio **and** difference, passing is ratio **or** difference (analysis note,
//! section 3).

use crate::cell::Cell;
use crate::constants::LOCAL_CUT_ALPHA;
use crate::difference::{log_d, log_q};
use crate::grid::log_sum_exp;
use crate::interval::boundary;
use crate::ratio::{log_e, log_p};
use crate::restart::RestartPlan;
use crate::settings::HarmMargins;

/// Log evidence of harm: the smaller of the ratio's and the difference's late-onset mixtures, over the cells since
/// each restart.
///
/// Harmless means "ratio within its margin, **or** difference within its margin". Whichever of the two is true, the
/// smaller e-value is below the valid one, so it is an e-value for both. Taking the smaller of the mixtures, and not
/// the mixture of the smaller ones, is valid for the same reason and never less.
#[must_use]
pub fn log_roll_back(margins: &HarmMargins, starts: &[Vec<Cell>], plan: &RestartPlan) -> f64 {
    let omega0 = margins.max_increase.increased().as_f64();
    let by_ratio = plan.log_mixture(starts.iter().map(|cells| log_e(cells, omega0)));
    let by_difference = plan.log_mixture(
        starts
            .iter()
            .map(|cells| log_d(cells, margins.harm_points.as_f64())),
    );
    by_ratio.min(by_difference)
}

/// Log evidence that the candidate is within its margins: the mean of the ratio's and the difference's e-values.
#[must_use]
pub fn log_promote(margins: &HarmMargins, cells: &[Cell]) -> f64 {
    let by_ratio = log_p(cells, margins.max_increase.increased().as_f64());
    let by_difference = log_q(cells, margins.max_increase_points.as_f64());
    log_sum_exp(&[by_ratio, by_difference]) - std::f64::consts::LN_2
}

/// Smallest excess (b - a, in 0..1) that the counts exclude at `threshold`: the candidate does at most this much more
/// harm. None while not even certain harm is excluded.
#[must_use]
pub fn excess_at_most(cells: &[Cell], threshold: f64) -> Option<f64> {
    // At d = 1 the stake of a share near 1 has no room left, so the search ends just below.
    boundary(0.0, 1.0 - 1e-9, |d| log_q(cells, d) >= threshold)
}

/// Largest excess (b - a, in 0..1) that the counts show to be exceeded at `threshold`. None while no excess is shown.
#[must_use]
pub fn excess_at_least(cells: &[Cell], threshold: f64) -> Option<f64> {
    boundary(0.0, 1.0 - 1e-9, |x| {
        log_d(cells, 1.0 - 1e-9 - x) >= threshold
    })
    .map(|x| 1.0 - 1e-9 - x)
}

/// Log evidence, on one router's own counts, at which it cuts the candidate on its node: `ln(N/.001)`, so that all
/// N nodes together cut a harmless revision somewhere with probability at most .001.
#[must_use]
pub fn local_cut_threshold(nodes: u32) -> f64 {
    (f64::from(nodes.max(1)) / LOCAL_CUT_ALPHA).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constants as c;

    fn margins() -> HarmMargins {
        HarmMargins::errors(c::ERRORS_MAX_INCREASE, c::ERRORS_MAX_INCREASE_POINTS)
    }

    fn near(value: f64, golden: f64) {
        assert!((value - golden).abs() < 1e-6, "{value} instead of {golden}");
    }

    #[test]
    fn five_errors_in_a_million_are_no_harm() {
        let cells = vec![Cell::of_units(0.1, 1_000_000, 0, 5)];
        near(log_e(&cells, 1.2), 6.125_475_65);
        near(
            log_roll_back(&margins(), &[cells], &RestartPlan::single()),
            -19.459_661_34,
        );
    }

    #[test]
    fn forty_errors_against_five_are_harm() {
        let cells = vec![Cell::of_units(0.5, 2000, 5, 40)];
        near(log_d(&cells, 0.001), 12.096_522_81);
        near(
            log_roll_back(&margins(), &[cells], &RestartPlan::single()),
            10.835_363_93,
        );
    }

    #[test]
    fn zero_errors_promote_by_the_difference() {
        let cells = [Cell::of_units(0.5, 1000, 0, 0)];
        near(log_promote(&margins(), &cells), 3.029_198_06);
        assert!(log_promote(&margins(), &cells) >= 20f64.ln());
    }

    #[test]
    fn few_errors_promote_by_the_mean() {
        let cells = [Cell::of_units(0.5, 2400, 6, 5)];
        near(log_p(&cells, 1.2), -0.215_347_79);
        near(log_promote(&margins(), &cells), 3.285_964_36);
    }

    #[test]
    fn the_excess_is_bounded_from_both_sides() {
        let threshold = 20f64.ln();
        let cells = [Cell::of_units(0.5, 4000, 20, 200)];
        let (least, most) = (
            excess_at_least(&cells, threshold).unwrap(),
            excess_at_most(&cells, threshold).unwrap(),
        );
        assert!(
            least > 0.03 && least < 0.09 && most > 0.09 && most < 0.15,
            "{least} {most}"
        );
        near(log_d(&cells, least), threshold);
        near(log_q(&cells, most), threshold);
        assert_eq!(excess_at_most(&[], threshold), None);
        assert_eq!(excess_at_least(&[], threshold), None);
    }

    #[test]
    fn more_nodes_need_more_evidence_each() {
        near(local_cut_threshold(1), 1000f64.ln());
        near(local_cut_threshold(50), 50_000f64.ln());
    }
}
