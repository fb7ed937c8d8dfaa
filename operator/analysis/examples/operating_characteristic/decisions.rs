//! What becomes of candidates, and what a promotion waits for.

use std::error::Error;

use smallfleet_analysis::simulator::{
    Ending, Limits, Outcome, RequestsNeeded, Scenario, Step, Stop, latency_and_errors,
    requests_needed, simulate,
};

use crate::study::{for_seeds, percent, quantile};

/// A candidate that no verdict has ended by then is called undecided.
const REQUESTS: u64 = 12_000;
/// How long a promotion is waited for.
const PROMOTION_REQUESTS: u64 = 30_000;

/// Slow-down, more failing, and what the analysis note says of it.
const TRUTHS: [(f64, f64, &str); 12] = [
    (0.90, 0.0, "promoted 100 %"),
    (0.95, 0.0, "promoted 100 %"),
    (1.00, 0.0, "promoted 100 %, after 2,400-3,300"),
    (1.05, 0.0, "promoted 100 %"),
    (1.08, 0.0, "promoted 40 %"),
    (1.10, 0.0, "promoted 1-2.5 %; found after 3,300"),
    (1.15, 0.0, "never promoted"),
    (1.25, 0.0, "never promoted; found after 217"),
    (2.00, 0.0, "never promoted; found after 39-102"),
    (1.00, 0.01, "promoted .5 %; found after 8,400"),
    (1.00, 0.03, "found after 1,555"),
    (1.00, 0.10, "found after 338"),
];

/// The operating characteristic of the analysis note, section 3, which is by length class.
pub fn one_length(runs: u64) -> Result<(), Box<dyn Error>> {
    characteristic(runs, 0.2, "inputs of one length class")
}

/// The same where lengths differ: the product has no length classes yet.
pub fn pooled_lengths(runs: u64) -> Result<(), Box<dyn Error>> {
    characteristic(runs, 0.5, "all lengths pooled, as the product counts now")
}

fn characteristic(runs: u64, spread: f64, lengths: &str) -> Result<(), Box<dyn Error>> {
    println!("\n## Operating characteristic: {lengths} (spread {spread})\n");
    println!(
        "{runs} rollouts a row of at most {REQUESTS} requests at 10 a second on one node, .5 % errors, D of errors 10 s."
    );
    println!(
        "Requests are all on wave nodes: the burn-in (100) and units that have not matured (100) included.\n"
    );
    println!(
        "| latency | errors | promoted | rolled back | undecided | requests to promote | to roll back | note |\n|---|---|---|---|---|---|---|---|"
    );
    for (slowdown, more_failing, note) in TRUTHS {
        let mut scenario = Scenario::calm().with_candidate(slowdown, more_failing);
        scenario.service.spread = spread;
        let limits = Limits {
            requests: REQUESTS,
            look_seconds: 2,
            stop: Stop::AtVerdict,
        };
        let outcomes = for_seeds(runs, |seed| {
            simulate(&scenario, &latency_and_errors(), seed, limits)
        })?;
        let of = |ending| -> Vec<&Outcome> {
            outcomes
                .iter()
                .filter(|outcome| outcome.ending == ending)
                .collect()
        };
        let share = |ending| percent(of(ending).len() as u64, runs);
        let typical = |ending| {
            let requests = of(ending).into_iter().map(|outcome| Some(outcome.requests));
            quantile(requests, 0.5)
        };
        println!(
            "| x{slowdown:.2} | +{:.0} points | {} | {} | {} | {} | {} | {note} |",
            more_failing * 100.0,
            share(Ending::Promoted),
            share(Ending::RolledBack),
            percent(
                (of(Ending::Undecided).len() + of(Ending::SampleRatio).len()) as u64,
                runs
            ),
            typical(Ending::Promoted),
            typical(Ending::RolledBack),
        );
    }
    Ok(())
}

/// A fleet like the demo's without errors: 12 ms, three nodes at 20 requests a second.
fn demo(slowdown: f64, spread: f64, stalling: f64, stall_us: f64) -> Scenario {
    let mut scenario = Scenario::calm();
    scenario.stable.failing = 0.0;
    scenario.traffic.requests_per_second = 20.0;
    scenario.service.median_us = 12_000.0;
    scenario.service.spread = spread;
    scenario.service.stalling = stalling;
    scenario.service.stall_us = stall_us;
    scenario.steps = vec![Step {
        nodes: 3,
        min_exposure_seconds: 0,
    }];
    scenario.with_candidate(slowdown, 0.0)
}

/// Candidates of the demo, by the shape of their service time.
fn candidates() -> [(&'static str, Scenario); 11] {
    let mut failing = demo(1.0, 0.2, 0.0, 0.0);
    failing.stable.failing = 0.005;
    failing.candidate.failing = 0.005;
    [
        ("equal, spread .2, errors .5 %", failing),
        ("equal, spread .2", demo(1.0, 0.2, 0.0, 0.0)),
        ("equal, spread .3", demo(1.0, 0.3, 0.0, 0.0)),
        ("equal, spread .5", demo(1.0, 0.5, 0.0, 0.0)),
        ("equal, spread .6", demo(1.0, 0.6, 0.0, 0.0)),
        (
            "equal, spread .3, 8 % stalled by 15 ms",
            demo(1.0, 0.3, 0.08, 15_000.0),
        ),
        (
            "equal, spread .3, 8 % stalled by 30 ms",
            demo(1.0, 0.3, 0.08, 30_000.0),
        ),
        (
            "equal, spread .3, 8 % stalled by 60 ms",
            demo(1.0, 0.3, 0.08, 60_000.0),
        ),
        ("x0.89, spread .3", demo(0.89, 0.3, 0.0, 0.0)),
        (
            "x0.89, spread .3, 8 % stalled by 60 ms",
            demo(0.89, 0.3, 0.08, 60_000.0),
        ),
        (
            "x0.89, spread .3, 12 % stalled by 60 ms",
            demo(0.89, 0.3, 0.12, 60_000.0),
        ),
    ]
}

/// What a promotion waits for.
pub fn requests_to_promote(runs: u64) -> Result<(), Box<dyn Error>> {
    println!("\n## What a promotion waits for\n");
    println!(
        "{runs} rollouts a row of at most {PROMOTION_REQUESTS} requests at 3 x 20 a second, 12 ms; no errors unless said. The"
    );
    println!(
        "burn-in (300) and D of errors (10 s, 600 requests) are included. `x0.89` is the demo's `better`; a stall is the machine's.\n"
    );
    println!(
        "| candidate | typical x1.10 | tail x1.25 at p95 | errors | each once | all at one look | nine in ten |\n|---|---|---|---|---|---|---|"
    );
    for (name, scenario) in candidates() {
        let needed =
            |seed| requests_needed(&scenario, &latency_and_errors(), seed, PROMOTION_REQUESTS);
        let needed = for_seeds(runs, needed)?;
        let of = |part: fn(&RequestsNeeded) -> Option<u64>, share| {
            quantile(needed.iter().map(part), share)
        };
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            of(|needed| needed.typical, 0.5),
            of(|needed| needed.tail, 0.5),
            of(|needed| needed.errors, 0.5),
            of(RequestsNeeded::each_once, 0.5),
            of(|needed| needed.all, 0.5),
            of(|needed| needed.all, 0.9),
        );
    }
    Ok(())
}
