use smallfleet_analysis::settings::AccuracyGate;
use smallfleet_analysis::simulator::Scenario;
use smallfleet_analysis::verdict::{NextStep, StepEnd, Toward, promote_if_bounded, step_end};
use smallfleet_analysis::{
    AnalysisError, AnalysisSettings, BinaryCounts, Counts, Evidence, LatencyCounts, Objective,
    ObjectiveKind, Percentile, Verdict, assess,
};

use crate::traffic::{
    arms, binary, error_counts, errors, escalation, frozen, latency, latency_objective, percent,
    rollout_after, settings,
};

fn look(settings: &AnalysisSettings, counts: &Counts) -> smallfleet_analysis::Assessment {
    assess(settings, &frozen(), &Evidence::default(), counts).unwrap()
}

/// Latency counts of 1000 units an arm with these events above every candidate threshold.
fn latency_counts(stable: [u64; 6], candidate: [u64; 6]) -> Counts {
    let table = candidate.map(|events| vec![events; 6]).to_vec();
    let mut counts = Counts::default();
    let cell = LatencyCounts::new(arms(1000, 1000), stable.to_vec(), table).unwrap();
    counts.add_latency(500, 0, &cell).unwrap();
    counts
}

#[test]
fn without_counts_there_is_no_evidence() {
    let look = look(
        &settings(vec![latency(), errors(), escalation()]),
        &Counts::default(),
    );
    assert_eq!(look.verdict, Verdict::Continue);
    assert!(look.log_e.abs() < 1e-12);
    for report in &look.objectives {
        assert!(
            report.log_e.abs() < 1e-12 && report.log_p.abs() < 1e-12,
            "{}",
            report.name
        );
        assert!(!report.passes && !report.bounded && report.forecast.is_none());
    }
    let words: Vec<&str> = look
        .objectives
        .iter()
        .map(|report| report.effect.as_str())
        .collect();
    assert_eq!(
        words,
        [
            "slow-down not bounded yet",
            "errors not bounded yet",
            "escalations not bounded yet"
        ]
    );
}

#[test]
fn a_rollback_names_the_objective_that_contributed_most() {
    let mut counts = error_counts(1000, 5, 60);
    counts
        .merge(&latency_counts(
            [500, 250, 100, 50, 10, 5],
            [500, 250, 100, 50, 10, 5],
        ))
        .unwrap();
    let look = look(&settings(vec![latency(), errors()]), &counts);
    assert_eq!(
        look.verdict,
        Verdict::RollBack {
            objective: "errors".to_owned()
        }
    );
    assert!(look.log_e >= look.threshold);
    assert!(look.objective("errors").unwrap().interval.lower.unwrap() > 1.2);
}

#[test]
fn a_boundary_once_crossed_stays_crossed() {
    let settings = settings(vec![errors()]);
    let mut evidence = Evidence::default();
    let crossing = assess(&settings, &[], &evidence, &error_counts(1000, 5, 60)).unwrap();
    evidence.record(&crossing);
    let later = assess(&settings, &[], &evidence, &error_counts(100_000, 500, 500)).unwrap();
    assert!(later.log_e < later.threshold);
    assert_eq!(
        later.verdict,
        Verdict::RollBack {
            objective: "errors".to_owned()
        }
    );
    assert_eq!(later.peak, crossing.peak);
}

#[test]
fn peaks_only_rise() {
    let settings = settings(vec![errors()]);
    let mut evidence = Evidence::default();
    evidence.record(&assess(&settings, &[], &evidence, &error_counts(1000, 5, 20)).unwrap());
    let peak = evidence.peak.clone();
    assert!(peak.log_e_micronats > 0);
    evidence.record(
        &assess(
            &settings,
            &[],
            &Evidence::default(),
            &error_counts(1000, 5, 5),
        )
        .unwrap(),
    );
    assert_eq!(evidence.peak, peak);
}

#[test]
fn the_gate_takes_a_tenth_of_alpha() {
    let mut settings = settings(vec![errors()]);
    assert!((settings.roll_back_threshold() - 100f64.ln()).abs() < 1e-12);
    settings.accuracy_gate = AccuracyGate::Configured;
    assert!((settings.roll_back_threshold() - (1.0 / 0.009f64).ln()).abs() < 1e-12);
}

#[test]
fn weights_are_renormalised_over_the_kinds_present() {
    let weights = |objectives| settings(objectives).objective_weights();
    assert_eq!(weights(vec![errors()]), [1.0]);
    let two = weights(vec![latency(), errors()]);
    assert!((two[0] - 0.625).abs() < 1e-12 && (two[1] - 0.375).abs() < 1e-12);
    let mut tail = latency();
    tail.name = "tail".to_owned();
    let shared = weights(vec![latency(), tail, errors()]);
    assert!((shared[0] - 0.3125).abs() < 1e-12 && (shared[1] - 0.3125).abs() < 1e-12);
}

#[test]
fn a_broken_coin_pauses_before_it_blames_the_revision() {
    let units = arms(600, 1400);
    let mut counts = Counts::default();
    counts
        .add_errors(500, &BinaryCounts::new(units, arms(3, 200)).unwrap())
        .unwrap();
    let look = look(&settings(vec![errors()]), &counts);
    assert!(look.log_e >= look.threshold);
    assert_eq!(look.verdict, Verdict::SampleRatioMismatch);
}

#[test]
fn shares_of_zero_and_one_are_not_evidence() {
    let mut counts = Counts::default();
    counts
        .add_errors(
            1000,
            &BinaryCounts::new(arms(0, 9000), arms(0, 9000)).unwrap(),
        )
        .unwrap();
    counts
        .add_errors(0, &BinaryCounts::new(arms(9000, 0), arms(9000, 0)).unwrap())
        .unwrap();
    let look = look(&settings(vec![errors()]), &counts);
    assert_eq!(look.verdict, Verdict::Continue);
    assert!(look.log_e.abs() < 1e-12);
    assert_eq!(look.objectives[0].units, arms(0, 0));
}

#[test]
fn a_step_may_end_when_little_can_be_harmed() {
    let settings = settings(vec![errors()]);
    let look = look(&settings, &error_counts(150, 0, 0));
    assert_eq!(look.verdict, Verdict::Continue);
    let next = |expected_requests| {
        Some(NextStep {
            pi_permille: 500,
            expected_requests,
        })
    };
    let StepEnd::LittleHarm { requests } = step_end(&settings, &look, next(1000)) else {
        panic!("{:?}", look.objectives[0].excess_at_most)
    };
    assert!(requests > 5.0 && requests <= 50.0, "{requests}");
    assert_eq!(step_end(&settings, &look, next(100_000)), StepEnd::NotYet);
    assert_eq!(step_end(&settings, &look, None), StepEnd::NotYet);
}

#[test]
fn nothing_excluded_means_that_every_request_may_be_harmed() {
    let settings = settings(vec![errors()]);
    let look = look(&settings, &Counts::default());
    let next = |expected_requests| {
        Some(NextStep {
            pi_permille: 500,
            expected_requests,
        })
    };
    assert_eq!(
        step_end(&settings, &look, next(100)),
        StepEnd::LittleHarm { requests: 50.0 }
    );
    assert_eq!(step_end(&settings, &look, next(101)), StepEnd::NotYet);
}

#[test]
fn a_passing_step_ends_whatever_follows() {
    let settings = settings(vec![errors()]);
    let look = look(&settings, &error_counts(1000, 1, 1));
    assert_eq!(look.verdict, Verdict::Pass);
    assert_eq!(step_end(&settings, &look, None), StepEnd::Passed);
    assert_eq!(
        look.objectives[0].forecast.map(|forecast| forecast.units),
        Some(0)
    );
}

#[test]
fn a_rollback_ends_no_step() {
    let settings = settings(vec![errors()]);
    let look = look(&settings, &error_counts(1000, 5, 60));
    let next = Some(NextStep {
        pi_permille: 500,
        expected_requests: 0,
    });
    assert_eq!(step_end(&settings, &look, next), StepEnd::NotYet);
    assert_eq!(promote_if_bounded(&look), None);
}

#[test]
fn at_the_deadline_wide_bounds_suffice_and_are_said() {
    let settings = settings(vec![errors()]);
    let look = look(&settings, &error_counts(400, 8, 12));
    assert_eq!(look.verdict, Verdict::Continue);
    let words = promote_if_bounded(&look).expect("bounded");
    assert_eq!(
        words,
        "errors: x0.36 to x7.23 of stable's errors, at most +4.75 points"
    );
    let few = assess(
        &settings,
        &[],
        &Evidence::default(),
        &error_counts(30, 2, 3),
    )
    .unwrap();
    assert_eq!(promote_if_bounded(&few), None);
}

#[test]
fn the_slow_down_is_bounded_in_words() {
    let settings = settings(vec![latency()]);
    let effect = |slowdown, seed| {
        let mut scenario = Scenario::calm();
        scenario.stable.failing = 0.0;
        let scenario = scenario.with_candidate(slowdown, 0.0);
        let mut rollout = rollout_after(&scenario, &settings, seed, 3000);
        let report = &rollout.look().unwrap().objectives[0];
        (report.interval, report.effect.clone())
    };
    let (equal, words) = effect(1.0, 7);
    assert!(
        equal.lower.is_none() && equal.upper.unwrap() <= 1.25 && words.contains("slower"),
        "{words}"
    );
    let (double, words) = effect(2.2, 7);
    assert!(
        double.lower.unwrap() >= 1.5 && words.starts_with("at least x"),
        "{words}"
    );
}

#[test]
fn the_forecast_is_about_what_is_needed() {
    let settings = settings(vec![errors()]);
    let early = look(&settings, &error_counts(200, 0, 0)).objectives[0]
        .forecast
        .expect("a forecast");
    assert_eq!(early.toward, Toward::Promotion);
    assert!((300..700).contains(&early.units), "{early:?}");
    let failing = look(&settings, &error_counts(200, 2, 9)).objectives[0]
        .forecast
        .expect("a forecast");
    assert_eq!(failing.toward, Toward::RollBack);
    assert!(failing.events > 0);
}

#[test]
fn escalations_are_an_objective_like_errors() {
    let mut counts = Counts::default();
    counts
        .add_escalations(500, &binary(2000, 100, 260))
        .unwrap();
    let look = look(&settings(vec![latency(), errors(), escalation()]), &counts);
    assert_eq!(
        look.verdict,
        Verdict::RollBack {
            objective: "escalation".to_owned()
        }
    );
    assert_eq!(look.objective("escalation").unwrap().events, arms(100, 260));
}

#[test]
fn a_named_percentile_is_the_only_one_looked_at() {
    let mut named = latency_objective();
    named.percentile = Some(Percentile::P99);
    let settings = settings(vec![Objective {
        name: "p99".to_owned(),
        kind: ObjectiveKind::Latency(named),
    }]);
    let only_p99_worse = latency_counts([500, 250, 100, 50, 10, 5], [500, 250, 100, 50, 60, 5]);
    assert_eq!(
        look(&settings, &only_p99_worse).verdict,
        Verdict::RollBack {
            objective: "p99".to_owned()
        }
    );
    let only_median_worse = latency_counts([500, 250, 100, 50, 10, 5], [900, 250, 100, 50, 10, 5]);
    assert_eq!(
        look(&settings, &only_median_worse).verdict,
        Verdict::Continue
    );
}

#[test]
fn counts_of_unknown_or_other_thresholds_are_refused() {
    let settings = settings(vec![latency()]);
    let check = |freeze, shape: (usize, usize)| {
        let table = LatencyCounts::new(
            arms(9, 9),
            vec![1; shape.0],
            vec![vec![1; shape.1]; shape.0],
        )
        .unwrap();
        let mut counts = Counts::default();
        counts.add_latency(500, freeze, &table).unwrap();
        assess(&settings, &frozen(), &Evidence::default(), &counts).map(|look| look.verdict)
    };
    assert_eq!(check(0, (6, 6)), Ok(Verdict::Continue));
    assert_eq!(check(1, (6, 6)), Err(AnalysisError::UnknownFreeze(1)));
    assert_eq!(check(0, (6, 5)).unwrap_err().reason(), "CorruptEvidence");
}

#[test]
fn a_freeze_must_hold_the_slow_downs_of_its_objectives() {
    let mut strict = latency_objective();
    strict.max_increase = percent(3);
    let settings = settings(vec![Objective {
        name: "strict".to_owned(),
        kind: ObjectiveKind::Latency(strict),
    }]);
    let refused = assess(
        &settings,
        &frozen(),
        &Evidence::default(),
        &Counts::default(),
    )
    .unwrap_err();
    assert_eq!(refused.reason(), "InvalidAnalysis");
}

#[test]
fn settings_without_meaning_are_refused() {
    let refused = |change: fn(&mut AnalysisSettings)| {
        let mut settings = settings(vec![latency(), errors()]);
        change(&mut settings);
        settings.validate().unwrap_err()
    };
    let twice = refused(|settings| settings.objectives.push(errors()));
    assert_eq!(
        twice,
        AnalysisError::DuplicateObjective("errors".to_owned())
    );
    let fields = [
        refused(|settings| settings.false_rollback_rate = percent(0)),
        refused(|settings| settings.false_promotion_rate = percent(51)),
        refused(|settings| {
            settings.objectives = vec![latency()];
            if let ObjectiveKind::Latency(latency) = &mut settings.objectives[0].kind {
                latency.max_increase = percent(0);
            }
        }),
    ];
    for error in fields {
        assert_eq!(error.reason(), "InvalidAnalysis", "{error}");
    }
}

#[test]
fn without_live_objectives_time_alone_promotes() {
    let look = look(&settings(Vec::new()), &error_counts(100, 0, 100));
    assert_eq!(look.verdict, Verdict::Pass);
    assert_eq!(look.log_e, 0.0);
}
