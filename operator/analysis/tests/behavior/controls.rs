//! Negative controls: each rule is switched off, and the promise breaks; with the rule it holds.

use smallfleet_analysis::simulator::{
    Control, Scenario, Truth, controls, most_by_chance, summed_thresholds,
};

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

#[test]
fn summed_thresholds_would_break_the_promise() {
    const RUNS: u64 = 100;
    let crossed = summed_thresholds(0..RUNS, 0.01).unwrap();
    let holds = crossed.averaged <= bound(RUNS);
    assert!(
        crossed.summed > bound(RUNS) && holds,
        "{crossed:?} of {RUNS}"
    );
}
