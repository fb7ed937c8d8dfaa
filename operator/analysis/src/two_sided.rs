//! Sample ratio: does the coin deliver the share it promises? (analysis note, end of section 3)
//!
//! A mismatch says that counting or routing is broken, so no verdict about the revision may be drawn: traffic goes
//! to stable and the rollout pauses. Outside alpha.

use crate::constants::{SAMPLE_RATIO_ALPHA, SAMPLE_RATIO_CONCENTRATION};

/// Natural log of the square root of 2 pi.
const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_7;

/// Log evidence that units do not fall into the candidate with probability `pi`, from the units of stable and
/// candidate. 0 without units and for a share of 0 or 1.
///
/// `a = 10 pi, b = 10(1-pi): lnBeta(a+kB, b+kA) - lnBeta(a,b) - kB ln(pi) - kA ln(1-pi)`. The absolute error is that
/// of differences of log-gammas, below 1e-3 up to 10^11 units.
#[must_use]
pub fn log_two_sided(pi: f64, stable: f64, candidate: f64) -> f64 {
    if pi <= 0.0 || pi >= 1.0 {
        return 0.0;
    }
    let (a, b) = (
        SAMPLE_RATIO_CONCENTRATION * pi,
        SAMPLE_RATIO_CONCENTRATION * (1.0 - pi),
    );
    ln_beta(a + candidate, b + stable)
        - ln_beta(a, b)
        - candidate * pi.ln()
        - stable * (-pi).ln_1p()
}

/// `ln(1/1e-4)`: the log evidence at which the sample ratio is called a mismatch.
#[must_use]
pub fn sample_ratio_threshold() -> f64 {
    -SAMPLE_RATIO_ALPHA.ln()
}

fn ln_beta(x: f64, y: f64) -> f64 {
    ln_gamma(x) + ln_gamma(y) - ln_gamma(x + y)
}

/// ln Gamma for positive x: Stirling's series after shifting the argument to at least 10, where its first four terms
/// are exact to about 1e-13 (Abramowitz and Stegun 6.1.15 and 6.1.41).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + LN_SQRT_TAU + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sided_goldens() {
        let goldens = [
            (90.0, 10.0, 0.1, -1.273_276),
            (90.0, 20.0, 0.1, 1.581_179),
            (90.0, 30.0, 0.1, 8.689_255),
            (50.0, 50.0, 0.5, -1.221_634),
            (30.0, 70.0, 0.5, 6.291_883),
            (0.0, 5.0, 0.1, 3.911_024),
        ];
        for (stable, candidate, pi, golden) in goldens {
            let log = log_two_sided(pi, stable, candidate);
            assert!((log - golden).abs() < 1e-6, "{log} instead of {golden}");
        }
    }

    #[test]
    fn log_gamma_is_the_factorial() {
        let mut factorial = 1.0;
        for n in 1..=20 {
            factorial *= f64::from(n);
            assert!((ln_gamma(f64::from(n) + 1.0) - f64::ln(factorial)).abs() < 1e-11);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
    }

    #[test]
    fn a_fair_coin_stays_quiet_at_scale() {
        assert!(log_two_sided(0.5, 5e9, 5e9) < 0.0);
        assert!(log_two_sided(0.5, 5e9, 5.001e9) > sample_ratio_threshold());
    }
}
