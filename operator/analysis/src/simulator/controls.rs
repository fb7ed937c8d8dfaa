//! Negative controls (analysis note, sections 6 and 8): without its rule the promise breaks, with it it holds.

use super::objectives::{errors_only, latency_and_errors};
use super::rollout::{Ending, Limits, Stop, simulate};
use super::scenario::{Booking, Queues, Scenario, Split, Step};
use crate::{AnalysisError, AnalysisSettings};

/// A rule and what happens without it.
#[derive(Debug, Clone)]
pub struct Control {
    /// What is done without the rule.
    pub name: &'static str,
    /// What the candidate is.
    pub truth: Truth,
    /// With the rule.
    pub kept: Scenario,
    /// Without it, all else being equal.
    pub broken: Scenario,
    settings: AnalysisSettings,
    requests: u64,
}

/// What a candidate is, and so what must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Not to be rolled back; without the rule it is, more often than alpha.
    Harmless,
    /// To be rolled back; without the rule most are not.
    Harmful,
}

impl Control {
    /// How many of the rollouts with these seeds the evidence of harm ends.
    pub fn rolled_back(
        &self,
        scenario: &Scenario,
        seeds: std::ops::Range<u64>,
    ) -> Result<u64, AnalysisError> {
        let limits = Limits {
            requests: self.requests,
            look_seconds: 1,
            stop: Stop::AtRollBack,
        };
        let mut rolled_back = 0;
        for seed in seeds {
            let outcome = simulate(scenario, &self.settings, seed, limits)?;
            rolled_back += u64::from(outcome.ending == Ending::RolledBack);
        }
        Ok(rolled_back)
    }
}

/// All of them but [`summed_thresholds`](super::summed_thresholds).
#[must_use]
pub fn controls() -> Vec<Control> {
    vec![
        unequal_paths(),
        event_time(),
        nodes(),
        shared_queue(),
        one_in_ten(),
    ]
}

/// +0.3 ms on the way to a candidate of 3 ms.
fn unequal_paths() -> Control {
    let mut kept = Scenario::calm();
    kept.traffic.requests_per_second = 30.0;
    kept.service.median_us = 3_000.0;
    kept.service.spread = 0.1;
    kept.candidate.path_us = 300;
    let broken = kept.clone();
    kept.stable.path_us = 300;
    Control {
        name: "unequal paths: +0.3 ms on the candidate's 3 ms",
        truth: Truth::Harmless,
        kept,
        broken,
        settings: latency_and_errors(),
        requests: 3_000,
    }
}

/// Equal failures that show after 30 s in stable, as timeouts do, and at once in the candidate.
fn event_time() -> Control {
    let mut kept = Scenario::calm().with_candidate(1.0, 0.015);
    kept.stable.failing = kept.candidate.failing;
    kept.stable.failure_us = 30_000_000;
    kept.traffic.requests_per_second = 40.0;
    kept.errors_maturity_seconds = 31;
    let broken = Scenario {
        booking: Booking::AtEvent,
        ..kept.clone()
    };
    Control {
        name: "errors counted when they show: 2 % each, stable's after 30 s",
        truth: Truth::Harmless,
        kept,
        broken,
        settings: errors_only(),
        requests: 4_000,
    }
}

/// Two nodes with the candidate compared with two nodes without, where nodes differ by 15 %.
fn nodes() -> Control {
    let mut kept = Scenario::calm();
    kept.service.node_spread = 0.15;
    kept.steps = vec![Step {
        nodes: 4,
        min_exposure_seconds: 0,
    }];
    let broken = Scenario {
        split: Split::Nodes,
        ..kept.clone()
    };
    Control {
        name: "nodes compared: two with the candidate, two without",
        truth: Truth::Harmless,
        kept,
        broken,
        settings: latency_and_errors(),
        requests: 4_000,
    }
}

/// A candidate that cannot keep up: in one queue stable's requests wait for it as well.
fn shared_queue() -> Control {
    let kept = Scenario::busy(0.45).with_candidate(2.5, 0.0);
    let broken = Scenario {
        queues: Queues::Shared,
        ..kept.clone()
    };
    Control {
        name: "one queue for both arms: candidate x2.5, engines 45 % busy",
        truth: Truth::Harmful,
        kept,
        broken,
        settings: latency_and_errors(),
        requests: 3_000,
    }
}

/// A tenth of the traffic to an idle engine, the rest to a busy one.
fn one_in_ten() -> Control {
    let kept = Scenario::busy(0.4).with_candidate(1.5, 0.0);
    let broken = Scenario {
        split: Split::Coin { permille: 100 },
        ..kept.clone()
    };
    Control {
        name: "10/90 with own queues: candidate x1.5, stable 72 % busy and the candidate 12 %",
        truth: Truth::Harmful,
        kept,
        broken,
        settings: latency_and_errors(),
        requests: 3_000,
    }
}
