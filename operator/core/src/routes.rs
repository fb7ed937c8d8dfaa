//! What each router is told: a pure function of the persisted status, the live flag and where the candidates are.

use smallfleet_analysis::LatencySignal;
use smallfleet_analysis::constants::BURN_IN_UNITS;
use smallfleet_crds::status::{RolloutState, RolloutStatus, SmallModelStatus};
use smallfleet_crds::{FeatureFlag, FlagState};

use crate::action::{Endpoint, FrozenLatency, Route, Routes};
use crate::fleet::{Fleet, Site};
use crate::settings;
use crate::world::{Role, RouteKind, World};

/// Routes of the model in the world. Two leaders with the same status send the same routes.
#[must_use]
pub fn routes(world: &World) -> Routes {
    persisted(world).map_or_else(Routes::default, |rollout| routes_of(world, rollout))
}

/// What is persisted, less what the next status takes from it: told before that is written (I3). `None` where it takes nothing.
#[must_use]
pub fn lowered(world: &World, next: &SmallModelStatus) -> Option<Routes> {
    let now = persisted(world)?;
    let next = next
        .rollout
        .as_ref()
        .filter(|rollout| rollout.id == now.id)?;
    let mut lower = now.clone();
    lower.candidate_traffic_permille = now
        .candidate_traffic_permille
        .min(next.candidate_traffic_permille);
    lower.granted.retain(|node| next.granted.contains(node));
    (next.state.is_in_step() && lower != *now).then(|| routes_of(world, &lower))
}

fn persisted(world: &World) -> Option<&RolloutStatus> {
    let status = world.model.status.as_ref()?;
    let rollout = status.rollout.as_ref()?;
    has_routes(world, rollout).then_some(rollout)
}

fn routes_of(world: &World, rollout: &RolloutStatus) -> Routes {
    let model = &world.model;
    let fleet = Fleet::new(world, &model.spec.placement);
    let mut routes = Routes {
        rollout: rollout.id.clone(),
        sequence: rollout.sequence,
        granting: !world.leader.resuming,
        ..Routes::default()
    };
    for site in rollout.wave.iter().filter_map(|node| fleet.site(node)) {
        let route = route(world, &fleet, rollout, site);
        let routers = site.stable.iter().map(|pod| pod.uid.clone());
        routes
            .by_router
            .extend(routers.map(|uid| (uid, route.clone())));
    }
    if model.metadata.deletion_timestamp.is_some() {
        for route in routes.by_router.values_mut() {
            route.kind = RouteKind::Withdraw;
        }
    }
    routes
}

/// While there may be traffic, and after a cut until the last candidate is gone: what may take for ever, as a promotion whose image
/// is missing, holds no stream open.
fn has_routes(world: &World, rollout: &RolloutStatus) -> bool {
    match rollout.state {
        RolloutState::Gating | RolloutState::RolledBack => false,
        RolloutState::Preparing | RolloutState::Analyzing | RolloutState::Inconclusive => true,
        RolloutState::Promoting | RolloutState::Reverting | RolloutState::RollingBack => {
            let mut pods = world.pods.iter();
            pods.any(|pod| pod.role == Role::Candidate && pod.rollout == rollout.id)
        }
    }
}

fn route(world: &World, fleet: &Fleet<'_>, rollout: &RolloutStatus, site: &Site<'_>) -> Route {
    let flag = &world.model.spec.feature_flag;
    let candidate = endpoint(fleet, rollout, site);
    let answers = candidate.is_some() || (world.leader.resuming && unheard(fleet, rollout, site));
    let kind = kind(rollout, flag, site, answers);
    let granted = kind == RouteKind::Grant;
    let frozen = rollout.frozen.as_ref();
    Route {
        kind,
        candidate_traffic_permille: if granted {
            rollout.candidate_traffic_permille
        } else {
            0
        },
        candidate: candidate.filter(|_| granted),
        overrides: if granted {
            flag.overrides.clone()
        } else {
            Vec::new()
        },
        latency: latency(rollout).filter(|_| granted),
        signal: frozen.map_or(LatencySignal::Total, settings::signal),
        burn_in_units: u32::try_from(BURN_IN_UNITS).unwrap_or(u32::MAX),
        errors_maturity_seconds: frozen.map_or(0, |frozen| frozen.max_request_seconds).max(1),
    }
}

/// A grant needs the persisted share and node, the flag, and a candidate that can be reached on a node that can bear it.
fn kind(rollout: &RolloutStatus, flag: &FeatureFlag, site: &Site<'_>, answers: bool) -> RouteKind {
    if !rollout.state.is_in_step() {
        return RouteKind::Cut;
    }
    let granted = rollout.candidate_traffic_permille > 0
        && rollout.granted.contains(&site.node.name)
        && flag.state == FlagState::Enabled
        && !site.node.pressure
        && site.serves
        && answers;
    if granted {
        RouteKind::Grant
    } else {
        RouteKind::Withdraw
    }
}

/// A Ready candidate whose router this leader has not heard yet: no reason to take a route away that the last leader granted.
fn unheard(fleet: &Fleet<'_>, rollout: &RolloutStatus, site: &Site<'_>) -> bool {
    let candidate = site.candidate(&rollout.id);
    candidate.is_some_and(|pod| pod.ready && fleet.router(pod).is_none())
}

fn endpoint(fleet: &Fleet<'_>, rollout: &RolloutStatus, site: &Site<'_>) -> Option<Endpoint> {
    let pod = site.candidate(&rollout.id)?;
    let engine = fleet.engine_of(pod)?;
    Some(Endpoint {
        revision: rollout.to.clone(),
        address: engine.address.clone(),
        fingerprint: engine.fingerprint.clone(),
    })
}

/// The thresholds in use: the last freeze. None during the burn-in.
fn latency(rollout: &RolloutStatus) -> Option<FrozenLatency> {
    let freezes = settings::freezes(rollout.frozen.as_ref()?);
    let freeze = freezes.len().checked_sub(1)?;
    let last = &freezes[freeze];
    Some(FrozenLatency {
        freeze: u32::try_from(freeze).unwrap_or(u32::MAX),
        thresholds_microseconds: last.thresholds_us.clone(),
        rhos_permille: last.rhos.iter().map(|rho| rho.0.div_ceil(1000)).collect(),
    })
}
