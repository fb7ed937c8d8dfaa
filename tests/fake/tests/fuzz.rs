//! Specs that nobody should write: whatever is stored, the operator neither panics nor runs hot, says what it saw, and goes on with a
//! good one. `FUZZ_CASES` sets how many; `make fuzz` runs many.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use serde_json::{Value, json};
use smallfleet_crds::SmallModelSpec;
use smallfleet_fake::lab::{Lab, Resting, model_key};
use smallfleet_fake::mutate::{full_spec, mutate};
use smallfleet_fake::server::Fault;
use smallfleet_fake::story::on_paused_clock;

const CASES: u64 = 100;
/// Calls to the API server, per second, that a model may cost while something is wrong with it.
const CALLS_PER_SECOND: usize = 12;
const WATCHED_SECONDS: u64 = 30;

fn cases() -> u64 {
    let asked = std::env::var("FUZZ_CASES").ok();
    asked.map_or(CASES, |asked| {
        asked.parse().expect("FUZZ_CASES is a number")
    })
}

/// Stores a spec as it is: what a schema would refuse may be there from an older one.
fn store(lab: &Lab, spec: Value) -> i64 {
    lab.server.change(|store| {
        let mut model = store.get(&model_key()).unwrap().as_ref().clone();
        let generation = model["metadata"]["generation"].as_i64().unwrap() + 1;
        model["metadata"]["generation"] = json!(generation);
        model["spec"] = spec;
        store.put(&model_key(), model);
        generation
    })
}

fn calls(lab: &Lab) -> usize {
    let (reads, writes) = lab.operators[0].connection.calls();
    reads + writes
}

fn resting() -> Resting {
    on_paused_clock(async { Lab::at_rest(2).await.snapshot() })
}

fn case(resting: &Resting, number: u64) {
    let mut spec = full_spec();
    let what = mutate(&mut spec, number);
    let readable = serde_json::from_value::<SmallModelSpec>(spec.clone()).is_ok();
    on_paused_clock(async {
        let mut lab = Lab::from_snapshot(resting);
        lab.start_operator(Fault::None);
        lab.second().await;
        let good = lab.model().spec;
        let (before, generation) = (calls(&lab), store(&lab, spec));
        lab.seconds(WATCHED_SECONDS).await;
        let cost = calls(&lab) - before;
        let limit = CALLS_PER_SECOND * usize::try_from(WATCHED_SECONDS).unwrap();
        assert!(cost <= limit, "{number}: {what}: {cost} calls: {lab:?}");
        if readable {
            let told = lab.status().observed_generation;
            assert_eq!(told, Some(generation), "{number}: {what}: nothing is said");
        }
        let generation = store(&lab, serde_json::to_value(good).unwrap());
        lab.until(200, &format!("recovery from {number}: {what}"), |status| {
            status.phase == "Stable" && status.observed_generation == Some(generation)
        })
        .await;
    });
}

#[test]
fn any_spec_is_survived_and_told() {
    let resting = resting();
    for number in 0..cases() {
        case(&resting, number);
    }
}

/// Every reconcile fails, and something that is watched changes a hundred times a second, as while a namespace ends.
#[test]
fn a_model_that_fails_is_not_tried_at_every_change() {
    let resting = resting();
    on_paused_clock(async {
        let mut lab = Lab::from_snapshot(&resting);
        lab.start_operator(Fault::None);
        lab.second().await;
        store(&lab, json!("no spec at all"));
        lab.second().await;
        let before = calls(&lab);
        for _ in 0..1000 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            store(&lab, json!("no spec at all"));
        }
        let cost = calls(&lab) - before;
        assert!(cost <= 40, "{cost} calls in 10 seconds");
        assert!(cost > 2, "it is tried now and then: {cost} calls");
    });
}
