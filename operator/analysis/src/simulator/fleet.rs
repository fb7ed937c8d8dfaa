//! The nodes of a rollout and what their routers report.

use std::sync::Arc;
use std::time::Duration;

use smallfleet_runtime_core::PerArm;
use smallfleet_runtime_core::counters::{self, EpochReport};
use smallfleet_runtime_core::route::Freeze;

use super::dice::Dice;
use super::node::{Node, SECOND_US};
use super::scenario::{Booking, Scenario, Split};
use super::weather::Weather;
use crate::constants::BURN_IN_UNITS;
use crate::{AnalysisError, ArmCounts, BinaryCounts, Counts, FrozenLatency, LatencyCounts};

#[derive(Debug)]
pub(super) struct Fleet {
    scenario: Scenario,
    rollout_id: String,
    dice: Dice,
    weather: Weather,
    nodes: Vec<Node>,
    freeze: Option<Arc<Freeze>>,
    now_us: u64,
    /// Latencies of good answers of both arms since they were last taken.
    ended_us: Vec<u64>,
}

impl Fleet {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut fleet = Self {
            scenario: scenario.clone(),
            rollout_id: format!("{:012x}", dice.bits() >> 16),
            weather: Weather::new(scenario, &mut dice),
            dice,
            nodes: Vec::new(),
            freeze: None,
            now_us: 0,
            ended_us: Vec::new(),
        };
        fleet.grow(scenario.steps.first().map_or(1, |step| step.nodes));
        fleet
    }

    /// The wave has this many nodes from now on; those that it has stay.
    pub(super) fn grow(&mut self, nodes: usize) {
        while self.nodes.len() < nodes {
            self.nodes.push(Node::new(&self.scenario, &mut self.dice));
        }
        self.enter();
    }

    /// Later units are compared with these thresholds, entry `index` of the rollout's freezes.
    pub(super) fn freeze(&mut self, index: usize, frozen: &FrozenLatency) {
        self.freeze = Some(Arc::new(Freeze {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            thresholds_us: frozen.thresholds_us.clone(),
            rhos_permille: frozen.rhos.iter().map(|rho| rho.0.div_ceil(1000)).collect(),
        }));
        self.enter();
    }

    fn enter(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let permille = match self.scenario.split {
                Split::Coin { permille } => permille,
                Split::Nodes => 1000 * (index as u16 % 2),
            };
            let cell = counters::Cell {
                permille,
                freeze: self.freeze.clone(),
                errors_maturity: Duration::from_secs(self.scenario.errors_maturity_seconds),
            };
            let burn_in = match self.scenario.split {
                Split::Coin { .. } => BURN_IN_UNITS,
                // A router of one arm would wait for the other's burn-in for ever.
                Split::Nodes => 0,
            };
            node.enter(&self.rollout_id, cell, burn_in);
        }
    }

    pub(super) fn pass_second(&mut self) {
        self.weather.pass_second(&mut self.dice);
        for node in &mut self.nodes {
            node.serve_second(self.now_us, &self.scenario, &self.weather, &mut self.dice);
            self.ended_us.append(&mut node.ended_us);
        }
        self.now_us += SECOND_US;
    }

    /// Requests of the wave so far, by arm.
    pub(super) fn requests(&self) -> ArmCounts {
        self.sum(|node| node.requests)
    }

    /// Nodes of the wave.
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Latencies since the last call, both arms pooled.
    pub(super) fn take_ended_us(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ended_us)
    }

    /// The total of all epochs, as the operator adds it up, and the burn-in's sample once it is complete.
    pub(super) fn reports(&mut self) -> Result<(Counts, Option<Vec<u64>>), AnalysisError> {
        let mut total = Counts::default();
        let (mut sampled, mut sample_us) = (PerArm::<u64>::default(), Vec::new());
        for node in &mut self.nodes {
            let report = node.report();
            for epoch in &report.epochs {
                add(&mut total, epoch, self.scenario.split)?;
            }
            if let Some(sample) = report.burn_in {
                sampled.stable += u64::from(sample.units.stable);
                sampled.candidate += u64::from(sample.units.candidate);
                sample_us.extend(sample.latencies_us.iter().filter(|us| **us != u64::MAX));
            }
        }
        let complete = match self.scenario.split {
            Split::Coin { .. } => sampled.stable.min(sampled.candidate) >= BURN_IN_UNITS,
            Split::Nodes => {
                sample_us.clone_from(&self.ended_us);
                sample_us.len() as u64 >= 2 * BURN_IN_UNITS
            }
        };
        if self.scenario.booking == Booking::AtEvent {
            total = self.counts_by_event_time()?;
        }
        Ok((total, complete.then_some(sample_us)))
    }

    fn counts_by_event_time(&self) -> Result<Counts, AnalysisError> {
        let failed = self.sum(|node| node.failed);
        let mut counts = Counts::default();
        counts.add_errors(500, &BinaryCounts::new(self.requests(), failed)?)?;
        Ok(counts)
    }

    fn sum(&self, of: impl Fn(&Node) -> PerArm<u64>) -> ArmCounts {
        let zero = ArmCounts::default();
        self.nodes
            .iter()
            .map(of)
            .fold(zero, |sum, node| sum.saturating_add(arms(node)))
    }
}

/// Adds an epoch to the cell that it belongs to. Nodes that are compared are taken for the sides of a fair coin.
fn add(total: &mut Counts, epoch: &EpochReport, split: Split) -> Result<(), AnalysisError> {
    let permille = match split {
        Split::Coin { .. } => epoch.permille,
        Split::Nodes => 500,
    };
    let (latency, errors) = (&epoch.latency, &epoch.errors);
    let rhos = latency.candidate.len() / latency.stable.len().max(1);
    let rows = latency.candidate.chunks(rhos.max(1)).map(<[u64]>::to_vec);
    let table = LatencyCounts::new(arms(latency.units), latency.stable.clone(), rows.collect())?;
    total.add_latency(
        permille,
        u16::try_from(epoch.freeze).unwrap_or(u16::MAX),
        &table,
    )?;
    total.add_errors(
        permille,
        &BinaryCounts::new(arms(errors.units), arms(errors.events))?,
    )
}

fn arms(counts: PerArm<u64>) -> ArmCounts {
    ArmCounts {
        stable: counts.stable,
        candidate: counts.candidate,
    }
}
