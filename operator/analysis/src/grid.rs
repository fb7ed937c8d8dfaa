//! The grid of alternatives that the ratio bets are spread over, and sums of exponentials.

use std::sync::LazyLock;

use crate::constants::{GRID_MAX, GRID_MIN, GRID_POINTS};

/// One alternative: a factor g on the ratio of the null and its prior weight w.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridPoint {
    /// Factor on the ratio, from 1.05 to 20 in equal logarithmic steps.
    pub g: f64,
    /// ln g.
    pub ln_g: f64,
    /// Weight, proportional to 1/g; all sum to 1.
    pub w: f64,
    /// ln w.
    pub ln_w: f64,
}

static GRID: LazyLock<[GridPoint; GRID_POINTS]> = LazyLock::new(|| {
    let step = (GRID_MAX / GRID_MIN).ln() / (GRID_POINTS - 1) as f64;
    let ln_g = |j: usize| GRID_MIN.ln() + step * j as f64;
    let total: f64 = (0..GRID_POINTS).map(|j| (-ln_g(j)).exp()).sum();
    std::array::from_fn(|j| {
        let ln_g = ln_g(j);
        let ln_w = -ln_g - total.ln();
        GridPoint {
            g: ln_g.exp(),
            ln_g,
            w: ln_w.exp(),
            ln_w,
        }
    })
});

/// The grid: `g_j = exp(linspace(ln 1.05, ln 20, 24))`, `w_j` proportional to `1/g_j`.
#[must_use]
pub fn grid() -> &'static [GridPoint; GRID_POINTS] {
    &GRID
}

/// `ln sum exp(log)` without overflow; minus infinity for no logs. Logs may be minus infinity.
#[must_use]
pub fn log_sum_exp(logs: &[f64]) -> f64 {
    let max = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + logs.iter().map(|log| (log - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_goldens() {
        let goldens = [
            (0, 1.05, 0.126_082_46),
            (1, 1.193_533_32, 0.110_919_89),
            (12, 4.885_761_59, 0.027_096_41),
            (23, 20.0, 0.006_619_33),
        ];
        for (j, g, w) in goldens {
            assert!((grid()[j].g - g).abs() < 1e-6, "g {j}");
            assert!((grid()[j].w - w).abs() < 1e-6, "w {j}");
        }
        assert!((grid().iter().map(|point| point.w).sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn sums_of_exponentials_do_not_overflow() {
        assert!((log_sum_exp(&[1e300, 1e300]) - 1e300).abs() < 1.0);
        assert!((log_sum_exp(&[0.0, 0.0]) - 2f64.ln()).abs() < 1e-15);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY, 3.0]), 3.0);
    }
}
