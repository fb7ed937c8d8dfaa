//! The core: bets on the arm of each bad event (analysis note, section 1).
//!
//! With event probabilities a (stable) and b (candidate) and their ratio omega = b/a, an event falls into the
//! candidate with probability `theta(omega) = pi omega / (1 - pi + pi omega)`, at any event rate. The gain of an
//! event under alternative omega_j is its probability there over its probability under the null. Cells are
//! summed; thresholds and objectives never are, they are averaged.

use crate::cell::{Cell, split};
use crate::grid::{grid, log_sum_exp};

/// Log evidence that the ratio is above `omega0`; 0 without events. `omega0` must be positive.
#[must_use]
pub fn log_e(cells: &[Cell], omega0: f64) -> f64 {
    log_bets(cells, omega0, 1.0)
}

/// Log evidence that the ratio is below `omega_tol`; 0 without events. `omega_tol` must be positive.
#[must_use]
pub fn log_p(cells: &[Cell], omega_tol: f64) -> f64 {
    log_bets(cells, omega_tol, -1.0)
}

/// Bets on the ratios `null * g^direction`.
fn log_bets(cells: &[Cell], null: f64, direction: f64) -> f64 {
    let mut logs = grid().map(|point| point.ln_w);
    for cell in split(cells) {
        let scale_null = (cell.pi() * (null - 1.0)).ln_1p();
        for (log, point) in logs.iter_mut().zip(grid()) {
            let ln_factor = direction * point.ln_g;
            let alternative = null
                * if direction > 0.0 {
                    point.g
                } else {
                    1.0 / point.g
                };
            let gain_stable = scale_null - (cell.pi() * (alternative - 1.0)).ln_1p();
            *log += cell.candidate() * (ln_factor + gain_stable) + cell.stable() * gain_stable;
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
    fn evidence_of_harm_goldens() {
        let goldens = [
            (90, 10, 0.1, 1.0, -1.087_598),
            (90, 20, 0.1, 1.0, 2.285_728),
            (90, 30, 0.1, 1.0, 9.412_955),
            (50, 50, 0.5, 1.0, -1.434_659),
            (40, 60, 0.5, 1.0, 0.962_408),
            (30, 70, 0.5, 1.0, 6.827_857),
            (90, 30, 0.1, 1.5, 3.507_521),
            (0, 5, 0.1, 1.0, 6.552_857),
            (900, 100, 0.1, 1.0, -1.969_721),
            (900, 140, 0.1, 1.0, 4.540_875),
        ];
        for (stable, candidate, pi, omega0, golden) in goldens {
            near(
                log_e(&[Cell::of_events(pi, stable, candidate)], omega0),
                golden,
            );
        }
    }

    #[test]
    fn cells_add_up() {
        let cells = [Cell::of_events(0.5, 40, 60), Cell::of_events(0.1, 90, 20)];
        near(log_e(&cells, 1.0), 3.628_499_44);
    }

    #[test]
    fn late_labels_golden() {
        near(log_e(&[Cell::of_events(0.5, 40, 70)], 1.25), 0.441_839_68);
    }

    #[test]
    fn evidence_for_promotion_goldens() {
        let goldens = [
            (900, 100, 0.1, 1.5, 6.541_863_89),
            (90, 10, 0.1, 2.0, 1.762_246_85),
            (20, 12, 0.5, 1.0, 0.364_670_19),
            (0, 0, 0.5, 1.2, 0.0),
        ];
        for (stable, candidate, pi, omega_tol, golden) in goldens {
            near(
                log_p(&[Cell::of_events(pi, stable, candidate)], omega_tol),
                golden,
            );
        }
    }

    #[test]
    fn one_sided_coins_tell_nothing() {
        let cells = [Cell::of_events(0.0, 500, 0), Cell::of_events(1.0, 0, 500)];
        assert!(log_e(&cells, 1.0).abs() < 1e-12);
        assert!(log_p(&cells, 1.0).abs() < 1e-12);
    }
}
