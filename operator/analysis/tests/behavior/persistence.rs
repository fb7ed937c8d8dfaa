//! What is stored reads back to the same verdict.

use smallfleet_analysis::restart::RestartPlan;
use smallfleet_analysis::{
    AnalysisSettings, Assessment, Counts, Evidence, FrozenLatency, LatencyCounts, assess,
};

use smallfleet_analysis::simulator::{Rollout, Scenario};

use crate::traffic::{errors, escalation, latency, settings};

fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn the_same_evidence_gives_the_same_verdict_after_a_restart() {
    let settings = settings(vec![latency(), errors(), escalation()]);
    let scenario = Scenario::calm().with_candidate(1.1, 0.01);
    let mut rollout = Rollout::new(&scenario, &settings, 11);
    let mut evidence = Evidence::default();
    for _ in 0..10 {
        rollout.serve(210).unwrap();
        evidence.exposed_seconds += 120;
        evidence.restart_if_due(&RestartPlan::new(&settings), rollout.counts());
        let look = assess(&settings, rollout.frozen(), &evidence, rollout.counts()).unwrap();
        evidence.record(&look);
    }
    assert!(evidence.snapshots.len() > 3);
    evidence.merge(rollout.counts()).unwrap();
    let total = evidence.total([]).unwrap();
    let before = assess(&settings, rollout.frozen(), &evidence, &total).unwrap();

    let (settings, frozen): (AnalysisSettings, Vec<FrozenLatency>) = (
        round_trip(&settings),
        round_trip(&rollout.frozen().to_vec()),
    );
    let restored: Evidence = round_trip(&evidence);
    assert_eq!(restored, evidence);
    let after = assess(&settings, &frozen, &restored, &restored.total([]).unwrap()).unwrap();
    assert_eq!(after, before);
}

#[test]
fn a_look_can_be_stored() {
    let look = assess(
        &settings(vec![latency(), errors()]),
        &[],
        &Evidence::default(),
        &Counts::default(),
    )
    .unwrap();
    let stored: Assessment = round_trip(&look);
    assert_eq!(stored.verdict, look.verdict);
    assert_eq!(stored.objectives.len(), 2);
}

#[test]
fn field_names_are_those_of_the_api() {
    let json = serde_json::to_value(settings(vec![latency(), errors()])).unwrap();
    assert_eq!(json["falseRollbackRate"], 10_000);
    assert_eq!(json["objectives"][0]["kind"]["type"], "latency");
    assert_eq!(json["objectives"][0]["kind"]["maxIncrease"], 100_000);
    let evidence = serde_json::to_value(Evidence::default()).unwrap();
    assert_eq!(evidence["peak"]["logEMicronats"], 0);
    assert_eq!(evidence["closed"]["latency"], serde_json::json!([]));
}

#[test]
fn corrupt_counts_are_refused_when_read() {
    let read = |json: &str| serde_json::from_str::<Counts>(json).map_err(|error| error.to_string());
    let errors = |n: u32, k: u32, pi: u32| {
        format!(
            r#"{{"latency": [], "escalations": [], "errors": [{{"piPermille": {pi}, "counts":
                {{"nStable": {n}, "nCandidate": 9, "kStable": {k}, "kCandidate": 0}}}}]}}"#
        )
    };
    assert!(read(&errors(5, 5, 500)).is_ok());
    assert!(
        read(&errors(5, 6, 500))
            .unwrap_err()
            .contains("6 events among 5 units of the stable arm")
    );
    assert!(
        read(&errors(5, 5, 1001))
            .unwrap_err()
            .contains("above 1000")
    );
    let ragged = r#"{"nStable": 1, "nCandidate": 1, "stable": [1, 0], "candidate": [[1, 1], [0]]}"#;
    assert!(serde_json::from_str::<LatencyCounts>(ragged).is_err());
}
