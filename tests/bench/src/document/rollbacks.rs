use std::collections::BTreeMap;

use super::{Section, verdict};
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{largest, median, quantile};
use crate::tables::rollbacks::{By, Data, Run};

const GOAL_MILLISECONDS: f64 = 300.0;

pub fn section(data: &Data) -> Section {
    let runs: Vec<&Run> = data.runs.iter().collect();
    let of = |by| {
        data.runs
            .iter()
            .filter(|run| run.by == by)
            .collect::<Vec<_>>()
    };
    let (evidence, abort) = (of(By::Evidence), of(By::Abort));
    let mut text = format!(
        "{} rollbacks: {} by evidence against `slow`, {} by `kubectl smallfleet abort`. {} SmallModels at once, one on each node, each asked {} \
         times a second (so candidate requests are {:.0} ms apart on average). The decision is `status.refused[].at`, taken before the cut is \
         sent; a request counts with the time at which its application sent it. 0: the last one was sent before the decision.\n\n",
        runs.len(),
        evidence.len(),
        abort.len(),
        data.models_at_once,
        data.rate,
        2000.0 / data.rate
    );
    text += "| rollbacks | count | last candidate request: p50 | p99 | max | last candidate answer: max | candidate requests | failed requests | goal: p99 <= 300 ms, none failed |\n|---|---|---|---|---|---|---|---|---|\n";
    for (name, runs) in [
        ("all", &runs),
        ("by evidence", &evidence),
        ("by abort", &abort),
    ] {
        text += &row(name, runs);
    }
    text += &notes(data);
    let plot = plot(&answered(&evidence), &answered(&abort));
    let plots = vec![("rollbacks.svg", plot.svg())];
    Section {
        title: "",
        text,
        plots,
    }
}

fn row(name: &str, runs: &[&Run]) -> String {
    let (sent, failed) = (sent(runs), runs.iter().map(|run| run.failed).sum::<usize>());
    let answers = answered(runs);
    let candidate: usize = runs.iter().map(|run| run.candidate).sum();
    let requests: usize = runs.iter().map(|run| run.requests).sum();
    let p99 = quantile(&sent, 0.99);
    format!(
        "| {name} | {} | {:.0} ms | {p99:.0} ms | {:.0} ms | {:.0} ms | {candidate} | {failed} of {requests} | {} |\n",
        runs.len(),
        median(&sent),
        largest(&sent),
        largest(&answers),
        verdict(p99 <= GOAL_MILLISECONDS && failed == 0 && !runs.is_empty())
    )
}

fn sent(runs: &[&Run]) -> Vec<f64> {
    runs.iter().map(|run| run.last_sent_milliseconds).collect()
}

fn answered(runs: &[&Run]) -> Vec<f64> {
    let last = runs.iter().map(|run| run.last_answer_milliseconds);
    last.collect()
}

/// Reasons of the refusals, and what went wrong.
fn notes(data: &Data) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &data.runs {
        *reasons.entry(&run.reason).or_default() += 1;
    }
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let mut text = format!("\nReasons in status: {}.\n", reasons.join(", "));
    let queue_full: usize = data.runs.iter().map(|run| run.queue_full).sum();
    if queue_full > 0 {
        text += &format!(
            "Of the failed requests {queue_full} were told to come back (429): the queue of stable was full while candidates started on \
             the same two cores.\n"
        );
    }
    if !data.broken.is_empty() {
        text += &format!(
            "{} runs came to no rollback: {}\n",
            data.broken.len(),
            data.broken.join("; ")
        );
    }
    text
}

fn plot(evidence: &[f64], abort: &[f64]) -> Plot {
    let end = largest(evidence).max(largest(abort)).max(GOAL_MILLISECONDS) * 1.1;
    let line = |series, values| Mark::Line {
        series,
        points: plot::cumulative(values, end),
    };
    Plot {
        title: "Share of rollbacks by time from decision to the candidate's last answer".to_owned(),
        x: Axis::linear("milliseconds", 0.0, end),
        y: Axis::linear("share of rollbacks", 0.0, 1.0),
        series: vec!["by evidence".to_owned(), "by abort".to_owned()],
        marks: vec![
            line(0, evidence),
            line(1, abort),
            Mark::LimitX {
                at: GOAL_MILLISECONDS,
                label: "goal: p99".to_owned(),
            },
        ],
    }
}
