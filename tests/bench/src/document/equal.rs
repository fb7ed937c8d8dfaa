use super::evidence::{broken, outcomes, units};
use super::{Section, verdict};
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{as_f64, largest, median, quantile};
use crate::tables::verdicts::{Equal, PROMOTED, Run, UNDECIDED};

/// Of 100 at alpha 1 %: more than this has a probability of 2 % even if alpha were used up.
const ROLLED_BACK_MAX: f64 = 0.03;

pub fn section(data: &Equal) -> Section {
    let rolled_back = data.runs.iter().filter(|run| is_rolled_back(run));
    let rolled_back: Vec<&Run> = rolled_back.collect();
    let mut text = format!(
        "The same model under another value of an environment variable that nothing reads, again and again: {} rollouts, {} SmallModels at once on the same cores, each asked at {}. \
         alpha 1 %, beta 5 %. The load keeps its rate whatever is answered: what comes in a peak while candidates start on the same cores finds a full \
         queue and is told to come back (429).\n\n",
        data.runs.len(),
        data.models_at_once,
        data.rate.describe()
    );
    text += "| rollouts | verdicts | rolled back | requests in all | units to promote: median, p90 | p50 candidate / stable | failed requests, of these 429 | goal: at most 3 of 100 rolled back |\n|---|---|---|---|---|---|---|---|\n";
    text += &row(&data.runs, rolled_back.len());
    for run in rolled_back {
        text += &format!("\n- {}: {}\n", run.outcome, run.effect);
    }
    text += &broken(&data.broken);
    let promoted = units(&data.runs, |outcome| outcome == PROMOTED);
    let plots = vec![
        ("equal.svg", plot(&promoted).svg()),
        ("equal-harm.svg", harm(&data.runs).svg()),
    ];
    Section {
        title: "",
        text,
        plots,
    }
}

fn row(runs: &[Run], rolled_back: usize) -> String {
    let promoted = units(runs, |outcome| outcome == PROMOTED);
    let ratios = runs
        .iter()
        .map(|run| run.candidate_p50 / run.stable_p50.max(1e-9));
    let is_reached =
        !runs.is_empty() && as_f64(rolled_back) <= ROLLED_BACK_MAX * as_f64(runs.len());
    format!(
        "| {} | {} | {rolled_back} | {} | {:.0}, {:.0} | {:.3} | {}, {} | {} |\n",
        runs.len(),
        outcomes(runs),
        runs.iter().map(|run| run.requests).sum::<usize>(),
        median(&promoted),
        quantile(&promoted, 0.9),
        median(&ratios.collect::<Vec<_>>()),
        runs.iter().map(|run| run.failed).sum::<usize>(),
        runs.iter().map(|run| run.queue_full).sum::<usize>(),
        verdict(is_reached)
    )
}

fn is_rolled_back(run: &Run) -> bool {
    run.outcome != PROMOTED && run.outcome != UNDECIDED
}

fn plot(units: &[f64]) -> Plot {
    let end = largest(units).max(1.0);
    Plot {
        title: "Share of equal revisions promoted by counted requests".to_owned(),
        x: Axis::linear("units, both arms", 0.0, end),
        y: Axis::linear("share of rollouts", 0.0, 1.0),
        series: vec!["equal revisions".to_owned()],
        marks: vec![Mark::Line {
            series: 0,
            points: plot::cumulative(units, end),
        }],
    }
}

/// Highest evidence of harm of each rollout: how close an equal revision came to being rolled back.
fn harm(runs: &[Run]) -> Plot {
    let peaks: Vec<f64> = runs.iter().map(|run| run.peak_log_e).collect();
    let numbered = peaks.iter().enumerate();
    let points = numbered
        .map(|(index, peak)| (as_f64(index + 1), *peak))
        .collect();
    let threshold = runs.iter().map(|run| run.threshold).fold(0.0, f64::max);
    Plot {
        title: "Highest evidence of harm seen in each rollout of an equal revision".to_owned(),
        x: Axis::linear("rollout", 0.0, as_f64(runs.len())),
        y: Axis::linear(
            "ln E",
            crate::stats::smallest(&peaks).clamp(-5.0, 0.0),
            largest(&peaks).max(threshold),
        ),
        series: vec!["a rollout".to_owned()],
        marks: vec![
            Mark::Dots { series: 0, points },
            Mark::LimitY {
                at: threshold,
                label: "rolled back".to_owned(),
            },
        ],
    }
}
