//! Latency thresholds: frozen from the burn-in, and again when the load has moved away from them.
//!
//! Any threshold that does not know the units counted above it keeps the promises; these are chosen to tell the most.

use smallfleet_analysis::constants::BURN_IN_UNITS;
use smallfleet_analysis::latency::WindowCheck;
use smallfleet_analysis::{Counts, FrozenLatency, Percentile, Ppm};
use smallfleet_crds::status::FrozenThresholds;

use crate::draft::{Cx, Draft};
use crate::look::Look;
use crate::settings;

/// Freezes of one rollout; a load that moves more often is judged by the last of them.
const FREEZES_MAX: usize = 20;
/// Share of units above the p95 threshold that the burn-in of some hundred units is to have met, looked at once, over the first
/// window: where it is .02 instead of .05 the tail needs 2.5 times the units. Freezing again is valid whenever it knows nothing of
/// the units that are counted with it later.
const FIRST_SHARE: std::ops::RangeInclusive<f64> = 0.035..=0.07;
/// Factor by which a threshold moves where the counts do not say how far the load went.
const STRIDE: u64 = 2;

/// Freezes thresholds when the burn-in is complete, or new ones when those in use have lost their meaning.
pub(crate) fn freeze(cx: &Cx<'_>, look: &Look, draft: &mut Draft) {
    let next = match look.freezes.last() {
        None => from_burn_in(cx, look),
        Some(last) if is_off(look, last) && look.freezes.len() < FREEZES_MAX => {
            let freeze = u16::try_from(look.freezes.len() - 1).unwrap_or(u16::MAX);
            Some(moved(last, freeze, &look.total.since(&look.store.window)))
        }
        Some(_) => None,
    };
    let (Some(next), Some(frozen)) = (next, draft.rollout().frozen.as_mut()) else {
        return;
    };
    frozen.latency.push(next);
    draft.next_sequence();
}

/// The load has moved away from the thresholds; or the burn-in, which is short and of the first node, has missed it.
fn is_off(look: &Look, last: &FrozenLatency) -> bool {
    match look.window() {
        WindowCheck::Refreeze => true,
        WindowCheck::Fits(_)
            if look.freezes.len() == 1 && look.store.window == Counts::default() =>
        {
            let (_, points) = shares(last, 0, &look.total);
            let p95 = last.percentile_index(Percentile::P95);
            let share = p95
                .and_then(|index| points.get(index))
                .map(|(_, share)| *share);
            share.is_some_and(|share| !FIRST_SHARE.contains(&share))
        }
        WindowCheck::Fits(_) | WindowCheck::Filling => false,
    }
}

fn from_burn_in(cx: &Cx<'_>, look: &Look) -> Option<FrozenThresholds> {
    let sessions = &cx.world.sessions;
    let burn_in = &sessions.burn_in;
    let complete = sessions.rollout == look.store.rollout
        && burn_in.stable_units >= BURN_IN_UNITS
        && burn_in.candidate_units >= BURN_IN_UNITS;
    if !complete {
        return None;
    }
    let answered = burn_in
        .latencies_microseconds
        .iter()
        .copied()
        .filter(|latency| *latency != u64::MAX);
    let terms = settings::latency_terms(&look.settings);
    let signal = settings::timed(&terms);
    let freeze = FrozenLatency::from_burn_in(signal, answered.collect(), terms);
    // No good answer of either arm: only what is slower than every request may be is an event, as every error is.
    let longest = u64::from(cx.spec().runtime.max_request_seconds) * 1_000_000;
    let thresholds = freeze.map_or_else(
        |_| vec![longest; Percentile::ALL.len()],
        |freeze| freeze.thresholds_us,
    );
    Some(FrozenThresholds {
        thresholds_microseconds: thresholds
            .into_iter()
            .map(|threshold| threshold.max(1))
            .collect(),
        units: burn_in.stable_units + burn_in.candidate_units,
    })
}

/// New thresholds from the shares of units, both arms pooled, above the old ones: `ln T` is interpolated in the share, and
/// moved by a stride where a share lies outside of what was counted.
fn moved(last: &FrozenLatency, freeze: u16, window: &Counts) -> FrozenThresholds {
    let (units, points) = shares(last, freeze, window);
    let mut thresholds: Vec<u64> = Percentile::ALL
        .into_iter()
        .map(|percentile| threshold_at(&points, 1.0 - percentile.permille() as f64 / 1000.0))
        .collect();
    for index in 1..thresholds.len() {
        thresholds[index] = thresholds[index].max(thresholds[index - 1]);
    }
    FrozenThresholds {
        thresholds_microseconds: thresholds,
        units,
    }
}

/// Pooled units, and for every threshold the share above it; thresholds ascend, shares descend.
fn shares(last: &FrozenLatency, freeze: u16, window: &Counts) -> (u64, Vec<(u64, f64)>) {
    let cells = || {
        window
            .latency()
            .filter(|(_, of, _)| *of == freeze)
            .map(|(_, _, cell)| cell)
    };
    let units: u64 = cells().map(|cell| cell.units().total()).sum();
    let rho = last.rho_index(Ppm::ONE).unwrap_or(0);
    let share = |(index, threshold): (usize, &u64)| {
        let above: u64 = cells().map(|cell| cell.events(index, rho).total()).sum();
        (*threshold, above as f64 / units.max(1) as f64)
    };
    (
        units,
        last.thresholds_us.iter().enumerate().map(share).collect(),
    )
}

fn threshold_at(points: &[(u64, f64)], share: f64) -> u64 {
    let Some((last, first)) = points.last().zip(points.first()) else {
        return 1;
    };
    if share > first.1 {
        return (first.0 / STRIDE).max(1);
    }
    if share < last.1 {
        return last.0.saturating_mul(STRIDE);
    }
    let between = points
        .windows(2)
        .find(|pair| pair[0].1 >= share && share >= pair[1].1);
    between.map_or(last.0, |pair| {
        let ((low, above_low), (high, above_high)) = (pair[0], pair[1]);
        let part = (above_low - share) / (above_low - above_high).max(f64::MIN_POSITIVE);
        let (low, high) = ((low.max(1) as f64).ln(), (high.max(1) as f64).ln());
        ((low + (high - low) * part.clamp(0.0, 1.0)).exp().round() as u64).max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [(u64, f64); 6] = [
        (1000, 0.9),
        (1500, 0.7),
        (2000, 0.4),
        (2500, 0.25),
        (4000, 0.08),
        (5000, 0.04),
    ];

    #[test]
    fn thresholds_follow_the_load() {
        let median = threshold_at(&POINTS, 0.5);
        assert!((1500..2000).contains(&median), "{median}");
        assert!((4000..5000).contains(&threshold_at(&POINTS, 0.05)));
    }

    #[test]
    fn a_share_outside_of_what_was_counted_moves_by_a_stride() {
        assert_eq!(threshold_at(&POINTS, 0.005), 10_000);
        assert_eq!(threshold_at(&POINTS, 0.95), 500);
    }

    #[test]
    fn equal_shares_do_not_divide_by_zero() {
        assert_eq!(threshold_at(&[(10, 0.5), (20, 0.5)], 0.5), 10);
    }
}
