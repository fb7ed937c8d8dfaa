use super::Section;
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{from_u64, largest, median, smallest};
use crate::tables::verdicts::{Evidence, PROMOTED, Run};

/// Requests that the design's simulation predicts for a revision that is twice as slow, and for an equal one: medians.
const TWICE_AS_SLOW: (f64, f64) = (39.0, 102.0);
const A_QUARTER_SLOWER: f64 = 217.0;
const EQUAL: (f64, f64) = (2400.0, 3300.0);

pub fn section(data: &Evidence) -> Section {
    let mut text = format!(
        "{} SmallModels at once, one on each node, each asked at {}; alpha 1 %, beta 5 %, one step. Units are counted requests of both arms: the first 50 of each arm are the \
         burn-in, from which the thresholds are taken, and are not counted. Requests are all from the candidate's first to the verdict.\n\n",
        data.models_at_once,
        data.rate.describe()
    );
    text += "| candidate | p50 candidate / stable | runs | verdicts | units: median (range) | simulated | requests: median (range) | seconds: median (range) | failed requests |\n|---|---|---|---|---|---|---|---|---|\n";
    let (from, to) = TWICE_AS_SLOW;
    text += &row(
        "`slow`",
        &data.slow,
        &format!("x2: {from}-{to}, x1.25: {A_QUARTER_SLOWER}"),
    );
    let (from, to) = EQUAL;
    text += &row("equal", &data.equal, &format!("{from}-{to}"));
    text += "\nThe evidence is looked at once a second, and a unit is booked when its slowest threshold has passed, so the fewest units that can be seen are those of about a second. \
             The simulated figures are for inputs of one length class. With all lengths pooled, as the product counts, an equal revision takes more \
             ([simulated](operating-characteristic.md)); the A/A table below has its own distribution.\n";
    text += &broken(&data.broken);
    Section {
        title: "",
        text,
        plots: vec![("evidence.svg", plot(data).svg())],
    }
}

fn row(name: &str, runs: &[Run], simulated: &str) -> String {
    let spread = |value: fn(&Run) -> f64| {
        let values: Vec<f64> = runs.iter().map(value).collect();
        format!(
            "{:.0} ({:.0}-{:.0})",
            median(&values),
            smallest(&values),
            largest(&values)
        )
    };
    let ratios: Vec<f64> = runs
        .iter()
        .map(|run| run.candidate_p50 / run.stable_p50.max(1e-9))
        .collect();
    format!(
        "| {name} | {:.2} | {} | {} | {} | {simulated} | {} | {} | {} |\n",
        median(&ratios),
        runs.len(),
        outcomes(runs),
        spread(|run| from_u64(run.units)),
        spread(|run| crate::stats::as_f64(run.requests)),
        spread(|run| run.seconds),
        runs.iter().map(|run| run.failed).sum::<usize>()
    )
}

/// `Promoted 4, LatencyRegression 1`.
pub fn outcomes(runs: &[Run]) -> String {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for run in runs {
        *counts.entry(&run.outcome).or_default() += 1;
    }
    let counts = counts
        .iter()
        .map(|(outcome, count)| format!("{outcome} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

pub fn broken(broken: &[String]) -> String {
    match broken.is_empty() {
        true => String::new(),
        false => format!(
            "\n{} runs came to nothing: {}\n",
            broken.len(),
            broken.join("; ")
        ),
    }
}

/// Units of the runs that ended as they should.
pub fn units(runs: &[Run], is_wanted: fn(&str) -> bool) -> Vec<f64> {
    let wanted = runs.iter().filter(|run| is_wanted(&run.outcome));
    wanted.map(|run| from_u64(run.units)).collect()
}

fn plot(data: &Evidence) -> Plot {
    let slow = units(&data.slow, |outcome| outcome != PROMOTED);
    let equal = units(&data.equal, |outcome| outcome == PROMOTED);
    let dots = |series, x, values: &[f64]| Mark::Dots {
        series,
        points: plot::column(x, 0.3, values),
    };
    let shade = |x: f64, y| Mark::Box {
        x: (x - 0.28, x + 0.28),
        y,
        label: "simulated".to_owned(),
    };
    Plot {
        title: "Counted requests to the verdict".to_owned(),
        x: Axis::names("", &["slow: rolled back", "equal: promoted"]),
        y: Axis::logarithmic("units, both arms", 20.0, largest(&equal).max(5000.0)),
        series: vec!["slow".to_owned(), "equal".to_owned()],
        marks: vec![
            shade(0.0, TWICE_AS_SLOW),
            shade(1.0, EQUAL),
            dots(0, 0.0, &slow),
            dots(1, 1.0, &equal),
        ],
    }
}
