//! One model and its rollout on one screen.

use jiff::Timestamp;
use smallfleet_crds::SmallModel;

use crate::columns;
use crate::facts::{CurrentStep, Facts, Judged};
use crate::table::Table;
use crate::words;

/// The columns of `get`, and under them the current step and the evidence of each objective.
#[must_use]
pub fn render(model: &SmallModel, now: Timestamp) -> String {
    let facts = Facts::new(model);
    let mut text = columns::table(std::slice::from_ref(model), false, now);
    if let Some(step) = facts.step().filter(|_| has_step(&facts)) {
        text.push_str(&format!("\n{}\n", step_line(&facts, &step)));
    }
    for line in hindrances(&facts) {
        text.push_str(&format!("{line}\n"));
    }
    let judged = facts.judged();
    if !judged.is_empty() {
        text.push_str(&format!("\n{}", evidence(&judged)));
    }
    text
}

/// Whether the rollout is in a step at all: not before the first, nor after its verdict.
fn has_step(facts: &Facts<'_>) -> bool {
    facts
        .rollout()
        .is_some_and(|rollout| rollout.state.is_in_step())
}

fn step_line(facts: &Facts<'_>, step: &CurrentStep) -> String {
    let rollout = facts.rollout();
    let (wave, traffic, exposed) = rollout.map_or((0, 0, 0), |rollout| {
        let wave = rollout.wave.len() as u64;
        (
            wave,
            rollout.candidate_traffic_permille,
            rollout.step_exposed_seconds,
        )
    });
    format!(
        "step {}/{} {}: {}, {} of requests; exposed {} of at least {}",
        step.number,
        step.of,
        step.settings.name,
        words::counted(wave, "node"),
        words::permille(traffic),
        words::duration(exposed),
        words::duration(step.settings.min_exposure_seconds.into()),
    )
}

fn hindrances(facts: &Facts<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(rollout) = facts.rollout() else {
        return lines;
    };
    if facts.flag_is_off() {
        lines.push("flag: Disabled".to_owned());
    }
    if let Some(paused) = &rollout.paused {
        lines.push(format!("paused: {:?}", paused.reason));
    }
    if let Some(blocked) = &rollout.blocked {
        lines.push(format!(
            "blocked: {} on {}",
            blocked.reason,
            words::list(&blocked.nodes, 3)
        ));
    }
    if let Some(refusal) = &rollout.refusal {
        lines.push(format!("refused: {}: {}", refusal.reason, refusal.effect));
    }
    lines
}

fn evidence(judged: &[Judged]) -> String {
    let mut table = Table::new(&[
        "OBJECTIVE",
        "UNITS",
        "EVENTS",
        "HARM",
        "PASS",
        "VERDICT",
        "ETA",
    ]);
    for objective in judged {
        table.push(vec![
            objective.name.clone(),
            format!("{}/{}", objective.stable_units, objective.candidate_units),
            format!("{}/{}", objective.stable_events, objective.candidate_events),
            format!("{}/{}", objective.harm, objective.harm_threshold),
            format!("{}/{}", objective.pass, objective.pass_threshold),
            verdict(objective).to_owned(),
            objective
                .eta_seconds
                .map(words::duration)
                .unwrap_or_default(),
        ]);
    }
    table.render()
}

fn verdict(objective: &Judged) -> &'static str {
    let number = |text: &str| text.parse::<f64>().ok();
    let harmful = number(&objective.harm).zip(number(&objective.harm_threshold));
    match harmful {
        Some((harm, threshold)) if harm >= threshold => "harmful",
        _ if objective.passed => "passed",
        _ => "collecting",
    }
}
