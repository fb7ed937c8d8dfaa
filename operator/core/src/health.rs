//! What the operator times on its own clock. A plan is told how long it has lasted, never when it began.

use smallfleet_crds::reason;
use smallfleet_crds::status::{Blocked, RolloutState, RolloutStatus};

use crate::fleet::{Fleet, Site};
use crate::problem;
use crate::wave;
use crate::world::World;

/// What is wrong with a model at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// No node that should serve has a Ready stable pod.
    pub nothing_serves: bool,
    /// Traffic is granted, and a candidate of the wave does not answer or is not reached.
    pub candidate_is_missing: bool,
}

/// Looks at a world whose clock is not set yet.
#[must_use]
pub fn health(world: &World) -> Health {
    let fleet = Fleet::new(world, &world.model.spec.placement);
    let status = world.model.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    Health {
        nothing_serves: fleet.ready().next().is_none(),
        candidate_is_missing: rollout.is_some_and(|rollout| missing(&fleet, rollout).is_some()),
    }
}

/// What keeps granted traffic from a candidate, though nothing typed says whose fault that is. Before the grant nobody asks: then
/// the step waits for its candidates anyway.
pub(crate) fn missing(fleet: &Fleet<'_>, rollout: &RolloutStatus) -> Option<Blocked> {
    let granted = matches!(
        rollout.state,
        RolloutState::Analyzing | RolloutState::Inconclusive
    );
    let wave = rollout.wave.iter().filter(|_| granted);
    let mut found = wave.filter_map(|node| {
        let site = fleet.site(node)?;
        not_ready(fleet, rollout, site).or_else(|| unreachable(fleet, site))
    });
    found.next()
}

fn not_ready(fleet: &Fleet<'_>, rollout: &RolloutStatus, site: &Site<'_>) -> Option<Blocked> {
    let pod = site.candidate(&rollout.id);
    if pod.is_some_and(|pod| fleet.candidate_ready(pod)) {
        return None;
    }
    let problem = pod.and_then(|pod| problem::diagnose(pod, fleet.router(pod)));
    let node = &site.node.name;
    let message = match problem {
        Some(problem) => format!("node {node}: {}: {}", problem.reason, problem.message),
        None => format!("the candidate on node {node} is not ready, and nothing says why"),
    };
    Some(wave::blocked(
        reason::CANDIDATE_NOT_READY,
        &message,
        vec![node.clone()],
    ))
}

/// The candidate says that it is ready; the router beside it, which is to send it requests, does not reach it.
fn unreachable(fleet: &Fleet<'_>, site: &Site<'_>) -> Option<Blocked> {
    let mut routers = site.stable.iter().filter_map(|pod| fleet.router(pod));
    let router = routers.find(|router| router.candidate_ready == Some(false))?;
    let node = &site.node.name;
    let message = format!(
        "the router on node {node} does not reach the candidate: {}",
        router.candidate_message
    );
    let nodes = vec![node.clone()];
    Some(wave::blocked(
        reason::CANDIDATE_UNREACHABLE,
        &message,
        nodes,
    ))
}
