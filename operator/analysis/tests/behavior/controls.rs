//! Negative controls: each rule is switched off, and the promise breaks; with the rule it holds.

use smallfleet_analysis::Ppm;
use smallfleet_analysis::cell::Cell;
use smallfleet_analysis::latency::LatencyEvidence;
use smallfleet_analysis::simulator::{
    Control, Rollout, Scenario, Truth, controls, latency_and_errors, most_by_chance,
};
use smallfleet_analysis::{Percentile, ratio::log_e};

use crate::traffic::latency_objective;

const RUNS: u64 = 40;

/// Of rollouts that roll back at 1 %, more than these do so once in a thousand times.
fn bound(runs: u64) -> u64 {
    most_by_chance(runs, 0.01, 1e-3)
}

fn check(control: &Control) {
    let rolled_back = |scenario: &Scenario| control.rolled_back(scenario, 0..RUNS).unwrap();
    let (broken, kept) = (rolled_back(&control.broken), rolled_back(&control.kept));
    let words = format!(
        "{}: {broken} of {RUNS} rolled back without the rule, {kept} with it",
        control.name
    );
    match control.truth {
        Truth::Harmless => assert!(broken > bound(RUNS) && kept <= bound(RUNS), "{words}"),
        // Of rollouts that find the harm in half of the cases, 90 % do so less than once in a million times.
        Truth::Harmful => assert!(broken < RUNS / 2 && kept >= RUNS * 9 / 10, "{words}"),
    }
}

fn control(name: &str) -> Control {
    let mut all = controls().into_iter();
    all.find(|control| control.name.starts_with(name)).unwrap()
}

#[test]
fn unequal_paths_would_break_the_promise() {
    check(&control("unequal paths"));
}

#[test]
fn counting_errors_when_they_show_would_break_the_promise() {
    check(&control("errors counted when they show"));
}

#[test]
fn comparing_nodes_would_break_the_promise() {
    check(&control("nodes compared"));
}

#[test]
fn a_shared_queue_would_hide_a_slow_candidate() {
    check(&control("one queue for both arms"));
}

#[test]
fn a_tenth_of_the_traffic_would_hide_a_slow_candidate() {
    check(&control("10/90 with own queues"));
}

/// A unit above p95 is above p50 as well and would be counted as five pieces of evidence. Same rollouts, added up in both
/// ways, at a null that is exact (equal revisions, no tolerance).
#[test]
fn summed_thresholds_would_break_the_promise() {
    const RUNS: u64 = 100;
    let objective = latency_objective();
    let (mut summed, mut averaged) = (0, 0);
    for seed in 0..RUNS {
        let mut rollout = Rollout::new(&Scenario::calm(), &latency_and_errors(), seed);
        let crossed = (0..15).map(|_| {
            rollout.serve(100).unwrap();
            let evidence = LatencyEvidence::new("latency", &objective, rollout.frozen()).unwrap();
            let of = |percentile| evidence.cells(rollout.counts(), percentile, Ppm::ONE);
            let cells: Vec<Cell> = Percentile::ALL.into_iter().flat_map(of).collect();
            let average = evidence.log_slower(rollout.counts(), Ppm::ONE);
            [log_e(&cells, 1.0), average].map(|log| log >= 100f64.ln())
        });
        let crossed = crossed.fold([false; 2], |any, now| [any[0] | now[0], any[1] | now[1]]);
        summed += u64::from(crossed[0]);
        averaged += u64::from(crossed[1]);
    }
    let words = format!("{summed} of {RUNS} rolled back by the sum, {averaged} by the average");
    assert!(summed > bound(RUNS) && averaged <= bound(RUNS), "{words}");
}
