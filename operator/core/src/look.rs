//! A look at the evidence of a rollout: closed epochs, open epochs, peaks, exposed time.

use std::time::Duration;

use smallfleet_analysis::latency::WindowCheck;
use smallfleet_analysis::restart::RestartPlan;
use smallfleet_analysis::{
    AnalysisError, AnalysisSettings, Assessment, Counts, FrozenLatency, Verdict, assess,
};
use smallfleet_crds::status::{
    AnalysisStatus, ArmCounts, ObjectiveStatus, RolloutState, RolloutStatus,
};

use crate::action::Action;
use crate::constants::{NUMBERS_INTERVAL, ROUTE_LEASE};
use crate::desired::planned_exposed_seconds;
use crate::draft::{Cx, Draft};
use crate::evidence::EvidenceStore;
use crate::settings;
use crate::world::{EvidenceView, Slot};

/// What is known of the evidence now.
#[derive(Debug)]
pub(crate) struct Look {
    pub settings: AnalysisSettings,
    pub freezes: Vec<FrozenLatency>,
    /// As persisted.
    pub store: EvidenceStore,
    /// Closed and open epochs.
    pub total: Counts,
    pub exposed: Duration,
    pub result: Result<Assessment, AnalysisError>,
}

/// Whether there is something to look at.
#[derive(Debug)]
pub(crate) enum Evidence {
    Here(Box<Look>),
    /// Nothing was raised so far, or our own write is not in the caches yet.
    NotYet,
    /// Lost: what was counted is void.
    Void,
}

fn view<'a>(cx: &Cx<'a>) -> Option<&'a EvidenceView> {
    match &cx.world.evidence {
        Slot::Ours(view) => Some(view),
        Slot::Absent | Slot::Foreign(_) => None,
    }
}

/// The store as persisted, or a new one.
pub(crate) fn stored(cx: &Cx<'_>) -> EvidenceStore {
    let store = view(cx).and_then(|view| view.store.clone());
    store.unwrap_or_default()
}

pub(crate) fn save(cx: &Cx<'_>, store: EvidenceStore, draft: &mut Draft) {
    draft.save_evidence(Action::SaveEvidence {
        store: Box::new(store),
        resource_version: view(cx).map(|view| view.resource_version.clone()),
    });
}

/// An empty store for a rollout; results of evaluations are kept.
pub(crate) fn fresh_store(cx: &Cx<'_>, rollout: &str) -> EvidenceStore {
    EvidenceStore {
        rollout: rollout.to_owned(),
        planned_exposed_seconds: planned_exposed_seconds(cx.spec()),
        evaluations: stored(cx).evaluations,
        ..EvidenceStore::default()
    }
}

/// Looks at the evidence of the rollout in status.
pub(crate) fn look(cx: &Cx<'_>, rollout: &RolloutStatus) -> Evidence {
    let store = stored(cx);
    if store.rollout != rollout.id {
        let settled = cx.in_state() >= ROUTE_LEASE && !cx.world.leader.resuming;
        return if settled && was_raised(rollout) {
            Evidence::Void
        } else {
            Evidence::NotYet
        };
    }
    let frozen = rollout.frozen.clone().unwrap_or_default();
    let exposed = exposed(cx, &store);
    let settings = settings::live(&frozen.analysis, store.planned_exposed_seconds);
    let freezes = settings::freezes(&frozen);
    let (total, result) = match total(cx, &store) {
        Ok(total) => {
            let result = assess(&settings, &freezes, &store.evidence, &total);
            (total, result)
        }
        Err(error) => (store.evidence.closed.clone(), Err(error)),
    };
    Evidence::Here(Box::new(Look {
        settings,
        freezes,
        store,
        total,
        exposed,
        result,
    }))
}

/// The store is made with the first raise: before it there is nothing to lose.
fn was_raised(rollout: &RolloutStatus) -> bool {
    rollout.state == RolloutState::Analyzing
        || rollout.candidate_traffic_permille > 0
        || !rollout.granted.is_empty()
        || rollout.exposed_seconds > 0
}

fn is_current(cx: &Cx<'_>, store: &EvidenceStore) -> bool {
    cx.world.sessions.rollout == store.rollout
}

/// The longer of what is stored and what this leader knows: nothing is added, so that nothing counts twice where a write's answer was
/// lost or two led for a while.
fn exposed(cx: &Cx<'_>, store: &EvidenceStore) -> Duration {
    let stored = Duration::from_millis(store.exposed_milliseconds);
    match is_current(cx, store) {
        true => stored.max(cx.world.sessions.exposed),
        false => stored,
    }
}

/// Epochs that ended and are not in the store.
fn closed_since<'a>(cx: &Cx<'a>, store: &EvidenceStore) -> Vec<(u64, &'a Counts)> {
    if !is_current(cx, store) {
        return Vec::new();
    }
    let epochs = cx.world.sessions.closed.iter();
    epochs
        .filter(|epoch| !store.closed_ids.contains(&epoch.id))
        .map(|epoch| (epoch.id, &epoch.counts))
        .collect()
}

fn total(cx: &Cx<'_>, store: &EvidenceStore) -> Result<Counts, AnalysisError> {
    let closed = closed_since(cx, store)
        .into_iter()
        .map(|(_, counts)| counts);
    let open = is_current(cx, store).then_some(&cx.world.sessions.open);
    store.evidence.total(closed.chain(open))
}

impl Look {
    /// The store with all that this look adds: closed epochs, peaks, exposed time, a restart of the mixture where one is due.
    pub fn next_store(&self, cx: &Cx<'_>) -> EvidenceStore {
        let mut next = self.store.clone();
        for (id, counts) in closed_since(cx, &self.store) {
            // Counts of a shape that does not fit are left out: `result` says so, and nothing is decided with them.
            if next.evidence.merge(counts).is_ok() {
                next.closed_ids.push(id);
            }
        }
        next.exposed_milliseconds = u64::try_from(self.exposed.as_millis()).unwrap_or(u64::MAX);
        next.evidence.exposed_seconds = self.exposed.as_secs();
        if let Ok(assessment) = &self.result {
            next.evidence.record(assessment);
            next.evidence
                .restart_if_due(&RestartPlan::new(&self.settings), &self.total);
        }
        if let WindowCheck::Fits(_) = self.window() {
            next.window = self.total.clone();
        }
        next
    }

    /// Whether the thresholds in use still fit the load.
    pub fn window(&self) -> WindowCheck {
        let Some(last) = self.freezes.len().checked_sub(1) else {
            return WindowCheck::Filling;
        };
        let window =
            smallfleet_analysis::latency::Window::first(u16::try_from(last).unwrap_or(u16::MAX));
        window.check(&self.freezes[last], &self.total.since(&self.store.window))
    }

    /// Exposed seconds of the step. Its beginning stands in status as the difference of two numbers that are written together.
    pub fn step_exposed_seconds(&self, rollout: &RolloutStatus) -> u64 {
        let began = rollout
            .exposed_seconds
            .saturating_sub(rollout.step_exposed_seconds);
        self.exposed.as_secs().saturating_sub(began)
    }

    /// Numbers for people, and the store when it is time.
    pub fn keep(&self, cx: &Cx<'_>, draft: &mut Draft) {
        self.show(draft);
        let next = self.next_store(cx);
        if next == self.store {
            return;
        }
        match NUMBERS_INTERVAL.checked_sub(cx.world.clock.since_numbers) {
            None | Some(Duration::ZERO) => save(cx, next, draft),
            Some(wait) => draft.look_again(wait),
        }
    }

    /// Writes the numbers into status.
    pub fn show(&self, draft: &mut Draft) {
        draft.status.analysis = Some(self.analysis());
        let rollout = draft.rollout();
        let step = self.step_exposed_seconds(rollout);
        rollout.exposed_seconds = self.exposed.as_secs();
        rollout.step_exposed_seconds = step;
    }

    fn analysis(&self) -> AnalysisStatus {
        let Ok(assessment) = &self.result else {
            return AnalysisStatus {
                verdict: "Inconclusive".to_owned(),
                objectives: Vec::new(),
            };
        };
        let verdict = match &assessment.verdict {
            Verdict::Continue => "Collecting",
            Verdict::RollBack { .. } => "RollBack",
            Verdict::Pass => "Promote",
            Verdict::SampleRatioMismatch => "Inconclusive",
        };
        AnalysisStatus {
            verdict: verdict.to_owned(),
            objectives: assessment
                .objectives
                .iter()
                .map(|report| self.objective(report))
                .collect(),
        }
    }

    fn objective(&self, report: &smallfleet_analysis::verdict::ObjectiveReport) -> ObjectiveStatus {
        let arms = |counts: smallfleet_analysis::ArmCounts| ArmCounts {
            stable: counts.stable,
            candidate: counts.candidate,
        };
        let seconds = self.exposed.as_secs();
        let so_far = report.units.total();
        let eta = |units: u64| units.saturating_mul(seconds).checked_div(so_far);
        ObjectiveStatus {
            name: report.name.clone(),
            events: arms(report.events),
            units: arms(report.units),
            log_e: two_decimals(report.log_e),
            threshold: two_decimals(report.threshold),
            log_p: two_decimals(report.log_p),
            margins: report
                .log_p_parts
                .map_or_else(String::new, |(typical, tail)| {
                    format!(
                        "typical {}, tail {} of {}",
                        two_decimals(typical),
                        two_decimals(tail),
                        two_decimals(report.promote_threshold)
                    )
                }),
            effect: report.effect.clone(),
            eta_seconds: report.forecast.and_then(|forecast| eta(forecast.units)),
        }
    }

    /// Matured units by arm. Latency matures long before errors do, so the larger count says how many were seen.
    pub fn units(&self) -> smallfleet_analysis::counts::ArmCounts {
        let mut seen = self.total.units();
        let latency = || self.total.latency().map(|(_, _, counts)| counts.units());
        seen.stable = seen.stable.max(latency().map(|units| units.stable).sum());
        seen.candidate = seen
            .candidate
            .max(latency().map(|units| units.candidate).sum());
        seen
    }
}

/// As status shows logs; never `-0.00`.
fn two_decimals(log: f64) -> String {
    let rounded = (log * 100.0).round() / 100.0;
    format!("{:.2}", rounded + 0.0)
}
