//! Settings, hand-made counts and simulated traffic for the tests.

use smallfleet_analysis::constants as c;
use smallfleet_analysis::latency::LatencyObjective;
use smallfleet_analysis::settings::HarmMargins;
use smallfleet_analysis::{
    AnalysisSettings, ArmCounts, BinaryCounts, Counts, FrozenLatency, LatencyCounts, LatencySignal,
    Objective, ObjectiveKind, Ppm,
};

pub fn latency_objective() -> LatencyObjective {
    LatencyObjective {
        signal: LatencySignal::Total,
        percentile: None,
        max_increase: c::LATENCY_MAX_INCREASE,
    }
}

pub fn latency() -> Objective {
    Objective {
        name: "latency".to_owned(),
        kind: ObjectiveKind::Latency(latency_objective()),
    }
}

pub fn errors() -> Objective {
    let margins = HarmMargins::errors(c::ERRORS_MAX_INCREASE, c::ERRORS_MAX_INCREASE_POINTS);
    Objective {
        name: "errors".to_owned(),
        kind: ObjectiveKind::Errors(margins),
    }
}

pub fn escalation() -> Objective {
    let margins = HarmMargins::escalation(
        c::ESCALATION_MAX_INCREASE,
        c::ESCALATION_MAX_INCREASE_POINTS,
    );
    Objective {
        name: "escalation".to_owned(),
        kind: ObjectiveKind::Escalation(margins),
    }
}

pub fn settings(objectives: Vec<Objective>) -> AnalysisSettings {
    AnalysisSettings::with_objectives(objectives, 7200)
}

/// Thresholds 500, 750, 900, 950, 990 and 995 us.
pub fn frozen() -> Vec<FrozenLatency> {
    let sample_us = (1..=1000).collect();
    vec![
        FrozenLatency::from_burn_in(LatencySignal::Total, sample_us, [&latency_objective()])
            .unwrap(),
    ]
}

pub fn arms(stable: u64, candidate: u64) -> ArmCounts {
    ArmCounts { stable, candidate }
}

pub fn binary(units: u64, stable: u64, candidate: u64) -> BinaryCounts {
    BinaryCounts::new(arms(units, units), arms(stable, candidate)).unwrap()
}

/// `units` an arm at 50/50 with these error counts.
pub fn error_counts(units: u64, stable: u64, candidate: u64) -> Counts {
    let mut counts = Counts::default();
    counts
        .add_errors(500, &binary(units, stable, candidate))
        .unwrap();
    counts
}

/// A seeded generator (SplitMix64, Steele, Lea and Flood 2014), so that a simulation is the same every time.
pub struct Dice(pub u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// What is true of the two revisions.
#[derive(Clone, Copy)]
pub struct Truth {
    /// The candidate's latency over stable's.
    pub slowdown: f64,
    pub stable_errors: f64,
    pub candidate_errors: f64,
}

/// One simulated split at 50/50: log-normal latency whose level wanders for both arms alike.
pub struct Split {
    truth: Truth,
    dice: Dice,
    level: f64,
    frozen: FrozenLatency,
    units: [u64; 2],
    failed: [u64; 2],
    stable: Vec<u64>,
    candidate: Vec<Vec<u64>>,
}

impl Split {
    /// Freezes thresholds from a burn-in of 100 units of each arm.
    pub fn new(truth: Truth, seed: u64) -> Self {
        let (mut dice, mut level) = (Dice(seed), 0.0);
        let mut sample_us = Vec::new();
        for unit in 0..200 {
            let slowdown = if unit % 2 == 0 { truth.slowdown } else { 1.0 };
            sample_us.push(latency_us(&mut dice, &mut level, slowdown));
        }
        let objective = latency_objective();
        let frozen =
            FrozenLatency::from_burn_in(LatencySignal::Total, sample_us, [&objective]).unwrap();
        let shape = frozen.shape();
        let (stable, candidate) = (
            vec![0; shape.thresholds],
            vec![vec![0; shape.rhos]; shape.thresholds],
        );
        Self {
            truth,
            dice,
            level,
            frozen,
            units: [0; 2],
            failed: [0; 2],
            stable,
            candidate,
        }
    }

    pub fn frozen(&self) -> Vec<FrozenLatency> {
        vec![self.frozen.clone()]
    }

    pub fn serve(&mut self, units: u64) {
        let thresholds = self.frozen.candidate_thresholds_us();
        for _ in 0..units {
            let arm = usize::from(self.dice.uniform() < 0.5);
            let (slowdown, errors) = [
                (1.0, self.truth.stable_errors),
                (self.truth.slowdown, self.truth.candidate_errors),
            ][arm];
            let latency_us = latency_us(&mut self.dice, &mut self.level, slowdown);
            let failed = self.dice.uniform() < errors;
            self.units[arm] += 1;
            self.failed[arm] += u64::from(failed);
            if !failed && latency_us <= self.frozen.thresholds_us[0] {
                continue;
            }
            let slower = |threshold: &u64| u64::from(failed || latency_us > *threshold);
            if arm == 0 {
                let events = self.stable.iter_mut().zip(&self.frozen.thresholds_us);
                events.for_each(|(events, threshold)| *events += slower(threshold));
            } else {
                let events = self
                    .candidate
                    .iter_mut()
                    .flatten()
                    .zip(thresholds.iter().flatten());
                events.for_each(|(events, threshold)| *events += slower(threshold));
            }
        }
    }

    pub fn counts(&self) -> Counts {
        let units = arms(self.units[0], self.units[1]);
        let failed = BinaryCounts::new(units, arms(self.failed[0], self.failed[1])).unwrap();
        let table = LatencyCounts::new(units, self.stable.clone(), self.candidate.clone()).unwrap();
        let mut counts = Counts::default();
        counts.add_latency(500, 0, &table).unwrap();
        counts.add_errors(500, &failed).unwrap();
        counts
    }
}

/// About 10 ms, sigma .25 (inputs of one length class), with a load level that wanders for both arms alike.
fn latency_us(dice: &mut Dice, level: &mut f64, slowdown: f64) -> u64 {
    *level = 0.98 * *level + 0.02 * dice.normal();
    (10_000.0 * slowdown * (*level + 0.25 * dice.normal()).exp()) as u64
}

/// An increase in percent.
pub fn percent(percent: u32) -> Ppm {
    Ppm::from_percent(percent)
}
