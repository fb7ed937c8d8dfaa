use std::num::NonZeroUsize;

use smallfleet_runtime_core::counters::EpochReport;
use smallfleet_runtime_core::route::{Candidate, Freeze, Signal};

use super::*;

fn route(sequence: u64, instruction: Instruction) -> Route {
    Route {
        rollout_id: "abcdef123456".to_owned(),
        sequence,
        leader_epoch: 1,
        instruction,
    }
}

fn grant() -> Instruction {
    Instruction::Grant(Arc::new(Grant {
        permille: 500,
        candidate: Candidate {
            revision: "r2".to_owned(),
            address: "198.18.11.5:8443".parse().unwrap(),
            fingerprint: [7; 32],
        },
        overrides: Vec::new(),
        freeze: Some(Arc::new(Freeze {
            index: 0,
            thresholds_us: vec![1_000],
            rhos_permille: vec![1_000],
        })),
        lease: Duration::from_secs(10),
        burn_in_units: 0,
        errors_maturity: Duration::from_secs(1),
        signal: Signal::Total,
    }))
}

fn epochs(plane: &Plane) -> Vec<EpochReport> {
    plane.report().epochs
}

/// A node that leaves the wave is withdrawn, never cut: what it counted must still find its way into the store.
#[tokio::test]
async fn a_withdrawal_closes_the_epoch_and_the_next_grant_opens_another() {
    let limits = Limits {
        max_concurrent_requests: NonZeroUsize::MIN,
        max_queued_requests: 1,
        max_request_seconds: 1,
    };
    let plane = Plane::new([1; 16], limits);
    plane.stream_started();
    plane.take_route(route(1, grant())).unwrap();
    assert!(!epochs(&plane)[0].closed);
    plane.take_route(route(2, Instruction::Withdraw)).unwrap();
    let closed = epochs(&plane);
    assert!(closed[0].closed);
    plane.take_route(route(3, grant())).unwrap();
    let both = epochs(&plane);
    assert_eq!(
        (both.len(), both[0].closed, both[1].closed),
        (2, true, false)
    );
    assert_ne!(both[0].id, both[1].id);
    plane.stored(&[both[0].id]);
    assert_eq!(epochs(&plane).len(), 1);
}

/// Exact values of one header, the first entry that fits; any of a header's lines counts.
#[test]
fn the_first_override_that_fits_forces_its_arm() {
    let Instruction::Grant(plain) = grant() else {
        panic!("a grant");
    };
    let entry = |values: &[&str], to| smallfleet_runtime_core::route::Override {
        header: "x-tenant".to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        to,
    };
    let mut grant = Grant::clone(&plain);
    grant.overrides = vec![
        entry(&["bank", "court"], Arm::Stable),
        entry(&["internal", "court"], Arm::Candidate),
    ];
    for (values, arm) in [
        (&["bank"][..], Some(Arm::Stable)),
        (&["court"], Some(Arm::Stable)),
        (&["internal"], Some(Arm::Candidate)),
        (&["other", "internal"], Some(Arm::Candidate)),
        (&["Internal"], None),
        (&[], None),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-tenant", value.parse().unwrap());
        }
        assert_eq!(forced(&grant, &headers), arm, "{values:?}");
    }
}
