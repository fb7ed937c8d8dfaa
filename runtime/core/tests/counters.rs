//! The counters against a plain model of what they must say, under any order of tosses, ends and looks.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use smallfleet_runtime_core::counters::{
    BOOKING_GRACE, Cell, Counters, EpochReport, OPEN_UNITS_MAX, Outcome, Ticket,
};
use smallfleet_runtime_core::route::{Freeze, Signal};
use smallfleet_runtime_core::{Arm, PerArm};

const THRESHOLDS: [u64; 2] = [10_000, 40_000];
const RHOS: [u32; 3] = [1000, 1050, 2000];
const ERRORS_MATURITY: Duration = Duration::from_secs(2);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn cell(index: u32) -> Cell {
    Cell {
        permille: 500,
        freeze: Some(Arc::new(Freeze {
            index,
            thresholds_us: THRESHOLDS.to_vec(),
            rhos_permille: RHOS.to_vec(),
        })),
        errors_maturity: ERRORS_MATURITY,
        signal: Signal::Total,
    }
}

fn counting() -> Counters {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    counters.enter("rollout", cell(0), 0);
    counters
}

fn key(unit: u64) -> [u8; 16] {
    u128::from(unit).to_be_bytes()
}

fn only_epoch(counters: &mut Counters) -> EpochReport {
    let mut report = counters.report();
    assert_eq!(report.epochs.len(), 1);
    report.epochs.remove(0)
}

/// Tosses until a unit falls on `arm`, then ends the others well.
fn toss_for(counters: &mut Counters, arm: Arm, now: Duration, from: &mut u64) -> Ticket {
    loop {
        *from += 1;
        let (side, ticket) = counters.toss(now, &key(*from)).expect("there is room");
        if side == arm {
            return ticket;
        }
        counters.resolve(ticket, Outcome::Good(ms(1)));
    }
}

#[test]
fn a_unit_without_an_answer_is_every_event() {
    let mut counters = counting();
    toss_for(&mut counters, Arm::Candidate, ms(0), &mut 0);
    counters.mature(ms(10_000));
    let epoch = only_epoch(&mut counters);
    assert_eq!(epoch.latency.candidate, [1; 6]);
    assert_eq!(
        epoch.errors.events,
        PerArm {
            stable: 0,
            candidate: 1
        }
    );
}

#[test]
fn latency_is_compared_with_each_threshold_and_slow_down() {
    let mut counters = counting();
    let mut from = 0;
    let ticket = toss_for(&mut counters, Arm::Candidate, ms(0), &mut from);
    counters.resolve(ticket, Outcome::Good(Duration::from_micros(10_500)));
    counters.mature(ms(10_000));
    let epoch = only_epoch(&mut counters);
    // Above 10.0 ms, not above 10.5 ms.
    assert_eq!(epoch.latency.candidate, [1, 0, 0, 0, 0, 0]);
    assert_eq!(epoch.errors.events, PerArm::default());
}

#[test]
fn nothing_is_booked_before_its_maturity() {
    let mut counters = counting();
    let ticket = toss_for(&mut counters, Arm::Stable, ms(100), &mut 0);
    counters.resolve(ticket, Outcome::Bad);
    // Latency matures 2 x 40 ms after the coin, errors 2 s after it.
    counters.mature(ms(100 + 80) + BOOKING_GRACE);
    assert_eq!(only_epoch(&mut counters).latency.units.stable, 0);
    counters.mature(ms(100 + 81) + BOOKING_GRACE);
    let epoch = only_epoch(&mut counters);
    assert_eq!(
        (epoch.latency.units.stable, epoch.errors.units.stable),
        (1, 0)
    );
    counters.mature(ms(100 + 2_001) + BOOKING_GRACE);
    assert_eq!(only_epoch(&mut counters).errors.units.stable, 1);
}

#[test]
fn the_first_units_are_sampled_and_not_counted() {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    let burning = Cell {
        freeze: None,
        ..cell(0)
    };
    counters.enter("rollout", burning, 5);
    for unit in 0..40 {
        let (arm, ticket) = counters.toss(ms(unit), &key(unit)).unwrap();
        let outcome = match arm {
            Arm::Stable => Outcome::Good(ms(3)),
            Arm::Candidate => Outcome::Bad,
        };
        counters.resolve(ticket, outcome);
    }
    let report = counters.report();
    assert!(report.epochs.is_empty());
    let sample = report.burn_in.unwrap();
    assert_eq!(
        sample.units,
        PerArm {
            stable: 5,
            candidate: 5
        }
    );
    assert_eq!(
        sample
            .latencies_us
            .iter()
            .filter(|us| **us == u64::MAX)
            .count(),
        5
    );
    assert_eq!(
        sample
            .latencies_us
            .iter()
            .filter(|us| **us == 3_000)
            .count(),
        5
    );

    counters.enter("rollout", cell(0), 5);
    assert_eq!(counters.report().burn_in, None);
    counters.toss(ms(50), &key(99)).unwrap();
    counters.mature(ms(9_000));
    let units = only_epoch(&mut counters).errors.units;
    assert_eq!(units.stable + units.candidate, 1);
}

#[test]
fn a_new_process_burns_in_even_when_thresholds_are_frozen() {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    counters.enter("rollout", cell(0), 20);
    for unit in 0..20 {
        counters.toss(ms(unit), &key(unit)).unwrap();
    }
    counters.mature(ms(9_000));
    let epoch = only_epoch(&mut counters);
    assert_eq!(epoch.errors.units, PerArm::default());
    assert_eq!(
        epoch.totals.tossed.stable + epoch.totals.tossed.candidate,
        20
    );
}

#[test]
fn an_epoch_closes_after_its_last_unit_and_is_kept_until_stored() {
    let mut counters = counting();
    let ticket = toss_for(&mut counters, Arm::Candidate, ms(0), &mut 0);
    counters.enter("rollout", cell(1), 0);
    let epochs = counters.report().epochs;
    assert_eq!(
        epochs.iter().map(|epoch| epoch.closed).collect::<Vec<_>>(),
        [false, false]
    );
    counters.stored(&[epochs[0].id]);
    counters.resolve(ticket, Outcome::Good(ms(1)));
    counters.mature(ms(9_000));
    let epochs = counters.report().epochs;
    assert_eq!(
        epochs.iter().map(|epoch| epoch.closed).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!((epochs[0].freeze, epochs[0].sequence), (0, 2));
    counters.stored(&[epochs[0].id]);
    assert_eq!(counters.report().epochs.len(), 1);
}

#[test]
fn the_same_cell_goes_on_in_the_same_epoch() {
    let mut counters = counting();
    let id = only_epoch(&mut counters).id;
    counters.route_lost(ms(5));
    counters.enter("rollout", cell(0), 0);
    assert_eq!(only_epoch(&mut counters).id, id);
}

#[test]
fn counts_of_an_older_rollout_are_dropped() {
    let mut counters = counting();
    let ticket = toss_for(&mut counters, Arm::Candidate, ms(0), &mut 0);
    counters.enter("next", cell(0), 0);
    counters.resolve(ticket, Outcome::Bad);
    counters.mature(ms(9_000));
    let epoch = only_epoch(&mut counters);
    assert_eq!(
        (epoch.rollout_id.as_str(), epoch.errors.units),
        ("next", PerArm::default())
    );
}

#[test]
fn a_lost_route_treats_open_units_of_both_arms_alike() {
    let mut counters = counting();
    let mut from = 0;
    let mut open = PerArm::<u64>::default();
    // Old enough to be booked at the loss: one open unit per arm. Young: many.
    for arm in [Arm::Stable, Arm::Candidate] {
        toss_for(&mut counters, arm, ms(100), &mut from);
        *open.get_mut(arm) += 1;
    }
    let before = from;
    while from < before + 50 {
        from += 1;
        counters.toss(ms(1_000), &key(from)).unwrap();
    }
    counters.route_lost(ms(1_500));
    counters.leave();
    let epoch = only_epoch(&mut counters);
    assert!(epoch.closed);
    assert_eq!(
        epoch.errors.units.stable + epoch.errors.units.candidate,
        before
    );
    assert_eq!(epoch.errors.events, open);
    assert_eq!(counters.open_units(), 0);
}

fn first_token(index: u32) -> Cell {
    Cell {
        signal: Signal::FirstToken,
        ..cell(index)
    }
}

/// Stable's units above each threshold when one unit has its first byte and its end at these times.
fn events_of(cell: Cell, first_byte: Option<u64>, end: Option<Outcome>) -> (Vec<u64>, u64) {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    counters.enter("rollout", cell, 0);
    let mut unit = 0;
    let ticket = loop {
        unit += 1;
        let (side, ticket) = counters.toss(ms(1), &key(unit)).expect("there is room");
        if side == Arm::Stable {
            break ticket;
        }
    };
    if let Some(first_byte) = first_byte {
        counters.first_byte(ticket, ms(first_byte));
        // A later byte is not the first.
        counters.first_byte(ticket, ms(first_byte + 1_000));
    }
    if let Some(end) = end {
        counters.resolve(ticket, end);
    }
    counters.mature(ms(10_000));
    let epoch = only_epoch(&mut counters);
    (epoch.latency.stable, epoch.errors.events.stable)
}

#[test]
fn a_stream_is_timed_to_its_first_byte_and_judged_by_its_end() {
    // Thresholds are 10 and 40 ms.
    let long = Some(Outcome::Good(ms(1_500)));
    assert_eq!(events_of(first_token(0), Some(5), long), (vec![0, 0], 0));
    assert_eq!(events_of(first_token(0), Some(20), long), (vec![1, 0], 0));
    assert_eq!(events_of(first_token(0), Some(50), long), (vec![1, 1], 0));
    // It breaks off after a quick first byte: no latency event, an error.
    let broken = Some(Outcome::Bad);
    assert_eq!(events_of(first_token(0), Some(5), broken), (vec![0, 0], 1));
    // It is still open when the errors mature.
    assert_eq!(events_of(first_token(0), Some(5), None), (vec![0, 0], 1));
    // No byte at all is an event everywhere.
    assert_eq!(events_of(first_token(0), None, broken), (vec![1, 1], 1));
    assert_eq!(events_of(first_token(0), None, None), (vec![1, 1], 1));
    // The other signal does not look at the first byte.
    assert_eq!(events_of(cell(0), Some(5), long), (vec![1, 1], 0));
}

#[test]
fn the_sample_holds_what_is_timed() {
    for (signal, latency) in [(Signal::FirstToken, 3_000), (Signal::Total, 7_000)] {
        let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
        let burning = Cell {
            freeze: None,
            signal,
            ..cell(0)
        };
        counters.enter("rollout", burning, 1);
        let (_, ticket) = counters.toss(ms(1), &key(1)).unwrap();
        counters.first_byte(ticket, ms(3));
        counters.resolve(ticket, Outcome::Good(ms(7)));
        let sample = counters.report().burn_in.unwrap();
        assert_eq!(sample.latencies_us, [latency]);
    }
}

#[test]
fn a_lost_route_frees_its_places_in_the_sample() {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    counters.enter(
        "rollout",
        Cell {
            freeze: None,
            ..cell(0)
        },
        3,
    );
    for unit in 0..30 {
        counters.toss(ms(1), &key(unit)).unwrap();
    }
    counters.route_lost(ms(2));
    for unit in 30..60 {
        let (_, ticket) = counters.toss(ms(3), &key(unit)).unwrap();
        counters.resolve(ticket, Outcome::Good(ms(1)));
    }
    assert_eq!(
        counters.report().burn_in.unwrap().units,
        PerArm {
            stable: 3,
            candidate: 3
        }
    );
}

#[test]
fn no_coin_is_tossed_when_too_many_units_are_open() {
    let mut counters = Counters::new([1; 16], 10);
    counters.enter("rollout", cell(0), 0);
    for unit in 0..10 {
        assert!(counters.toss(ms(0), &key(unit)).is_some());
    }
    assert!(counters.toss(ms(1), &key(10)).is_none());
    assert!(counters.toss(ms(5_000), &key(11)).is_some());
}

#[test]
fn epochs_are_bounded_and_their_ids_differ() {
    let mut counters = Counters::new([1; 16], OPEN_UNITS_MAX);
    for index in 0..200 {
        counters.enter("rollout", cell(index), 0);
    }
    let mut ids: Vec<u64> = counters
        .report()
        .epochs
        .iter()
        .map(|epoch| epoch.id)
        .collect();
    assert_eq!(ids.len(), 64);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 64);
}

#[derive(Debug, Clone)]
enum Step {
    Toss,
    /// Ends the n-th unit, perhaps again, perhaps badly.
    End(usize, bool),
    Look,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Toss),
        5 => (0_usize..60, prop::bool::weighted(0.8)).prop_map(|(unit, good)| Step::End(unit, good)),
        2 => Just(Step::Look),
        1 => Just(Step::Lose),
    ]
}

struct Unit {
    arm: Arm,
    ticket: Ticket,
    coin: Duration,
    outcome: Option<Outcome>,
    /// Booked as (latency, error) when it matured or the route was lost; `None` while open or when it was voided.
    latency: Option<bool>,
    error: Option<bool>,
    ended: bool,
}

/// What the contract says, without prefixes, queues or cleverness.
#[derive(Default)]
struct Model {
    units: Vec<Unit>,
}

impl Model {
    fn look(&mut self, now: Duration) {
        for unit in self.units.iter_mut().filter(|unit| !unit.ended) {
            if unit.coin + ms(80) + BOOKING_GRACE < now && unit.latency.is_none() {
                let above = |us: u128| !matches!(unit.outcome, Some(Outcome::Good(latency)) if latency.as_micros() <= us);
                unit.latency = Some(above(10_000));
            }
            if unit.coin + ERRORS_MATURITY + BOOKING_GRACE < now {
                unit.error = Some(
                    !matches!(unit.outcome, Some(Outcome::Good(latency)) if latency <= ERRORS_MATURITY),
                );
                unit.ended = true;
            }
        }
    }

    fn lose(&mut self, now: Duration) {
        self.look(now);
        for unit in self.units.iter_mut().filter(|unit| !unit.ended) {
            if unit.coin + ms(1_000) < now {
                unit.error = Some(
                    !matches!(unit.outcome, Some(Outcome::Good(latency)) if latency <= ERRORS_MATURITY),
                );
            }
            unit.ended = true;
        }
    }

    fn count(&self, arm: Arm, of: impl Fn(&Unit) -> Option<bool>) -> (u64, u64) {
        let booked = self
            .units
            .iter()
            .filter(|unit| unit.arm == arm)
            .filter_map(of);
        booked.fold((0, 0), |(units, events), event| {
            (units + 1, events + u64::from(event))
        })
    }
}

fn check(model: &Model, epoch: &EpochReport) -> Result<(), TestCaseError> {
    for arm in [Arm::Stable, Arm::Candidate] {
        let (units, events) = model.count(arm, |unit| unit.latency);
        prop_assert_eq!(*epoch.latency.units.get(arm), units);
        let first = match arm {
            Arm::Stable => epoch.latency.stable[0],
            Arm::Candidate => epoch.latency.candidate[0],
        };
        prop_assert_eq!(first, events);
        let (units, events) = model.count(arm, |unit| unit.error);
        prop_assert_eq!(*epoch.errors.units.get(arm), units);
        prop_assert_eq!(*epoch.errors.events.get(arm), events);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_counters_say_what_the_contract_says(steps in prop::collection::vec((0_u64..400, step()), 1..120)) {
        let (mut counters, mut model) = (counting(), Model::default());
        let mut now = Duration::ZERO;
        for (wait, step) in steps {
            now += ms(wait);
            match step {
                Step::Toss => {
                    let (arm, ticket) = counters.toss(now, &key(model.units.len() as u64)).unwrap();
                    model.units.push(Unit { arm, ticket, coin: now, outcome: None, latency: None, error: None, ended: false });
                }
                Step::End(unit, good) => {
                    if let Some(unit) = model.units.get_mut(unit) {
                        let outcome = if good { Outcome::Good(now.saturating_sub(unit.coin)) } else { Outcome::Bad };
                        counters.resolve(unit.ticket, outcome);
                        // A model of the contract: an answer after the maturity changes nothing that was booked.
                        unit.outcome.get_or_insert(outcome);
                    }
                }
                Step::Look => {
                    counters.mature(now);
                    model.look(now);
                }
                Step::Lose => {
                    counters.route_lost(now);
                    model.lose(now);
                }
            }
        }
        counters.mature(now);
        model.look(now);
        check(&model, &only_epoch(&mut counters))?;
    }

    #[test]
    fn how_often_one_looks_changes_nothing(
        units in prop::collection::vec((0_u64..100, 0_u64..300), 1..60),
        looks in prop::collection::vec(0_u64..6_000, 0..40),
    ) {
        let (mut seldom, mut often) = (counting(), counting());
        // (time, unit, end?) in order of time; a unit's end is written down at most a grace late.
        let mut events = Vec::new();
        let mut coin = 0;
        for (index, (wait, latency)) in units.iter().enumerate() {
            coin += wait;
            events.push((coin, index, None));
            events.push((coin + latency, index, Some(ms(*latency))));
        }
        let mut tickets = vec![None; units.len()];
        events.sort_by_key(|(at, index, end)| (*at, end.is_some(), *index));
        for (at, index, end) in events {
            for look in looks.iter().filter(|look| **look <= at) {
                often.mature(ms(*look));
            }
            match end {
                None => {
                    let sides = [&mut seldom, &mut often].map(|counters| counters.toss(ms(at), &key(index as u64)).unwrap());
                    prop_assert_eq!(sides[0].0, sides[1].0);
                    tickets[index] = Some(sides.map(|(_, ticket)| ticket));
                }
                Some(latency) => {
                    let [first, second] = tickets[index].expect("its toss came first");
                    seldom.resolve(first, Outcome::Good(latency));
                    often.resolve(second, Outcome::Good(latency));
                }
            }
        }
        seldom.mature(ms(100_000));
        often.mature(ms(100_000));
        let (seldom, often) = (only_epoch(&mut seldom), only_epoch(&mut often));
        prop_assert_eq!(seldom.latency, often.latency);
        prop_assert_eq!(seldom.errors, often.errors);
    }
}
