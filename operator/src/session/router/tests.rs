//! Leases and restarts over time; the clock is written down.

use std::time::Duration;

use super::*;

const ROLLOUT: &str = "abcdef123456";

fn hello(instance: &str) -> v1::Hello {
    v1::Hello {
        instance: instance.to_owned(),
        pod_uid: "uid-1".to_owned(),
        ..v1::Hello::default()
    }
}

fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |seconds| start + Duration::from_secs(seconds)
}

fn grant(sequence: u64) -> v1::Route {
    let mut route = v1::Route {
        rollout_id: ROLLOUT.to_owned(),
        sequence,
        candidate_traffic_permille: 500,
        ..v1::Route::default()
    };
    route.set_kind(Kind::Grant);
    route
}

/// A router with a grant on a stream that nobody reads further, since second 0.
fn granted(at: &impl Fn(u64) -> Instant) -> (Router, mpsc::Receiver<v1::OperatorMessage>) {
    let mut router = Router::new(hello("a"), "node-1".to_owned(), Role::Stable, None, at(0));
    let (sender, receiver) = mpsc::channel(OUTBOX);
    router.opened(Outbox { id: 1, sender }, at(0));
    router.tell(grant(1), at(0));
    (router, receiver)
}

#[test]
fn a_lease_ends_ten_seconds_after_the_last_echo() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    assert!(router.may_route(at(9)));
    router.echo(1, 3, true, at(9));
    assert!(router.may_route(at(18)));
    assert!(!router.may_route(at(19)));
}

#[test]
fn a_resuming_leader_extends_no_lease() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    router.echo(1, 3, false, at(9));
    assert!(!router.may_route(at(10)));
}

#[test]
fn an_acknowledgement_of_an_older_route_takes_nothing_back() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    router.tell(grant(3), at(1));
    let mut withdrawn = v1::RouteAck {
        rollout_id: ROLLOUT.to_owned(),
        sequence: 2,
        ..v1::RouteAck::default()
    };
    withdrawn.set_kind(Kind::Withdraw);
    router.acknowledge(&withdrawn);
    assert!(router.may_route(at(5)));
}

#[test]
fn a_restart_that_takes_longer_than_the_lease_is_still_one_with_a_route() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    router.close(at(2));
    router.hear(hello("b"), at(60));
    assert!(router.view(ROLLOUT, at(60)).restarted_with_route);
    assert!(!router.view("111111111111", at(60)).restarted_with_route);
    assert!(!router.may_route(at(60)));
}

#[test]
fn a_broken_connection_is_no_restart() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    router.close(at(2));
    router.hear(hello("a"), at(60));
    let (sender, _inbox) = mpsc::channel(OUTBOX);
    router.opened(Outbox { id: 2, sender }, at(60));
    assert!(!router.view(ROLLOUT, at(60)).restarted_with_route);
    router.hear(hello("b"), at(61));
    assert!(!router.view(ROLLOUT, at(61)).restarted_with_route);
}

#[test]
fn a_restart_after_the_route_was_given_back_is_nobodys_fault() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    let mut withdraw = grant(2);
    withdraw.set_kind(Kind::Withdraw);
    router.tell(withdraw, at(1));
    let mut ack = v1::RouteAck {
        rollout_id: ROLLOUT.to_owned(),
        sequence: 2,
        ..v1::RouteAck::default()
    };
    ack.set_kind(Kind::Withdraw);
    router.acknowledge(&ack);
    router.close(at(2));
    router.hear(hello("b"), at(3));
    assert!(!router.view(ROLLOUT, at(3)).restarted_with_route);
}

#[test]
fn exposure_ends_with_the_lease() {
    let at = clock();
    let (mut router, _receiver) = granted(&at);
    let mut ack = v1::RouteAck {
        rollout_id: ROLLOUT.to_owned(),
        sequence: 1,
        ..v1::RouteAck::default()
    };
    ack.set_kind(Kind::Grant);
    assert_eq!(router.exposes(ROLLOUT, at(1)), None);
    router.acknowledge(&ack);
    assert_eq!(router.exposes(ROLLOUT, at(1)), Some(at(10)));
    assert_eq!(router.exposes(ROLLOUT, at(10)), None);
    assert_eq!(router.exposes("111111111111", at(1)), None);
}
