use smallfleet_analysis::AnalysisError;
use smallfleet_analysis::constants as c;
use smallfleet_analysis::gate::{
    ClassResult, GateDecision, GateOutcome, GateReason, GateSettings, decide,
};

use crate::traffic::percent;

fn settings() -> GateSettings {
    GateSettings {
        minimum: Some(percent(80)),
        max_drop: c::GATE_MAX_DROP,
        false_rollback_rate: c::FALSE_ROLLBACK_RATE,
        false_promotion_rate: c::FALSE_PROMOTION_RATE,
    }
}

/// `examples` answered; stable is right on all but `minus` and 5 % of the rest, the candidate wrong on `plus` of those.
fn class(name: &str, examples: usize, plus: usize, minus: usize) -> ClassResult {
    let both_wrong = examples / 20;
    let stable = (0..examples).map(|i| i >= both_wrong + minus).collect();
    let candidate = (0..examples)
        .map(|i| i >= both_wrong && i < examples - plus)
        .collect();
    ClassResult {
        class: name.to_owned(),
        stable: Some(stable),
        candidate,
    }
}

fn decided(classes: &[ClassResult]) -> GateDecision {
    decide(&settings(), classes).unwrap()
}

#[test]
fn a_good_candidate_passes_on_enough_examples() {
    let decision = decided(&[class("amd64", 1000, 15, 15)]);
    assert_eq!(
        (decision.outcome, decision.reason),
        (GateOutcome::Pass, GateReason::DropExcluded)
    );
    assert!(decision.log_pass >= 20f64.ln());
    assert!(
        decision.words.contains("1000 examples"),
        "{}",
        decision.words
    );
}

#[test]
fn equal_accuracy_is_proven_by_eleven_hundred_examples() {
    // At 4 % discordance, half of it each way, against a margin of 2 points.
    let reason =
        |examples: usize| decided(&[class("amd64", examples, examples / 50, examples / 50)]).reason;
    assert_eq!(reason(1100), GateReason::DropExcluded);
    assert_eq!(reason(700), GateReason::ObservedDropWithin);
}

#[test]
fn a_drop_is_shown_by_evidence() {
    let decision = decided(&[class("amd64", 1000, 90, 10)]);
    assert_eq!(
        (decision.outcome, decision.reason),
        (GateOutcome::Fail, GateReason::DropShown)
    );
    assert!(decision.log_fail >= 1000f64.ln());
}

#[test]
fn undecided_is_left_to_the_point_rule_and_said() {
    let within = decided(&[class("amd64", 200, 4, 2)]);
    assert_eq!(
        (within.outcome, within.reason),
        (
            GateOutcome::PassEvidenceLimited,
            GateReason::ObservedDropWithin
        )
    );
    assert!(
        within.words.contains("these 200 examples"),
        "{}",
        within.words
    );
    let beyond = decided(&[class("amd64", 200, 8, 1)]);
    assert_eq!(
        (beyond.outcome, beyond.reason),
        (GateOutcome::Fail, GateReason::ObservedDropTooLarge)
    );
}

#[test]
fn exactly_the_tolerated_drop_is_within() {
    // 1 of 50 is exactly 2 points.
    assert_eq!(
        decided(&[class("amd64", 50, 1, 0)]).reason,
        GateReason::ObservedDropWithin
    );
}

#[test]
fn the_worst_node_class_decides() {
    let good = class("arm64", 1000, 5, 5);
    let bad = class("amd64-vnni", 1000, 90, 10);
    for classes in [[good.clone(), bad.clone()], [bad, good]] {
        let decision = decided(&classes);
        assert_eq!(
            (decision.outcome, decision.class.as_str()),
            (GateOutcome::Fail, "amd64-vnni")
        );
    }
}

#[test]
fn first_install_asks_for_the_minimum_only() {
    let result = |right: usize| ClassResult {
        class: "amd64".to_owned(),
        stable: None,
        candidate: (0..100).map(|i| i < right).collect(),
    };
    assert_eq!(decided(&[result(80)]).reason, GateReason::NothingToCompare);
    let below = decided(&[result(79)]);
    assert_eq!(
        (below.outcome, below.reason),
        (GateOutcome::Fail, GateReason::BelowMinimum)
    );
    assert!(below.words.contains("minimum of 80 %"), "{}", below.words);
    let no_minimum = GateSettings {
        minimum: None,
        ..settings()
    };
    assert_eq!(
        decide(&no_minimum, &[result(0)]).unwrap().outcome,
        GateOutcome::Pass
    );
}

#[test]
fn the_minimum_holds_however_good_the_comparison() {
    let mut result = class("amd64", 1000, 0, 0);
    result.candidate = vec![false; 1000];
    result.stable = Some(vec![false; 1000]);
    assert_eq!(decided(&[result]).reason, GateReason::BelowMinimum);
}

#[test]
fn results_that_do_not_pair_up_are_refused() {
    let mut unpaired = class("amd64", 100, 1, 1);
    unpaired.candidate.pop();
    assert!(matches!(
        decide(&settings(), &[unpaired]),
        Err(AnalysisError::Unpaired {
            stable: 100,
            candidate: 99,
            ..
        })
    ));
    assert_eq!(decide(&settings(), &[]), Err(AnalysisError::NoClasses));
    let empty = ClassResult {
        class: "amd64".to_owned(),
        stable: None,
        candidate: Vec::new(),
    };
    assert_eq!(
        decide(&settings(), &[empty]),
        Err(AnalysisError::NoExamples("amd64".to_owned()))
    );
}
