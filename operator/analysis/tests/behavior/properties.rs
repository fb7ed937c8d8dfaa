//! What holds for any counts.

use proptest::collection::vec;
use proptest::prelude::*;
use smallfleet_analysis::cell::Cell;
use smallfleet_analysis::difference::{log_d, log_q};
use smallfleet_analysis::latency::Window;
use smallfleet_analysis::ratio::{log_e, log_p};
use smallfleet_analysis::restart::Snapshot;
use smallfleet_analysis::settings::Unit;
use smallfleet_analysis::two_sided::log_two_sided;
use smallfleet_analysis::{ArmCounts, BinaryCounts, Counts, Evidence, LatencyCounts, assess};

use crate::traffic::{arms, errors, escalation, frozen, latency, settings};

/// Counts of every size, the largest included.
fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, 0..1_000_000u64, any::<u64>(), Just(u64::MAX)]
}

fn units() -> impl Strategy<Value = ArmCounts> {
    (any_count(), any_count()).prop_map(|(stable, candidate)| arms(stable, candidate))
}

/// A part of `whole` chosen by a fraction of 2^16, without overflow.
fn part(whole: u64, fraction: u16) -> u64 {
    (u128::from(whole) * u128::from(fraction) / u128::from(u16::MAX)) as u64
}

fn binary() -> impl Strategy<Value = BinaryCounts> {
    (units(), any::<(u16, u16)>()).prop_map(|(units, (a, b))| {
        BinaryCounts::new(units, arms(part(units.stable, a), part(units.candidate, b))).unwrap()
    })
}

fn table() -> impl Strategy<Value = LatencyCounts> {
    (units(), vec(any::<u16>(), 6), vec(vec(any::<u16>(), 6), 6)).prop_map(
        |(units, stable, candidate)| {
            let stable = stable
                .into_iter()
                .map(|fraction| part(units.stable, fraction))
                .collect();
            let row = |row: Vec<u16>| {
                row.into_iter()
                    .map(|fraction| part(units.candidate, fraction))
                    .collect()
            };
            LatencyCounts::new(units, stable, candidate.into_iter().map(row).collect()).unwrap()
        },
    )
}

fn share() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(500u16),
        Just(0),
        Just(1000),
        Just(1),
        Just(999),
        0..=1000u16
    ]
}

fn counts() -> impl Strategy<Value = Counts> {
    let latency = vec((share(), table()), 0..3);
    let binaries = || vec((share(), binary()), 0..3);
    (latency, binaries(), binaries()).prop_map(|(latency, errors, escalations)| {
        let mut counts = Counts::default();
        for (pi, table) in &latency {
            counts.add_latency(*pi, 0, table).unwrap();
        }
        for (pi, binary) in &errors {
            counts.add_errors(*pi, binary).unwrap();
        }
        for (pi, binary) in &escalations {
            counts.add_escalations(*pi, binary).unwrap();
        }
        counts
    })
}

fn merged<'a>(parts: impl IntoIterator<Item = &'a Counts>) -> Counts {
    Evidence::default().total(parts).unwrap()
}

/// A cell with events of both arms, small enough for exact comparisons.
fn cell() -> impl Strategy<Value = Cell> {
    (1..1000u16, 0..2000u64, 0..2000u64, 0..2000u64).prop_map(|(pi, stable, candidate, rest)| {
        Cell::new(
            pi,
            arms(stable + rest, candidate + rest),
            arms(stable, candidate),
        )
        .unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_reports_does_not_matter(parts in vec(counts(), 0..5), turn in 0..5usize) {
        let forward = merged(&parts);
        prop_assert_eq!(&merged(parts.iter().rev()), &forward);
        let turn = turn.min(parts.len());
        prop_assert_eq!(&merged(parts[turn..].iter().chain(&parts[..turn])), &forward);
        let (left, right) = (merged(&parts[..turn]), merged(&parts[turn..]));
        prop_assert_eq!(&merged([&left, &right]), &forward);
    }

    #[test]
    fn closing_an_epoch_changes_nothing(closed in counts(), open in counts()) {
        let mut evidence = Evidence::default();
        evidence.merge(&closed).unwrap();
        let before = evidence.total([&open]).unwrap();
        evidence.merge(&open).unwrap();
        prop_assert_eq!(evidence.total([]).unwrap(), before);
    }

    #[test]
    fn no_counts_break_a_look(
        total in counts(),
        restarts in vec((counts(), any::<u64>()), 0..3),
        exposed_seconds in any::<u64>(),
        max_exposed_seconds in any::<u64>(),
    ) {
        let mut settings = settings(vec![latency(), errors(), escalation()]);
        settings.max_exposed_seconds = max_exposed_seconds;
        let snapshot = |(counts, exposed_seconds)| Snapshot { exposed_seconds, counts };
        let snapshots = restarts.into_iter().map(snapshot).collect();
        let evidence = Evidence { snapshots, exposed_seconds, ..Evidence::default() };
        let look = assess(&settings, &frozen(), &evidence, &total).unwrap();
        prop_assert!(look.log_e.is_finite() && look.sample_ratio.log_e.is_finite());
        for report in &look.objectives {
            prop_assert!(report.log_e.is_finite() && report.log_p.is_finite(), "{:?}", report);
            prop_assert!(report.excess_at_most.is_none_or(|excess| (0.0..=1.0).contains(&excess)));
            prop_assert!([report.interval.lower, report.interval.upper].iter().flatten().all(|x| x.is_finite()));
        }
        let _ = Window::first(0).check(&frozen()[0], &total);
    }

    #[test]
    fn more_events_than_units_are_refused(units in units(), more in 1..u64::MAX) {
        let events = arms(units.stable.saturating_add(more), 0);
        prop_assert_eq!(BinaryCounts::new(units, events).is_err(), events.stable > units.stable);
        let table = LatencyCounts::new(units, vec![events.stable], vec![vec![0]]);
        prop_assert_eq!(table.is_err(), events.stable > units.stable);
    }

    #[test]
    fn nothing_counted_is_no_evidence(pi in 0..=1000u16, margin in 0.001..10f64, d in 0.0..0.999f64) {
        let cells = [Cell::new(pi, ArmCounts::default(), ArmCounts::default()).unwrap()];
        for log in [log_e(&cells, margin), log_p(&cells, margin), log_d(&cells, d), log_q(&cells, d)] {
            prop_assert!(log.abs() < 1e-12);
        }
        prop_assert!(log_two_sided(f64::from(pi) / 1000.0, 0.0, 0.0).abs() < 1e-12);
    }

    /// What makes it legal to choose the margin after seeing the counts.
    #[test]
    fn a_wider_margin_is_excluded_more_easily(cells in vec(cell(), 1..3), margin in 0.2..5f64, d in 0.001..0.5f64) {
        let (wider, further) = (margin * 1.1, d * 1.1);
        prop_assert!(log_e(&cells, wider) <= log_e(&cells, margin) + 1e-9);
        prop_assert!(log_p(&cells, wider) >= log_p(&cells, margin) - 1e-9);
        prop_assert!(log_d(&cells, further) <= log_d(&cells, d) + 1e-9);
        prop_assert!(log_q(&cells, further) >= log_q(&cells, d) - 1e-9);
    }

    /// The e-values are fair bets: their mean over the arm of the next event is one at the null and less inside it.
    #[test]
    fn bets_are_fair_at_the_null_and_losing_inside(pi in 1..1000u16, margin in 0.2..5f64, inside in 0.1..1f64) {
        let one = |stable, candidate| [Cell::new(pi, arms(stable, candidate), arms(stable, candidate)).unwrap()];
        let share = f64::from(pi) / 1000.0;
        let theta = |omega: f64| share * omega / (1.0 - share + share * omega);
        let mean = |theta: f64, log: fn(&[Cell], f64) -> f64| {
            theta * log(&one(0, 1), margin).exp() + (1.0 - theta) * log(&one(1, 0), margin).exp()
        };
        prop_assert!((mean(theta(margin), log_e) - 1.0).abs() < 1e-9);
        prop_assert!((mean(theta(margin), log_p) - 1.0).abs() < 1e-9);
        prop_assert!(mean(theta(margin * inside), log_e) <= 1.0 + 1e-9);
        prop_assert!(mean(theta(margin / inside), log_p) <= 1.0 + 1e-9);
    }

    /// The same for the difference, over the four things that can happen to a unit.
    #[test]
    fn difference_bets_are_fair_at_their_margin(pi in 1..1000u16, a in 0.0..1f64, of_the_rest in 0.0..0.999f64) {
        let d = of_the_rest * (1.0 - a);
        let b = a + d;
        let share = f64::from(pi) / 1000.0;
        let unit = |stable, candidate, events| [Cell::new(pi, arms(stable, candidate), events).unwrap()];
        let mean = |log: fn(&[Cell], f64) -> f64| {
            share * b * log(&unit(0, 1, arms(0, 1)), d).exp()
                + share * (1.0 - b) * log(&unit(0, 1, arms(0, 0)), d).exp()
                + (1.0 - share) * a * log(&unit(1, 0, arms(1, 0)), d).exp()
                + (1.0 - share) * (1.0 - a) * log(&unit(1, 0, arms(0, 0)), d).exp()
        };
        prop_assert!((mean(log_d) - 1.0).abs() < 1e-9);
        prop_assert!((mean(log_q) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn sticky_keys_are_never_restarted() {
    let mut settings = settings(vec![errors()]);
    settings.unit = Unit::Key;
    let counts = crate::traffic::error_counts(1000, 5, 30);
    let plain = assess(&settings, &[], &Evidence::default(), &counts).unwrap();
    let snapshot = Snapshot {
        exposed_seconds: 120,
        counts: crate::traffic::error_counts(900, 5, 0),
    };
    let with_snapshot = Evidence {
        snapshots: vec![snapshot],
        ..Evidence::default()
    };
    assert_eq!(
        assess(&settings, &[], &with_snapshot, &counts)
            .unwrap()
            .log_e,
        plain.log_e
    );
}
