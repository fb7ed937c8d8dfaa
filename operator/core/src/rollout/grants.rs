//! The nodes whose routers may send requests to the candidate. They stand in status before any router is told (I3).

use smallfleet_crds::status::{RolloutState, RolloutStatus};

use super::modifiers::exposed_step;
use crate::draft::{Cx, Draft};
use crate::wave;

/// Every node of the wave: its candidates are ready, and the step begins.
pub(super) fn all(rollout: &mut RolloutStatus) {
    rollout.granted = rollout.wave.clone();
}

/// Nodes that took the place of lost ones are granted when their candidate is ready, unless nothing may be raised. Those of the
/// next step wait for their step.
pub(super) fn replace_lost(cx: &Cx<'_>, draft: &mut Draft) {
    let rollout = draft.rollout();
    if cx.held() || !cx.flag_enabled() || rollout.candidate_traffic_permille == 0 {
        return;
    }
    let limit = limit(cx, rollout);
    let granted = rollout.granted.len();
    for node in &rollout.wave {
        let fits = rollout.granted.len() < limit && !rollout.granted.contains(node);
        if fits && wave::answers_on(cx, rollout, node) {
            rollout.granted.push(node.clone());
        }
    }
    if rollout.granted.len() > granted {
        rollout.sequence += 1;
    }
}

/// As many nodes as the step had whose exposure is granted; while inconclusive nobody knows, and nothing is raised.
fn limit(cx: &Cx<'_>, rollout: &RolloutStatus) -> usize {
    match rollout.state {
        RolloutState::Analyzing => return rollout.wave.len(),
        RolloutState::Preparing => {}
        _ => return 0,
    }
    let steps = rollout.frozen.as_ref().map(|frozen| &frozen.steps);
    let step = exposed_step(rollout).and_then(|step| steps?.get(step as usize));
    step.map_or(0, |step| wave::size(cx, &step.nodes))
}
