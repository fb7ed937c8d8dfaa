//! A node: its router with the real counters, and an engine for each arm.

use std::collections::BTreeMap;
use std::time::Duration;

use smallfleet_runtime_core::counters::{Cell, Counters, OPEN_UNITS_MAX, Outcome, Report, Ticket};
use smallfleet_runtime_core::{Arm, PerArm};

use super::dice::Dice;
use super::scenario::{Queues, Revision, Scenario};
use super::weather::Weather;

/// One second in the simulation's unit.
pub(super) const SECOND_US: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Node {
    counters: Counters,
    /// Units on their way, by the time and number of their end.
    pending: BTreeMap<(u64, u64), (Arm, Ticket, Outcome)>,
    /// When the arm's engine has done all that was given to it.
    free_us: PerArm<u64>,
    /// When the last unit left a queue.
    head_us: u64,
    /// Factors of this node on rate and service time.
    rate: f64,
    service: f64,
    pub(super) requests: PerArm<u64>,
    /// Units whose failure has shown.
    pub(super) failed: PerArm<u64>,
    /// Latencies of good answers since they were last taken, in the order of their ends.
    pub(super) ended_us: Vec<u64>,
}

impl Node {
    pub(super) fn new(scenario: &Scenario, dice: &mut Dice) -> Self {
        Self {
            counters: Counters::new(dice.key(), OPEN_UNITS_MAX),
            pending: BTreeMap::new(),
            free_us: PerArm::default(),
            head_us: 0,
            rate: (scenario.traffic.node_swing * dice.normal()).exp(),
            service: (scenario.service.node_spread * dice.normal()).exp(),
            requests: PerArm::default(),
            failed: PerArm::default(),
            ended_us: Vec::new(),
        }
    }

    /// Units are tossed in this cell from now on.
    pub(super) fn enter(&mut self, rollout_id: &str, cell: Cell, burn_in_units: u64) {
        let burn_in_units = u32::try_from(burn_in_units).unwrap_or(u32::MAX);
        self.counters.enter(rollout_id, cell, burn_in_units);
    }

    /// Serves the requests of the second that begins at `from_us`: Poisson arrivals.
    pub(super) fn serve_second(
        &mut self,
        from_us: u64,
        scenario: &Scenario,
        weather: &Weather,
        dice: &mut Dice,
    ) {
        let rate = scenario.traffic.requests_per_second * self.rate * weather.rate();
        let (mut at_us, end_us) = (from_us as f64, from_us + SECOND_US);
        loop {
            at_us += dice.exponential(SECOND_US as f64 / rate);
            if at_us as u64 >= end_us {
                break;
            }
            self.serve(at_us as u64, scenario, weather, dice);
        }
        self.end_until(end_us);
        self.counters.mature(Duration::from_micros(end_us));
    }

    pub(super) fn report(&mut self) -> Report {
        self.counters.report()
    }

    fn serve(&mut self, at_us: u64, scenario: &Scenario, weather: &Weather, dice: &mut Dice) {
        self.end_until(at_us);
        let now = Duration::from_micros(at_us);
        let Some((arm, ticket)) = self.counters.toss(now, &dice.key()) else {
            return;
        };
        let revision = match arm {
            Arm::Stable => &scenario.stable,
            Arm::Candidate => &scenario.candidate,
        };
        *self.requests.get_mut(arm) += 1;
        let (end_us, outcome) = if dice.happens(revision.failing + weather.failing()) {
            // A failure takes no place in a queue: it is the request's fault or the network's.
            (at_us + revision.failure_us, Outcome::Bad)
        } else {
            let service_us = self.service_us(scenario, weather, revision, dice);
            let end_us = self.start(scenario.queues, arm, at_us, service_us) + revision.path_us;
            (end_us, Outcome::Good(Duration::from_micros(end_us - at_us)))
        };
        let number = self.requests.stable + self.requests.candidate;
        self.pending
            .insert((end_us, number), (arm, ticket, outcome));
    }

    fn service_us(
        &self,
        scenario: &Scenario,
        weather: &Weather,
        revision: &Revision,
        dice: &mut Dice,
    ) -> u64 {
        let service = &scenario.service;
        let mut time_us = service.median_us
            * revision.slowdown
            * self.service
            * weather.service()
            * (service.spread * dice.normal()).exp();
        if dice.happens(service.stalling) {
            time_us += dice.exponential(service.stall_us);
        }
        time_us as u64
    }

    /// Puts a unit into its queue; when the engine has done it, as first come is first served.
    fn start(&mut self, queues: Queues, arm: Arm, at_us: u64, service_us: u64) -> u64 {
        let free_us = self.free_us.get_mut(arm);
        let mut start_us = at_us.max(*free_us);
        if queues == Queues::Shared {
            // The head of the one queue waits for its engine, and all behind it wait too.
            start_us = start_us.max(self.head_us);
        }
        self.head_us = start_us;
        *free_us = start_us + service_us;
        *free_us
    }

    /// Writes down the ends of units until `now_us`.
    fn end_until(&mut self, now_us: u64) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now_us {
                break;
            }
            let (arm, ticket, outcome) = entry.remove();
            match outcome {
                Outcome::Good(latency) => {
                    self.ended_us
                        .push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
                }
                Outcome::Bad => *self.failed.get_mut(arm) += 1,
            }
            self.counters.resolve(ticket, outcome);
        }
    }
}
