//! What a 50/50 split cannot see: after promotion the candidate carries all of the load (analysis note, section 4).

use crate::constants::CAPACITY_MAX_UTILISATION;

/// Slow-down to expect after promotion, `s(1-u)/(1-su)`, from the engine seconds per unit of the candidate over
/// stable's (`cost_ratio`) and the peak utilisation `u` in 0..1 under stable. Infinite when the load exceeds the
/// engine.
#[must_use]
pub fn predicted_slowdown(cost_ratio: f64, utilisation: f64) -> f64 {
    let headroom = 1.0 - cost_ratio * utilisation;
    if headroom > 0.0 {
        cost_ratio * (1.0 - utilisation) / headroom
    } else {
        f64::INFINITY
    }
}

/// Whether the candidate's cost leaves too little room: utilisation above .75 after promotion, or a predicted
/// slow-down beyond `max_slowdown` (1 + the latency margin).
#[must_use]
pub fn exceeds_capacity(cost_ratio: f64, utilisation: f64, max_slowdown: f64) -> bool {
    cost_ratio * utilisation > CAPACITY_MAX_UTILISATION
        || predicted_slowdown(cost_ratio, utilisation) > max_slowdown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_cost_at_sixty_percent_load_doubles_latency() {
        assert!((predicted_slowdown(1.25, 0.6) - 2.0).abs() < 1e-6);
        assert!(exceeds_capacity(1.25, 0.6, 1.1));
        assert!(!exceeds_capacity(1.02, 0.3, 1.1));
        assert!(exceeds_capacity(1.0, 0.8, 1.1));
        assert_eq!(predicted_slowdown(2.0, 0.5), f64::INFINITY);
    }
}
