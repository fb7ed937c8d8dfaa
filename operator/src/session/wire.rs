//! A route as it is sent.

use smallfleet_analysis::LatencySignal;
use smallfleet_core::action::{Route, Routes};
use smallfleet_core::world::RouteKind;
use smallfleet_protocol::timing::ROUTE_LEASE;
use smallfleet_protocol::v1;

/// The message for one router.
pub(super) fn wire(route: &Route, routes: &Routes, leader_epoch: u64) -> v1::Route {
    let mut message = v1::Route {
        rollout_id: routes.rollout.clone(),
        sequence: routes.sequence,
        leader_epoch,
        candidate_traffic_permille: route.candidate_traffic_permille,
        candidate: route.candidate.as_ref().map(|candidate| v1::Candidate {
            revision: candidate.revision.clone(),
            address: candidate.address.clone(),
            fingerprint: candidate.fingerprint.clone(),
        }),
        overrides: route.overrides.iter().map(wire_override).collect(),
        latency: route.latency.as_ref().map(|latency| v1::FrozenLatency {
            freeze: latency.freeze,
            thresholds_microseconds: latency.thresholds_microseconds.clone(),
            rhos_permille: latency.rhos_permille.clone(),
        }),
        lease_milliseconds: u32::try_from(ROUTE_LEASE.as_millis()).unwrap_or(u32::MAX),
        latency_signal: latency_signal(route.signal).into(),
        burn_in_units: route.burn_in_units,
        errors_maturity_seconds: route.errors_maturity_seconds,
        kind: 0,
    };
    message.set_kind(match route.kind {
        RouteKind::Grant => v1::route::Kind::Grant,
        RouteKind::Withdraw => v1::route::Kind::Withdraw,
        RouteKind::Cut => v1::route::Kind::Cut,
    });
    message
}

fn latency_signal(signal: LatencySignal) -> v1::LatencySignal {
    match signal {
        LatencySignal::Total => v1::LatencySignal::Total,
        LatencySignal::FirstToken => v1::LatencySignal::FirstToken,
    }
}

fn wire_override(forced: &smallfleet_crds::Override) -> v1::Override {
    v1::Override {
        header: forced.header.clone(),
        values: forced.values.clone(),
        to_candidate: forced.to == smallfleet_crds::OverrideTarget::Candidate,
    }
}

/// The same route without its traffic: a withdrawal or a cut.
pub(super) fn lowered(of: &v1::Route, kind: v1::route::Kind, sequence: u64) -> v1::Route {
    v1::Route {
        kind: kind.into(),
        sequence,
        candidate_traffic_permille: 0,
        candidate: None,
        overrides: Vec::new(),
        latency: None,
        ..of.clone()
    }
}
