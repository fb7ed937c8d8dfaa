//! Between the session's messages and the core's values. Everything from the network is checked here, once.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use smallfleet_engine::{EngineState, Phase, node_class};
use smallfleet_protocol::timing::ROUTE_LEASE;
use smallfleet_protocol::v1;
use smallfleet_runtime_core::counters::{EpochReport, Report, Sample};
use smallfleet_runtime_core::lease::LastCut;
use smallfleet_runtime_core::route::{
    Candidate, Freeze, Grant, Instruction, InvalidRoute, Override, Route, Signal,
};
use smallfleet_runtime_core::{Arm, PerArm};

use crate::config::{Pod, Role};
use crate::engine::candidate::Candidate as CandidateArm;
use crate::engine::own::Own;
use crate::engine::{Fingerprint, InvalidFingerprint};

/// Who a router is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Random, per process.
    pub instance: String,
    /// What the pod is for.
    pub role: Role,
    /// The pod.
    pub pod: Pod,
}

/// Why a route cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the kind of the route is unknown")]
    Kind,
    #[error("the latency signal {0} is unknown")]
    Signal(i32),
    #[error("a grant without a candidate")]
    NoCandidate,
    #[error("the candidate's address {0:?} is no ip:port")]
    Address(String),
    #[error("the candidate's {0}")]
    Fingerprint(#[from] InvalidFingerprint),
    #[error("override header {0:?} is no header name")]
    Header(String),
    #[error("{0}")]
    Limit(#[from] InvalidRoute),
}

pub(super) fn route(route: v1::Route) -> Result<Route, WireError> {
    let instruction = match route.kind() {
        v1::route::Kind::Unspecified => return Err(WireError::Kind),
        v1::route::Kind::Grant => Instruction::Grant(Arc::new(grant(&route)?)),
        v1::route::Kind::Withdraw => Instruction::Withdraw,
        v1::route::Kind::Cut => Instruction::Cut,
    };
    let route = Route {
        rollout_id: route.rollout_id,
        sequence: route.sequence,
        leader_epoch: route.leader_epoch,
        instruction,
    };
    route.check(ROUTE_LEASE)?;
    Ok(route)
}

fn grant(route: &v1::Route) -> Result<Grant, WireError> {
    let candidate = route.candidate.as_ref().ok_or(WireError::NoCandidate)?;
    let share = route.candidate_traffic_permille;
    Ok(Grant {
        permille: u16::try_from(share).map_err(|_| InvalidRoute::Share(share))?,
        candidate: self::candidate(candidate)?,
        overrides: route
            .overrides
            .iter()
            .map(forced)
            .collect::<Result<_, _>>()?,
        freeze: route
            .latency
            .as_ref()
            .map(|latency| Arc::new(freeze(latency))),
        lease: Duration::from_millis(route.lease_milliseconds.into()),
        burn_in_units: route.burn_in_units,
        errors_maturity: Duration::from_secs(route.errors_maturity_seconds.into()),
        signal: signal(route.latency_signal)?,
    })
}

/// One that this router does not know is refused: it would count something else than the operator thinks.
fn signal(code: i32) -> Result<Signal, WireError> {
    match v1::LatencySignal::try_from(code) {
        Ok(v1::LatencySignal::Unspecified | v1::LatencySignal::Total) => Ok(Signal::Total),
        Ok(v1::LatencySignal::FirstToken) => Ok(Signal::FirstToken),
        Err(_) => Err(WireError::Signal(code)),
    }
}

fn candidate(candidate: &v1::Candidate) -> Result<Candidate, WireError> {
    let address = &candidate.address;
    let fingerprint: Fingerprint = candidate.fingerprint.parse()?;
    Ok(Candidate {
        revision: candidate.revision.clone(),
        address: address
            .parse()
            .map_err(|_| WireError::Address(address.clone()))?,
        fingerprint: fingerprint.0,
    })
}

fn forced(entry: &v1::Override) -> Result<Override, WireError> {
    let name: HeaderName = entry
        .header
        .parse()
        .map_err(|_| WireError::Header(entry.header.clone()))?;
    Ok(Override {
        header: name.as_str().to_owned(),
        values: entry.values.clone(),
        to: if entry.to_candidate {
            Arm::Candidate
        } else {
            Arm::Stable
        },
    })
}

fn freeze(latency: &v1::FrozenLatency) -> Freeze {
    Freeze {
        index: latency.freeze,
        thresholds_us: latency.thresholds_microseconds.clone(),
        rhos_permille: latency.rhos_permille.clone(),
    }
}

pub(super) fn ack(route: &Route, candidate_in_flight: u32) -> v1::RouteAck {
    let kind = match route.instruction {
        Instruction::Grant(_) => v1::route::Kind::Grant,
        Instruction::Withdraw => v1::route::Kind::Withdraw,
        Instruction::Cut => v1::route::Kind::Cut,
    };
    v1::RouteAck {
        rollout_id: route.rollout_id.clone(),
        sequence: route.sequence,
        leader_epoch: route.leader_epoch,
        kind: kind.into(),
        candidate_in_flight,
    }
}

pub(super) fn hello(identity: &Identity, own: &Own, last_cut: Option<LastCut>) -> v1::Hello {
    let pod = &identity.pod;
    let role = match identity.role {
        Role::Stable => v1::Role::Stable,
        Role::Candidate => v1::Role::Candidate,
    };
    let class = own.state.as_ref().map(|state| state.node_class.clone());
    v1::Hello {
        instance: identity.instance.clone(),
        namespace: pod.namespace.clone(),
        model: pod.model_name.clone(),
        pod_name: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        node: pod.node.clone(),
        role: role.into(),
        revision: pod.revision.clone(),
        engine: Some(engine(pod, own)),
        node_class: class.unwrap_or_else(|| node_class().to_string()),
        free_disk_bytes: free_disk_bytes(),
        capabilities: Vec::new(),
        last_cut: last_cut.map(|cut| v1::LastCut {
            rollout_id: cut.rollout_id,
            sequence: cut.sequence,
        }),
    }
}

fn engine(pod: &Pod, own: &Own) -> v1::Engine {
    use v1::engine::State;
    let phase = own.state.as_ref().map(|state| state.state);
    let state = match phase {
        None | Some(Phase::Starting) => State::Starting,
        Some(Phase::Ready) if own.unresponsive.is_some() => State::Unresponsive,
        Some(Phase::Ready) => State::Ready,
        Some(Phase::Failed) => State::Failed,
    };
    let text = |of: fn(&EngineState) -> &String| own.state.as_ref().map(of).cloned();
    v1::Engine {
        state: state.into(),
        fingerprint: text(|state| &state.fingerprint).unwrap_or_default(),
        address: pod.engine_address().to_string(),
        instance: text(|state| &state.instance).unwrap_or_default(),
        failure: failure(own),
        restarts: own.restarts,
    }
}

/// The engine's own failure; else that it does not answer; else how the process before this one ended.
fn failure(own: &Own) -> Option<v1::Failure> {
    let failure = own.state.as_ref().and_then(|state| state.failure.as_ref());
    let failed = failure.map(|failure| (failure.reason.to_string(), failure.message.clone()));
    let silent = own.unresponsive.as_ref();
    let silent = silent.map(|message| ("Unresponsive".to_owned(), message.clone()));
    let ended = own.ended.as_ref();
    let ended = ended.map(|ended| (ended.reason.clone(), ended.message.clone()));
    let told = failed.or(silent).or(ended);
    told.map(|(reason, message)| v1::Failure { reason, message })
}

/// Of the file system that holds the container; 0 when it is not known.
fn free_disk_bytes() -> u64 {
    nix::sys::statvfs::statvfs("/").map_or(0, |disk| {
        disk.blocks_available().saturating_mul(disk.fragment_size())
    })
}

pub(super) fn report(report: Report, candidate: Option<&CandidateArm>) -> v1::Report {
    v1::Report {
        epochs: report.epochs.into_iter().map(epoch).collect(),
        burn_in: report.burn_in.map(burn_in),
        candidate: candidate.map(|candidate| v1::CandidateHealth {
            rollout_id: candidate.rollout_id.clone(),
            ready: candidate.ready(),
            message: candidate.message(),
        }),
    }
}

fn epoch(epoch: EpochReport) -> v1::Epoch {
    let totals = epoch.totals;
    let PerArm { stable, candidate } = totals.latency;
    v1::Epoch {
        id: epoch.id,
        rollout_id: epoch.rollout_id,
        sequence: epoch.sequence,
        candidate_traffic_permille: epoch.permille.into(),
        freeze: epoch.freeze,
        closed: epoch.closed,
        latency: Some(v1::LatencyCounts {
            stable_units: epoch.latency.units.stable,
            candidate_units: epoch.latency.units.candidate,
            stable: epoch.latency.stable,
            candidate: epoch.latency.candidate,
        }),
        errors: Some(v1::ErrorCounts {
            stable_units: epoch.errors.units.stable,
            candidate_units: epoch.errors.units.candidate,
            stable: epoch.errors.events.stable,
            candidate: epoch.errors.events.candidate,
        }),
        totals: Some(v1::Totals {
            tossed_stable: totals.tossed.stable,
            tossed_candidate: totals.tossed.candidate,
            forced_stable: totals.forced.stable,
            forced_candidate: totals.forced.candidate,
            fallbacks: totals.fallbacks,
            stable_latency: stable.buckets().clone(),
            candidate_latency: candidate.buckets().clone(),
        }),
    }
}

fn burn_in(sample: Sample) -> v1::BurnIn {
    v1::BurnIn {
        rollout_id: sample.rollout_id,
        stable_units: sample.units.stable,
        candidate_units: sample.units.candidate,
        latencies_microseconds: sample.latencies_us,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted() -> v1::Route {
        v1::Route {
            kind: v1::route::Kind::Grant.into(),
            rollout_id: "0123456789ab".into(),
            sequence: 1,
            leader_epoch: 1,
            candidate_traffic_permille: 500,
            candidate: Some(v1::Candidate {
                revision: "new".into(),
                address: "10.0.0.1:8443".into(),
                fingerprint: "ab".repeat(32),
            }),
            overrides: Vec::new(),
            latency: None,
            lease_milliseconds: 10_000,
            burn_in_units: 50,
            errors_maturity_seconds: 120,
            latency_signal: 0,
        }
    }

    #[test]
    fn a_whole_grant_is_understood() {
        assert!(route(granted()).is_ok());
    }

    #[test]
    fn half_a_grant_is_refused() {
        let broken: [fn(&mut v1::Route); 9] = [
            |route| route.latency_signal = 3,
            |route| route.kind = 0,
            |route| route.candidate = None,
            |route| route.candidate.as_mut().expect("it is there").address = "nowhere".into(),
            |route| route.candidate.as_mut().expect("it is there").fingerprint = "ab".into(),
            |route| route.candidate_traffic_permille = 1_001,
            |route| route.lease_milliseconds = 0,
            |route| route.lease_milliseconds = 10_001,
            |route| route.rollout_id.clear(),
        ];
        for change in broken {
            let mut message = granted();
            change(&mut message);
            assert!(route(message.clone()).is_err(), "{message:?}");
        }
    }

    #[test]
    fn a_cut_needs_no_more_than_its_rollout() {
        let cut = v1::Route {
            kind: v1::route::Kind::Cut.into(),
            rollout_id: "0123456789ab".into(),
            ..v1::Route::default()
        };
        assert!(route(cut).is_ok());
    }

    proptest! {
        #[test]
        fn no_route_from_the_network_panics(
            kind in 0_i32..5, share: u32, address: String, fingerprint: String, header: String, lease: u32,
            thresholds: Vec<u64>, rhos: Vec<u32>, burn_in: u32, maturity: u32,
        ) {
            let mut message = granted();
            message.kind = kind;
            message.candidate_traffic_permille = share;
            message.candidate = Some(v1::Candidate { revision: String::new(), address, fingerprint });
            message.overrides = vec![v1::Override { header, values: Vec::new(), to_candidate: true }];
            message.lease_milliseconds = lease;
            message.latency = Some(v1::FrozenLatency { freeze: 0, thresholds_microseconds: thresholds, rhos_permille: rhos });
            message.burn_in_units = burn_in;
            message.errors_maturity_seconds = maturity;
            let _ = route(message);
        }
    }
}
