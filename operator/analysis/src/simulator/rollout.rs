//! The operator's part of a simulated rollout: freeze, look, restart, next step, end.

use super::fleet::Fleet;
use super::scenario::{Scenario, Step};
use crate::latency::{LatencyObjective, Window, WindowCheck};
use crate::restart::RestartPlan;
use crate::verdict::{NextStep, StepEnd, step_end};
use crate::{
    AnalysisError, AnalysisSettings, Assessment, Counts, Evidence, FrozenLatency, LatencySignal,
    ObjectiveKind, Verdict, assess,
};

/// How long a simulated rollout goes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most requests on wave nodes.
    pub requests: u64,
    /// Time between two looks.
    pub look_seconds: u64,
    /// What ends it before.
    pub stop: Stop,
}

/// What ends a simulated rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The verdict, as in the product.
    AtVerdict,
    /// Only the evidence of harm: passing objectives end nothing and steps follow each other by time, so that the
    /// evidence has every chance to be wrong.
    AtRollBack,
}

/// How a simulated rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every objective passed in the last step.
    Promoted,
    /// The evidence of harm reached its threshold.
    RolledBack,
    /// The coin seemed not to deliver its share.
    SampleRatio,
    /// None of these within the limits.
    Undecided,
}

/// What came of a simulated rollout.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Requests on wave nodes until then, burn-in and units that had not matured included.
    pub requests: u64,
    /// Times that thresholds were frozen.
    pub freezes: usize,
    /// The objective that contributed most to the evidence of harm, where there was any.
    pub blamed: Option<String>,
}

/// A rollout under way.
#[derive(Debug)]
pub struct Rollout {
    settings: AnalysisSettings,
    steps: Vec<Step>,
    fleet: Fleet,
    plan: RestartPlan,
    evidence: Evidence,
    freezes: Vec<FrozenLatency>,
    counts: Counts,
    /// Counts where the window began over which the thresholds in use are held against the load.
    window: Counts,
    step: usize,
    step_began_seconds: u64,
}

impl Rollout {
    /// A rollout that has just begun. The same seed gives the same rollout.
    #[must_use]
    pub fn new(scenario: &Scenario, settings: &AnalysisSettings, seed: u64) -> Self {
        Self {
            settings: settings.clone(),
            steps: scenario.steps.clone(),
            fleet: Fleet::new(scenario, seed),
            plan: RestartPlan::new(settings),
            evidence: Evidence::default(),
            freezes: Vec::new(),
            counts: Counts::default(),
            window: Counts::default(),
            step: 0,
            step_began_seconds: 0,
        }
    }

    /// A second of traffic, after which thresholds are frozen where they are due.
    pub fn pass_second(&mut self) -> Result<(), AnalysisError> {
        self.fleet.pass_second();
        self.evidence.exposed_seconds += 1;
        let (counts, burn_in) = self.fleet.reports()?;
        self.counts = counts;
        match (self.freezes.last(), burn_in) {
            (None, Some(sample_us)) => self.freeze(sample_us),
            (None, None) => Ok(()),
            (Some(last), _) => match self.window_of(last) {
                WindowCheck::Filling => Ok(()),
                WindowCheck::Fits(_) => {
                    self.begin_window();
                    Ok(())
                }
                // The operator interpolates in the counts of the window; this is what it comes near to.
                WindowCheck::Refreeze => {
                    let sample_us = self.begin_window();
                    self.freeze(sample_us)
                }
            },
        }
    }

    /// At least this many requests more.
    pub fn serve(&mut self, requests: u64) -> Result<(), AnalysisError> {
        let until = self.requests() + requests;
        while self.requests() < until {
            self.pass_second()?;
        }
        Ok(())
    }

    /// Looks at the evidence and keeps what the operator keeps of a look.
    pub fn look(&mut self) -> Result<Assessment, AnalysisError> {
        let look = assess(&self.settings, &self.freezes, &self.evidence, &self.counts)?;
        self.evidence.record(&look);
        self.evidence.restart_if_due(&self.plan, &self.counts);
        Ok(look)
    }

    /// Matured counts.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Thresholds frozen so far.
    #[must_use]
    pub fn frozen(&self) -> &[FrozenLatency] {
        &self.freezes
    }

    /// Requests on wave nodes so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.fleet.requests().total()
    }

    fn freeze(&mut self, sample_us: Vec<u64>) -> Result<(), AnalysisError> {
        let objectives = self.settings.objectives.iter();
        let terms = objectives.filter_map(|objective| match &objective.kind {
            ObjectiveKind::Latency(latency) => Some(latency),
            ObjectiveKind::Errors(_) | ObjectiveKind::Escalation(_) => None,
        });
        let terms: Vec<&LatencyObjective> = terms.collect();
        let frozen = FrozenLatency::from_burn_in(LatencySignal::Total, sample_us, terms)?;
        self.fleet.freeze(self.freezes.len(), &frozen);
        self.freezes.push(frozen);
        self.begin_window();
        Ok(())
    }

    fn window_of(&self, last: &FrozenLatency) -> WindowCheck {
        let index = u16::try_from(self.freezes.len() - 1).unwrap_or(u16::MAX);
        Window::first(index).check(last, &self.counts.since(&self.window))
    }

    /// Begins a window; the latencies, both arms pooled, of the one that ends.
    fn begin_window(&mut self) -> Vec<u64> {
        self.window = self.counts.clone();
        self.fleet.take_ended_us()
    }

    /// What follows from a look; none while the rollout goes on.
    fn obey(&mut self, look: &Assessment, stop: Stop) -> Option<Ending> {
        if look.peak.log_e_micronats as f64 / 1e6 >= look.threshold {
            return Some(Ending::RolledBack);
        }
        if stop == Stop::AtVerdict && look.verdict == Verdict::SampleRatioMismatch {
            return Some(Ending::SampleRatio);
        }
        let next = self.steps.get(self.step + 1).copied();
        if !self.step_may_end(look, next, stop) {
            return None;
        }
        let Some(next) = next else {
            return Some(Ending::Promoted);
        };
        self.step += 1;
        self.step_began_seconds = self.evidence.exposed_seconds;
        self.fleet.grow(next.nodes);
        None
    }

    fn step_may_end(&self, look: &Assessment, next: Option<Step>, stop: Stop) -> bool {
        let in_step = self.evidence.exposed_seconds - self.step_began_seconds;
        let least = self.steps.get(self.step);
        if in_step < least.map_or(0, |step| step.min_exposure_seconds) {
            return false;
        }
        match stop {
            Stop::AtRollBack => next.is_some(),
            Stop::AtVerdict => {
                let next = next.map(|next| self.expected(next));
                step_end(&self.settings, look, next) != StepEnd::NotYet
            }
        }
    }

    /// The next step, with the requests that it would see at the rate so far.
    fn expected(&self, next: Step) -> NextStep {
        let node_seconds = self.evidence.exposed_seconds * self.fleet.size() as u64;
        let wanted = next.nodes as u64 * next.min_exposure_seconds;
        NextStep {
            pi_permille: 500,
            expected_requests: self.counts.units().total() * wanted / node_seconds.max(1),
        }
    }
}

/// Simulates a rollout to its end.
pub fn simulate(
    scenario: &Scenario,
    settings: &AnalysisSettings,
    seed: u64,
    limits: Limits,
) -> Result<Outcome, AnalysisError> {
    let mut rollout = Rollout::new(scenario, settings, seed);
    let mut ending = Ending::Undecided;
    while rollout.requests() < limits.requests {
        for _ in 0..limits.look_seconds.max(1) {
            rollout.pass_second()?;
        }
        let look = rollout.look()?;
        if let Some(end) = rollout.obey(&look, limits.stop) {
            ending = end;
            break;
        }
    }
    Ok(Outcome {
        ending,
        requests: rollout.requests(),
        freezes: rollout.freezes.len(),
        blamed: rollout.evidence.peak.objective,
    })
}
