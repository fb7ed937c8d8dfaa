//! Steps, update strategy and objectives.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smallfleet_crds::{
    LatencySignal, Objective, ObjectiveType, Percent, Rollout, Step, Task, Update,
};

use super::{Checked, InvalidSpec, require, unique};
use crate::settings;

pub(super) fn check(rollout: &Rollout) -> Checked {
    update(&rollout.update)?;
    steps(rollout)?;
    objectives(rollout)
}

/// A count or a share of nodes, from `1` or `"1%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nodes {
    Count(i32),
    Share(Percent),
}

fn nodes(field: &str, value: &IntOrString) -> Result<Nodes, InvalidSpec> {
    let parsed = match value {
        IntOrString::Int(count) => Some(Nodes::Count(*count)).filter(|_| *count >= 1),
        IntOrString::String(text) => text
            .parse()
            .ok()
            .filter(|share| (Percent::whole(1)..=Percent::whole(100)).contains(share))
            .map(Nodes::Share),
    };
    parsed.ok_or_else(|| {
        let text = match value {
            IntOrString::Int(count) => count.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        InvalidSpec(format!(
            "{field}: {text} is neither a count of at least 1 nor a share from 1% to 100%"
        ))
    })
}

fn update(update: &Update) -> Checked {
    let field = "spec.rollout.update";
    require(
        update.max_surge.is_none() || update.max_unavailable.is_none(),
        || format!("{field}: set maxSurge or maxUnavailable, not both"),
    )?;
    for value in [&update.max_surge, &update.max_unavailable]
        .into_iter()
        .flatten()
    {
        nodes(field, value)?;
    }
    Ok(())
}

fn steps(rollout: &Rollout) -> Checked {
    let field = "spec.rollout.steps";
    require(!rollout.steps.is_empty(), || {
        format!("{field}: write at least one step")
    })?;
    unique(field, rollout.steps.iter().map(|step| step.name.as_str()))?;
    let mut largest = (None, None);
    for step in &rollout.steps {
        let (count, share) = match nodes(&format!("{field}[{}].nodes", step.name), &step.nodes)? {
            Nodes::Count(count) => (Some(count), None),
            Nodes::Share(share) => (None, Some(share)),
        };
        require(
            count.is_none_or(|count| largest.0.is_none_or(|before| before <= count)),
            || shrinks(step),
        )?;
        require(
            share.is_none_or(|share| largest.1.is_none_or(|before| before <= share)),
            || shrinks(step),
        )?;
        largest = (count.or(largest.0), share.or(largest.1));
        exposure(rollout, step)?;
    }
    Ok(())
}

fn shrinks(step: &Step) -> String {
    format!(
        "spec.rollout.steps[{}].nodes is less than in a step before: a wave never shrinks, order the steps by size",
        step.name
    )
}

fn exposure(rollout: &Rollout, step: &Step) -> Checked {
    require(
        (10..1000).contains(&step.candidate_traffic.permille()),
        || {
            format!(
                "spec.rollout.steps[{}].candidateTraffic: write a share from \"1%\" to \"99.9%\"",
                step.name
            )
        },
    )?;
    require(
        step.min_exposure_seconds <= rollout.step_deadline_seconds,
        || {
            format!(
                "spec.rollout.steps[{}].minExposureSeconds is above stepDeadlineSeconds: lower it or raise the deadline",
                step.name
            )
        },
    )
}

fn objectives(rollout: &Rollout) -> Checked {
    let field = "spec.rollout.analysis.objectives";
    let objectives = &rollout.analysis.objectives;
    require(!objectives.is_empty(), || {
        format!("{field}: write at least one objective")
    })?;
    unique(
        field,
        objectives.iter().map(|objective| objective.name.as_str()),
    )?;
    for (index, objective) in objectives.iter().enumerate() {
        require(
            objectives[..index]
                .iter()
                .all(|other| other.r#type != objective.r#type),
            || {
                format!(
                    "{field}: {} is the second of type {:?}: write one",
                    objective.name, objective.r#type
                )
            },
        )?;
        block(field, objective)?;
    }
    let live = settings::live(&rollout.analysis, 1);
    live.validate()
        .map_err(|error| InvalidSpec(format!("spec.rollout.analysis: {error}")))
}

/// Objectives that mean something for the task.
pub(super) fn fits_task(rollout: &Rollout, task: Task) -> Checked {
    let field = "spec.rollout.analysis.objectives";
    for objective in &rollout.analysis.objectives {
        let signal = objective
            .latency
            .as_ref()
            .and_then(|latency| latency.signal);
        require(
            task == Task::TextGeneration || signal != Some(LatencySignal::FirstToken),
            || {
                format!(
                    "{field}[{}].latency.signal: FirstToken is for task TextGeneration: write Total or leave it out",
                    objective.name
                )
            },
        )?;
        require(
            task != Task::TextGeneration || objective.r#type != ObjectiveType::Accuracy,
            || {
                format!(
                    "{field}[{}]: type Accuracy compares labels, which task TextGeneration has none of: remove it",
                    objective.name
                )
            },
        )?;
    }
    Ok(())
}

/// An objective has the block of its type and no other.
fn block(field: &str, objective: &Objective) -> Checked {
    let foreign = (objective.latency.is_some() && objective.r#type != ObjectiveType::Latency)
        || (objective.errors.is_some() && objective.r#type != ObjectiveType::Errors)
        || (objective.accuracy.is_some() && objective.r#type != ObjectiveType::Accuracy);
    require(!foreign, || {
        format!(
            "{field}[{}]: write only the block of its type {:?}",
            objective.name, objective.r#type
        )
    })?;
    let dataset = objective
        .accuracy
        .as_ref()
        .map(|accuracy| accuracy.dataset.image.as_str());
    require(
        objective.r#type != ObjectiveType::Accuracy || dataset.is_some(),
        || {
            format!(
                "{field}[{}]: an objective of type Accuracy needs accuracy.dataset.image",
                objective.name
            )
        },
    )?;
    require(
        dataset.is_none_or(|image| image.contains("@sha256:")),
        || {
            format!(
                "{field}[{}].accuracy.dataset.image: name the image by digest",
                objective.name
            )
        },
    )
}
