//! What latency means in a rollout: it follows from the task, is frozen, and reaches the routers.

use serde_json::json;
use smallfleet_analysis::LatencySignal as Timed;
use smallfleet_crds::status::RolloutState;
use smallfleet_crds::{LatencySignal, ObjectiveType};

use crate::lab::Lab;

/// The signals of the rollout: the frozen one, and those of all routes.
fn signals(lab: &mut Lab) -> (Option<LatencySignal>, Vec<Timed>) {
    let frozen = lab.rollout().frozen.unwrap();
    let mut objectives = frozen.analysis.objectives.into_iter();
    let latency = objectives.find(|one| one.r#type == ObjectiveType::Latency);
    let signal = latency.and_then(|one| one.latency.unwrap().signal);
    let routes = smallfleet_core::routes(&lab.world());
    let timed = routes.by_router.values().map(|route| route.signal);
    (signal, timed.collect())
}

#[test]
fn a_generator_is_judged_by_its_first_token() {
    let mut lab = Lab::new(2);
    lab.edit("/task", json!("TextGeneration"));
    lab.run(30);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let (frozen, routes) = signals(&mut lab);
    assert_eq!(frozen, Some(LatencySignal::FirstToken));
    assert!(!routes.is_empty() && routes.iter().all(|one| *one == Timed::FirstToken));
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_classifier_is_judged_by_its_whole_answer() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let (frozen, routes) = signals(&mut lab);
    assert_eq!(frozen, Some(LatencySignal::Total));
    assert!(!routes.is_empty() && routes.iter().all(|one| *one == Timed::Total));
}

/// The release before froze no signal.
#[test]
fn a_rollout_that_an_earlier_release_began_goes_on() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let id = lab.rollout().id;
    let status = lab.model.status.as_mut().unwrap();
    let frozen = status.rollout.as_mut().unwrap().frozen.as_mut().unwrap();
    for objective in &mut frozen.analysis.objectives {
        if let Some(latency) = &mut objective.latency {
            latency.signal = None;
        }
    }
    lab.run(3);
    assert_eq!(lab.rollout().id, id);
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert_eq!(lab.status().last_rollout.unwrap().id, id);
}

#[test]
fn another_signal_is_another_rollout_and_the_default_written_out_is_not() {
    let objectives = |signal: &str| {
        json!([
            {"name": "latency", "type": "Latency", "latency": {"signal": signal}},
            {"name": "errors", "type": "Errors"},
        ])
    };
    let mut lab = Lab::new(2);
    lab.edit("/task", json!("TextGeneration"));
    lab.edit("/rollout/analysis/objectives", objectives("FirstToken"));
    lab.run(30);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let id = lab.rollout().id;
    lab.edit(
        "/rollout/analysis/objectives/0/latency",
        json!({"maxIncrease": "10%"}),
    );
    lab.run(1);
    assert_eq!(lab.rollout().id, id);
    lab.edit(
        "/rollout/analysis/objectives/0/latency",
        json!({"signal": "Total"}),
    );
    lab.run(1);
    assert_ne!(lab.rollout().id, id);
}
