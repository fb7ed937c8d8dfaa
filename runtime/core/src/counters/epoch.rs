use std::collections::VecDeque;
use std::time::Duration;

use super::{BOOKING_GRACE, Cell, Outcome, count, count_arm, micros};
use crate::histogram::Histogram;
use crate::route::{Freeze, Signal};
use crate::{Arm, PerArm};

/// What one router process counted in one cell.
#[derive(Debug)]
pub(super) struct Epoch {
    id: u64,
    cell: Cell,
    sequence: u64,
    closing: bool,
    /// In coin order; the front is unit `first`.
    units: VecDeque<Unit>,
    first: u64,
    /// The next unit that is booked in each prefix.
    latency_next: u64,
    errors_next: u64,
    latency: LatencyCounts,
    errors: ErrorCounts,
    totals: Totals,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    arm: Arm,
    coin: Duration,
    first_byte: Option<Duration>,
    outcome: Option<Outcome>,
}

impl Unit {
    /// `None`: what the signal waits for has not happened.
    fn latency(&self, signal: Signal) -> Option<Duration> {
        let complete = match self.outcome {
            Some(Outcome::Good(latency)) => Some(latency),
            Some(Outcome::Bad) | None => None,
        };
        match signal {
            Signal::Total => complete,
            // A good answer without a byte is there when it is complete.
            Signal::FirstToken => self.first_byte.or(complete),
        }
    }
}

/// Units matured for latency and their events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// Units.
    pub units: PerArm<u64>,
    /// Stable's events by threshold.
    pub stable: Vec<u64>,
    /// The candidate's events by threshold and slow-down: `[threshold * slow-downs + slow-down]`.
    pub candidate: Vec<u64>,
}

/// Units matured for errors and their events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// Units.
    pub units: PerArm<u64>,
    /// Units without a good complete answer in time.
    pub events: PerArm<u64>,
}

/// For people; no part of a verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Units by the coin's side, counted or not.
    pub tossed: PerArm<u64>,
    /// Requests that an override sent there.
    pub forced: PerArm<u64>,
    /// Candidate failures that stable answered.
    pub fallbacks: u64,
    /// Latency of counted units with a good answer.
    pub latency: PerArm<Histogram>,
}

/// Cumulative counts of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochReport {
    /// Unique.
    pub id: u64,
    /// The rollout.
    pub rollout_id: String,
    /// Rises with every report of this epoch.
    pub sequence: u64,
    /// The candidate's share at the coin.
    pub permille: u16,
    /// Number of the freeze.
    pub freeze: u32,
    /// No unit will be added.
    pub closed: bool,
    /// Latency events.
    pub latency: LatencyCounts,
    /// Error events.
    pub errors: ErrorCounts,
    /// Figures for people.
    pub totals: Totals,
}

impl Epoch {
    pub(super) fn new(id: u64, cell: Cell) -> Self {
        let (thresholds, rhos) = cell.freeze.as_ref().map_or((0, 0), |freeze| {
            (freeze.thresholds_us.len(), freeze.rhos_permille.len())
        });
        Self {
            id,
            cell,
            sequence: 0,
            closing: false,
            units: VecDeque::new(),
            first: 0,
            latency_next: 0,
            errors_next: 0,
            latency: LatencyCounts {
                units: PerArm::default(),
                stable: vec![0; thresholds],
                candidate: vec![0; thresholds * rhos],
            },
            errors: ErrorCounts::default(),
            totals: Totals::default(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn closing(&self) -> bool {
        self.closing
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn closed(&self) -> bool {
        self.closing && self.units.is_empty()
    }

    pub(super) fn open_units(&self) -> usize {
        self.units.len()
    }

    pub(super) fn tossed(&mut self, arm: Arm) {
        count_arm(&mut self.totals.tossed, arm);
    }

    pub(super) fn forced(&mut self, arm: Arm) {
        count_arm(&mut self.totals.forced, arm);
    }

    pub(super) fn fallback(&mut self) {
        count(&mut self.totals.fallbacks);
    }

    /// Appends a unit; coins come in order.
    pub(super) fn push(&mut self, arm: Arm, coin: Duration) -> u64 {
        self.units.push_back(Unit {
            arm,
            coin,
            first_byte: None,
            outcome: None,
        });
        self.end() - 1
    }

    fn end(&self) -> u64 {
        self.first + self.units.len() as u64
    }

    /// Unit number `unit`, while it is open.
    fn unit(&self, unit: u64) -> Option<&Unit> {
        let index = usize::try_from(unit.checked_sub(self.first)?).ok()?;
        self.units.get(index)
    }

    fn unit_mut(&mut self, unit: u64) -> Option<&mut Unit> {
        let index = usize::try_from(unit.checked_sub(self.first)?).ok()?;
        self.units.get_mut(index)
    }

    pub(super) fn resolve(&mut self, unit: u64, outcome: Outcome) {
        if let Some(unit) = self.unit_mut(unit) {
            unit.outcome.get_or_insert(outcome);
        }
    }

    pub(super) fn first_byte(&mut self, unit: u64, latency: Duration) {
        if let Some(unit) = self.unit_mut(unit) {
            unit.first_byte.get_or_insert(latency);
        }
    }

    pub(super) fn mature(&mut self, now: Duration) {
        let latency = self.cell.latency_maturity().saturating_add(BOOKING_GRACE);
        while let Some(unit) = self.tossed_before(self.latency_next, latency, now) {
            self.book_latency(unit);
            self.latency_next += 1;
        }
        let errors = self.cell.errors_maturity.saturating_add(BOOKING_GRACE);
        while let Some(unit) = self.tossed_before(self.errors_next, errors, now) {
            self.book_error(unit);
            self.errors_next += 1;
        }
        self.drop_booked();
    }

    /// Unit number `unit` if its coin is more than `age` before `now`.
    fn tossed_before(&self, unit: u64, age: Duration, now: Duration) -> Option<Unit> {
        let unit = *self.unit(unit)?;
        (unit.coin.saturating_add(age) < now).then_some(unit)
    }

    /// Ends the observation of every open unit; to be called after `mature(now)`.
    pub(super) fn settle(&mut self, now: Duration) {
        let age = self.cell.settle();
        while let Some(unit) = self.tossed_before(self.errors_next, age, now) {
            self.book_error(unit);
            self.errors_next += 1;
        }
        self.latency_next = self.end();
        self.errors_next = self.end();
        self.drop_booked();
    }

    fn drop_booked(&mut self) {
        let booked = self.latency_next.min(self.errors_next) - self.first;
        let booked = usize::try_from(booked).unwrap_or(usize::MAX);
        self.units.drain(..booked.min(self.units.len()));
        self.first = self.latency_next.min(self.errors_next);
    }

    fn book_latency(&mut self, unit: Unit) {
        let latency_us = unit.latency(self.cell.signal).map(micros);
        count_arm(&mut self.latency.units, unit.arm);
        if let Some(latency) = latency_us {
            self.totals.latency.get_mut(unit.arm).add(latency);
        }
        let Some(freeze) = &self.cell.freeze else {
            return;
        };
        let slower = |limit: u64| latency_us.is_none_or(|latency| latency > limit);
        match unit.arm {
            Arm::Stable => book_stable(&mut self.latency.stable, freeze, slower),
            Arm::Candidate => book_candidate(&mut self.latency.candidate, freeze, slower),
        }
    }

    fn book_error(&mut self, unit: Unit) {
        count_arm(&mut self.errors.units, unit.arm);
        let good = matches!(unit.outcome, Some(Outcome::Good(latency)) if latency <= self.cell.errors_maturity);
        if !good {
            count_arm(&mut self.errors.events, unit.arm);
        }
    }

    pub(super) fn report(&mut self, rollout_id: &str) -> EpochReport {
        count(&mut self.sequence);
        EpochReport {
            id: self.id,
            rollout_id: rollout_id.to_owned(),
            sequence: self.sequence,
            permille: self.cell.permille,
            freeze: self.cell.freeze.as_ref().map_or(0, |freeze| freeze.index),
            closed: self.closed(),
            latency: self.latency.clone(),
            errors: self.errors,
            totals: self.totals.clone(),
        }
    }
}

fn book_stable(counts: &mut [u64], freeze: &Freeze, slower: impl Fn(u64) -> bool) {
    for (counter, threshold) in counts.iter_mut().zip(&freeze.thresholds_us) {
        if slower(*threshold) {
            count(counter);
        }
    }
}

fn book_candidate(counts: &mut [u64], freeze: &Freeze, slower: impl Fn(u64) -> bool) {
    let limits = freeze.thresholds_us.iter().flat_map(|threshold| {
        let rhos = freeze.rhos_permille.iter();
        rhos.map(|rho| Freeze::scaled_us(*threshold, *rho))
    });
    for (counter, limit) in counts.iter_mut().zip(limits) {
        if slower(limit) {
            count(counter);
        }
    }
}
