//! The promises, checked on simulated rollouts small enough for every test run.

use smallfleet_analysis::cell::Cell;
use smallfleet_analysis::latency::LatencyEvidence;
use smallfleet_analysis::ratio::log_e;
use smallfleet_analysis::restart::RestartPlan;
use smallfleet_analysis::verdict::harm;
use smallfleet_analysis::{Evidence, Percentile, Ppm, Verdict, assess};

use crate::traffic::{Split, Truth, errors, latency, latency_objective, settings};

const EQUAL: Truth = Truth {
    slowdown: 1.0,
    stable_errors: 0.005,
    candidate_errors: 0.005,
};

/// Serves up to `units` requests with a look every 100 (a minute of exposure) and restarts when due; the requests at
/// which the boundary was crossed.
fn roll_back_after(truth: Truth, seed: u64, units: u64) -> Option<u64> {
    let settings = settings(vec![latency(), errors()]);
    let plan = RestartPlan::new(&settings);
    let mut split = Split::new(truth, seed);
    let mut evidence = Evidence::default();
    for served in (100..=units).step_by(100) {
        split.serve(100);
        let counts = split.counts();
        let look = harm(&settings, &split.frozen(), &evidence, &counts).unwrap();
        if look.log_e >= settings.roll_back_threshold() {
            return Some(served);
        }
        evidence.exposed_seconds += 60;
        evidence.restart_if_due(&plan, &counts);
    }
    None
}

/// The requests after which every objective passed.
fn pass_after(truth: Truth, seed: u64, units: u64) -> Option<u64> {
    let settings = settings(vec![latency(), errors()]);
    let mut split = Split::new(truth, seed);
    (250..=units).step_by(250).find(|_| {
        split.serve(250);
        let look = assess(
            &settings,
            &split.frozen(),
            &Evidence::default(),
            &split.counts(),
        )
        .unwrap();
        look.verdict == Verdict::Pass
    })
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// How many of 300 rollouts of 1,000 requests are rolled back.
fn rolled_back_of_300(truth: Truth) -> usize {
    (0..300)
        .filter(|seed| roll_back_after(truth, *seed, 1000).is_some())
        .count()
}

/// Of 300 rollouts at 1 %, more than 9 happen once in a thousand times.
const BOUND_OF_300: usize = 9;

#[test]
fn an_equal_revision_is_rolled_back_no_more_often_than_promised() {
    let crossed = rolled_back_of_300(EQUAL);
    assert!(crossed <= BOUND_OF_300, "{crossed} of 300 rolled back");
}

#[test]
fn a_revision_at_the_edge_of_harmless_is_rolled_back_no_more_often_than_promised() {
    let crossed = rolled_back_of_300(Truth {
        slowdown: 1.05,
        candidate_errors: 0.006,
        ..EQUAL
    });
    assert!(crossed <= BOUND_OF_300, "{crossed} of 300 rolled back");
}

/// Negative control: the same traffic breaks the promise when thresholds are summed and not averaged, because a unit
/// above p95 is above p50 as well and would be counted as five pieces of evidence.
#[test]
fn summed_thresholds_would_break_the_promise() {
    let objective = latency_objective();
    let crossed = (0..300).filter(|seed| {
        let mut split = Split::new(EQUAL, *seed);
        let frozen = split.frozen();
        let evidence = LatencyEvidence::new("latency", &objective, &frozen).unwrap();
        (0..10).any(|_| {
            split.serve(100);
            let counts = split.counts();
            let of = |percentile| evidence.cells(&counts, percentile, Ppm::ONE);
            let summed: Vec<Cell> = Percentile::ALL.into_iter().flat_map(of).collect();
            log_e(&summed, 1.0) >= 100f64.ln()
        })
    });
    let crossed = crossed.count();
    assert!(crossed > BOUND_OF_300, "{crossed} of 300 rolled back");
}

#[test]
fn a_better_revision_is_never_rolled_back() {
    let better = Truth {
        slowdown: 0.9,
        candidate_errors: 0.002,
        ..EQUAL
    };
    assert!((0..50).all(|seed| roll_back_after(better, seed, 1000).is_none()));
}

#[test]
fn a_quarter_slower_is_rolled_back() {
    let slower = Truth {
        slowdown: 1.25,
        ..EQUAL
    };
    let after: Vec<u64> = (0..20)
        .map(|seed| roll_back_after(slower, seed, 3000).expect("a rollback"))
        .collect();
    assert!(median(after) <= 800);
}

#[test]
fn three_points_more_errors_are_rolled_back() {
    let failing = Truth {
        candidate_errors: 0.035,
        ..EQUAL
    };
    assert!((0..5).all(|seed| roll_back_after(failing, seed, 6000).is_some()));
}

#[test]
fn an_equal_revision_is_promoted() {
    assert!((0..5).all(|seed| pass_after(EQUAL, seed, 6_000).is_some()));
}

#[test]
fn a_revision_beyond_the_margin_is_not_promoted() {
    let beyond = Truth {
        slowdown: 1.15,
        ..EQUAL
    };
    assert!((0..10).all(|seed| pass_after(beyond, seed, 4000).is_none()));
}

#[test]
fn zero_errors_promote_after_about_a_thousand_requests() {
    let settings = settings(vec![errors()]);
    let passes = |requests: u64| {
        let counts = crate::traffic::error_counts(requests / 2, 0, 0);
        assess(&settings, &[], &Evidence::default(), &counts)
            .unwrap()
            .verdict
            == Verdict::Pass
    };
    assert!(!passes(700));
    assert!(passes(1000));
}
