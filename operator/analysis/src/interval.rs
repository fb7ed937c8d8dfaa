//! The only estimates that are quoted: a confidence sequence, valid at any look, where a point estimate at a
//! stopping time would be biased.

use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::ratio::{log_e, log_p};

/// Limits of the ratios that are searched, as natural logs: one in a million to a million.
const LN_OMEGA_MAX: f64 = 14.0;

/// What is not excluded; none where a side is not bounded yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// At least this.
    pub lower: Option<f64>,
    /// At most this.
    pub upper: Option<f64>,
}

/// `{omega: log_e(omega) < ln(2/a) and log_p(omega) < ln(2/a)}`: holds the ratio at all looks together with
/// probability at least 1 - a.
#[must_use]
pub fn confidence_sequence(cells: &[Cell], a: f64) -> Interval {
    let threshold = (2.0 / a).ln();
    // log_e falls and log_p rises in omega, each strictly once there are events of both arms.
    let below = boundary(-LN_OMEGA_MAX, LN_OMEGA_MAX, |x| {
        log_e(cells, (-x).exp()) >= threshold
    });
    let above = boundary(-LN_OMEGA_MAX, LN_OMEGA_MAX, |x| {
        log_p(cells, x.exp()) >= threshold
    });
    Interval {
        lower: below.map(|x| (-x).exp()),
        upper: above.map(f64::exp),
    }
}

/// Smallest x in `low..=high` from which on `excluded` holds, by bisection; none when it does not hold at `high`.
pub(crate) fn boundary(low: f64, high: f64, excluded: impl Fn(f64) -> bool) -> Option<f64> {
    if !excluded(high) {
        return None;
    }
    if excluded(low) {
        return Some(low);
    }
    let (mut outside, mut inside) = (low, high);
    // 60 halvings reach the resolution of a double in any of the ranges used.
    for _ in 0..60 {
        let middle = f64::midpoint(outside, inside);
        if excluded(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_goldens() {
        let goldens = [
            (0.5, 40, 60, 0.796_157, 2.909_749),
            (0.1, 900, 140, 1.025_518, 1.869_013),
        ];
        for (pi, stable, candidate, lower, upper) in goldens {
            let interval = confidence_sequence(&[Cell::of_events(pi, stable, candidate)], 0.05);
            assert!(
                (interval.lower.unwrap() - lower).abs() < 1e-6,
                "{interval:?}"
            );
            assert!(
                (interval.upper.unwrap() - upper).abs() < 1e-6,
                "{interval:?}"
            );
        }
    }

    #[test]
    fn nothing_is_excluded_without_events() {
        assert_eq!(confidence_sequence(&[], 0.05), Interval::default());
        assert_eq!(
            confidence_sequence(&[Cell::of_units(0.5, 1000, 0, 0)], 0.05),
            Interval::default()
        );
    }

    #[test]
    fn events_of_one_arm_bound_one_side() {
        let interval = confidence_sequence(&[Cell::of_events(0.5, 0, 60)], 0.05);
        assert!(interval.lower.unwrap() > 5.0);
        assert_eq!(interval.upper, None);
    }
}
