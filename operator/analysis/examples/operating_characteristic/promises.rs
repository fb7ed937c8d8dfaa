//! False rollbacks, what breaks the promise, and how near the process is to the fastest.

use std::error::Error;

use smallfleet_analysis::AnalysisError;
use smallfleet_analysis::simulator;
use smallfleet_analysis::simulator::{
    Dice, Ending, Limits, Scenario, Stop, Truth, at_most_with_confidence, events_lower_bound,
    latency_and_errors, mean_events_to_detect, simulate,
};

use crate::study::{for_seeds, percent};

const ALPHA: f64 = 0.01;
const REQUESTS: u64 = 3_000;

/// Name, scenario, and seconds from one look to the next.
type Row = (&'static str, Scenario, u64);

/// Harmless candidates that the promise covers.
fn promised() -> [Row; 7] {
    let mut edge = Scenario::calm().with_candidate(1.05, 0.001);
    // Queues would make a candidate at the margin slower than it.
    edge.traffic.requests_per_second = 4.0;
    [
        ("equal, calm", Scenario::calm(), 5),
        (
            "equal; swings of load and speed, unlike nodes, stalls, incidents, two steps",
            Scenario::rough(),
            2,
        ),
        (
            "the same; engines 10 % busy on average, 25 % at the peaks",
            Scenario::rough().with_load(0.1),
            1,
        ),
        ("equal; engines 20 % busy", Scenario::busy(0.2), 1),
        (
            "equal; engines 30 % busy (60 % without the split)",
            Scenario::busy(0.3),
            1,
        ),
        (
            "at the edge of harmless: x1.05, errors .5 -> .6 %",
            edge,
            10,
        ),
        ("better: x0.9", Scenario::calm().with_candidate(0.9, 0.0), 5),
    ]
}

/// Harmless candidates on engines that are busier than the promise allows.
fn outside() -> [Row; 3] {
    [
        (
            "outside: equal; engines 40 % busy (80 % without)",
            Scenario::busy(0.4),
            1,
        ),
        (
            "outside: equal; engines 60 % busy (120 % without)",
            Scenario::busy(0.6),
            1,
        ),
        (
            "outside: with the swings; engines 20 % busy on average, 50 % at the peaks",
            Scenario::rough().with_load(0.2),
            1,
        ),
    ]
}

/// Harmless candidates under the evidence of harm, whatever passes meanwhile. An error where more are rolled back than is promised.
pub fn false_rollbacks(runs: u64) -> Result<(), Box<dyn Error>> {
    println!("\n## False rollbacks, at most 1 % promised\n");
    println!("{runs} rollouts of {REQUESTS} requests a row, the largest evidence of all looks.\n");
    println!("| candidate | rolled back | share | at most (99 % confidence) |\n|---|---|---|---|");
    for row in promised() {
        let crossed = rolled_back(runs, &row)?;
        if crossed as f64 > ALPHA * runs as f64 {
            return Err(format!("{}: {crossed} of {runs} rolled back", row.0).into());
        }
    }
    for row in outside() {
        rolled_back(runs, &row)?;
    }
    Ok(())
}

/// Prints the row; how many were rolled back.
fn rolled_back(runs: u64, (name, scenario, look_seconds): &Row) -> Result<u64, AnalysisError> {
    let limits = Limits {
        requests: REQUESTS,
        look_seconds: *look_seconds,
        stop: Stop::AtRollBack,
    };
    let outcomes = for_seeds(runs, |seed| {
        simulate(scenario, &latency_and_errors(), seed, limits)
    })?;
    let crossed = outcomes
        .iter()
        .filter(|outcome| outcome.ending == Ending::RolledBack)
        .count() as u64;
    let bound = 100.0 * at_most_with_confidence(crossed, runs, 0.99);
    println!(
        "| {name} | {crossed} | {} | {bound:.2} % |",
        percent(crossed, runs)
    );
    Ok(crossed)
}

/// Every rule switched off.
pub fn controls(runs: u64) -> Result<(), Box<dyn Error>> {
    println!("\n## Negative controls\n\n{runs} rollouts each way.\n");
    println!("| without its rule | candidate | rolled back without | with |\n|---|---|---|---|");
    let both = for_seeds(runs, |seed| {
        simulator::summed_thresholds(seed..seed + 1, ALPHA)
    })?;
    let summed = percent(both.iter().map(|one| one.summed).sum(), runs);
    let averaged = percent(both.iter().map(|one| one.averaged).sum(), runs);
    println!(
        "| thresholds summed, not averaged (no tolerance) | harmless | {summed} | {averaged} |"
    );
    for control in simulator::controls() {
        let share = |scenario: &Scenario| -> Result<String, AnalysisError> {
            let ends = for_seeds(runs, |seed| control.rolled_back(scenario, seed..seed + 1))?;
            Ok(percent(ends.iter().sum(), runs))
        };
        let truth = match control.truth {
            Truth::Harmless => "harmless",
            Truth::Harmful => "harmful",
        };
        let (broken, kept) = (share(&control.broken)?, share(&control.kept)?);
        println!("| {} | {truth} | {broken} | {kept} |", control.name);
    }
    Ok(())
}

/// The ratio process alone against the lower bound of any method.
pub fn bare_process(runs: u64) -> Result<(), Box<dyn Error>> {
    println!("\n## Bare process: events until a ratio is told from 1\n");
    println!("Note: 1.1 to 1.5 times the lower bound ln(1/alpha)/KL.\n");
    println!(
        "| share | ratio | lower bound | mean of {runs} | times the bound |\n|---|---|---|---|---|"
    );
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    for permille in [100, 500] {
        let pi = f64::from(permille) / 1000.0;
        for ratio in [1.5, 2.0, 3.0, 5.0, 10.0] {
            let bound = events_lower_bound(pi, ratio, ALPHA);
            let mean = mean_events_to_detect(permille, ratio, ALPHA, runs, &mut Dice::new(1))?;
            println!(
                "| {pi} | {ratio} | {bound:.0} | {mean:.0} | {:.2} |",
                mean / bound
            );
        }
    }
    Ok(())
}
