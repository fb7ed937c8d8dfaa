mod fuzz;

use smallfleet_analysis::LatencySignal;
use smallfleet_core::action::{Endpoint, Route};
use smallfleet_core::world::Role;

use super::*;

const ROLLOUT: &str = "abcdef123456";

fn key() -> ModelKey {
    ("shop".to_owned(), "intent".to_owned())
}

fn pod() -> PodIdentity {
    PodIdentity {
        name: "intent-x".to_owned(),
        model: "intent".to_owned(),
        role: Role::Stable,
        node: "node-1".to_owned(),
        ip: "198.18.11.4".to_owned(),
        deleting: false,
    }
}

fn hello(uid: &str, instance: &str) -> v1::Hello {
    v1::Hello {
        instance: instance.to_owned(),
        pod_uid: uid.to_owned(),
        ..v1::Hello::default()
    }
}

fn routes(kind: RouteKind, sequence: u64) -> Routes {
    let route = Route {
        kind,
        candidate_traffic_permille: 500,
        candidate: Some(Endpoint {
            revision: "r2".to_owned(),
            address: "198.18.11.5:8443".to_owned(),
            fingerprint: "ab".to_owned(),
        }),
        overrides: Vec::new(),
        latency: None,
        burn_in_units: 50,
        signal: LatencySignal::Total,
        errors_maturity_seconds: 10,
    };
    Routes {
        rollout: ROLLOUT.to_owned(),
        sequence,
        granting: true,
        by_router: [("uid-1".to_owned(), route)].into(),
    }
}

/// A leading hub with one router on a stream that was granted a route.
fn granted() -> (Hub, Inbox) {
    let (wake, _) = mpsc::channel(16);
    let hub = Hub::new(wake);
    hub.lead(3);
    let _ = hub.view(&key(), ROLLOUT);
    hub.check_in(&key(), &pod(), hello("uid-1", "a"));
    hub.publish(&key(), routes(RouteKind::Grant, 1));
    let inbox = hub.open(&key(), &pod(), hello("uid-1", "a")).unwrap();
    (hub, inbox)
}

fn messages((_, receiver): &mut Inbox) -> Vec<v1::operator_message::Message> {
    std::iter::from_fn(|| receiver.try_recv().ok())
        .filter_map(|message| message.message)
        .collect()
}

fn sent_routes(inbox: &mut Inbox) -> Vec<v1::Route> {
    let routes = messages(inbox)
        .into_iter()
        .filter_map(|message| match message {
            v1::operator_message::Message::Route(route) => Some(route),
            _ => None,
        });
    routes.collect()
}

fn epoch(id: u64, sequence: u64, candidate_errors: u64) -> v1::Epoch {
    v1::Epoch {
        id,
        rollout_id: ROLLOUT.to_owned(),
        sequence,
        candidate_traffic_permille: 500,
        errors: Some(v1::ErrorCounts {
            stable_units: 100,
            candidate_units: 100,
            stable: 1,
            candidate: candidate_errors,
        }),
        ..v1::Epoch::default()
    }
}

fn report(hub: &Hub, epochs: Vec<v1::Epoch>) {
    let report = v1::Report {
        epochs,
        ..v1::Report::default()
    };
    hub.receive(
        &key(),
        &pod(),
        "uid-1",
        v1::router_message::Message::Report(report),
    );
}

fn acknowledge(hub: &Hub, kind: v1::route::Kind, sequence: u64) {
    let mut ack = v1::RouteAck {
        rollout_id: ROLLOUT.to_owned(),
        sequence,
        ..v1::RouteAck::default()
    };
    ack.set_kind(kind);
    hub.receive(
        &key(),
        &pod(),
        "uid-1",
        v1::router_message::Message::Ack(ack),
    );
}

#[test]
fn a_standby_sends_routers_to_the_leader() {
    let (wake, _) = mpsc::channel(1);
    let hub = Hub::new(wake);
    hub.stand_by(Some("198.18.0.9:9443".to_owned()));
    let reply = hub
        .check_in(&key(), &pod(), hello("uid-1", "a"))
        .reply
        .unwrap();
    let v1::check_in_reply::Reply::NotLeader(other) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(other.address, "198.18.0.9:9443");
    assert!(hub.open(&key(), &pod(), hello("uid-1", "a")).is_none());
}

#[test]
fn only_routers_of_the_wave_are_asked_for_a_stream() {
    let (hub, _inbox) = granted();
    let welcome = |uid: &str| match hub.check_in(&key(), &pod(), hello(uid, "a")).reply.unwrap() {
        v1::check_in_reply::Reply::Welcome(welcome) => welcome.stream,
        v1::check_in_reply::Reply::NotLeader(_) => panic!("this hub leads"),
    };
    assert!(welcome("uid-1"));
    assert!(!welcome("uid-2"));
}

#[test]
fn a_route_is_sent_once_and_again_when_it_changes() {
    let (hub, mut inbox) = granted();
    assert_eq!(sent_routes(&mut inbox).len(), 1);
    hub.publish(&key(), routes(RouteKind::Grant, 1));
    assert!(sent_routes(&mut inbox).is_empty());
    hub.publish(&key(), routes(RouteKind::Grant, 2));
    assert_eq!(sent_routes(&mut inbox)[0].sequence, 2);
}

#[test]
fn a_cut_goes_out_at_once_and_no_later_grant_of_the_rollout_undoes_it() {
    let (hub, mut inbox) = granted();
    sent_routes(&mut inbox);
    hub.cut(&key(), ROLLOUT);
    let cut = sent_routes(&mut inbox).remove(0);
    assert_eq!(cut.kind(), v1::route::Kind::Cut);
    assert!(cut.sequence > 1);
    hub.publish(&key(), routes(RouteKind::Grant, 9));
    assert!(
        sent_routes(&mut inbox)
            .iter()
            .all(|route| route.kind() == v1::route::Kind::Cut)
    );
    assert!(hub.view(&key(), ROLLOUT).cut.contains(ROLLOUT));
}

#[test]
fn a_cut_that_a_router_reports_counts_for_a_new_leader() {
    let (wake, _) = mpsc::channel(1);
    let hub = Hub::new(wake);
    hub.lead(4);
    let mut after_cut = hello("uid-1", "a");
    after_cut.last_cut = Some(v1::LastCut {
        rollout_id: ROLLOUT.to_owned(),
        sequence: 2,
    });
    hub.check_in(&key(), &pod(), after_cut);
    assert!(hub.view(&key(), ROLLOUT).cut.contains(ROLLOUT));
}

#[test]
fn a_router_may_route_until_it_acknowledges_the_cut() {
    let (hub, mut inbox) = granted();
    let may_route = || hub.view(&key(), ROLLOUT).routers["uid-1"].may_route;
    assert!(may_route());
    hub.cut(&key(), ROLLOUT);
    let sequence = sent_routes(&mut inbox).pop().unwrap().sequence;
    acknowledge(&hub, v1::route::Kind::Grant, 1);
    assert!(may_route());
    acknowledge(&hub, v1::route::Kind::Cut, sequence);
    assert!(!may_route());
}

#[test]
fn counters_are_cumulative_whatever_the_order_of_their_reports() {
    let (hub, _inbox) = granted();
    report(&hub, vec![epoch(7, 5, 4)]);
    report(&hub, vec![epoch(7, 5, 4)]);
    report(&hub, vec![epoch(7, 2, 1)]);
    let open = hub.view(&key(), ROLLOUT).open;
    let (_, errors) = open.errors().next().unwrap();
    assert_eq!(
        (errors.units().candidate, errors.events().candidate),
        (100, 4)
    );
}

#[test]
fn a_closed_epoch_is_stored_once_and_its_repetition_changes_nothing() {
    let (hub, mut inbox) = granted();
    let closed = v1::Epoch {
        closed: true,
        ..epoch(7, 5, 4)
    };
    report(&hub, vec![closed.clone()]);
    let view = hub.view(&key(), ROLLOUT);
    assert_eq!((view.closed.len(), view.open.units().candidate), (1, 0));
    messages(&mut inbox);
    let store = EvidenceStore {
        rollout: ROLLOUT.to_owned(),
        closed_ids: vec![7],
        ..EvidenceStore::default()
    };
    hub.stored(&key(), &store);
    let told = messages(&mut inbox);
    assert!(matches!(&told[0], v1::operator_message::Message::Stored(stored) if stored.ids == [7]));
    report(
        &hub,
        vec![v1::Epoch {
            sequence: 6,
            ..closed
        }],
    );
    assert_eq!(hub.view(&key(), ROLLOUT).open.units().candidate, 0);
}

#[test]
fn a_router_that_restarts_with_a_route_is_seen_and_its_counts_stay() {
    let (hub, _inbox) = granted();
    report(&hub, vec![epoch(7, 5, 4)]);
    hub.check_in(&key(), &pod(), hello("uid-1", "b"));
    let view = hub.view(&key(), ROLLOUT);
    assert!(view.routers["uid-1"].restarted_with_route);
    assert_eq!(view.closed.len(), 1);
}

fn keep_alive(hub: &Hub, inbox: &mut Inbox) -> v1::Lease {
    messages(inbox);
    let keep_alive = v1::KeepAlive { nonce: 42 };
    let message = v1::router_message::Message::KeepAlive(keep_alive);
    hub.receive(&key(), &pod(), "uid-1", message);
    match messages(inbox).pop() {
        Some(v1::operator_message::Message::Lease(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_granted_route_is_leased() {
    let (hub, mut inbox) = granted();
    let lease = keep_alive(&hub, &mut inbox);
    assert_eq!((lease.nonce, lease.sequence), (42, 1));
    assert_eq!(lease.rollout_id, ROLLOUT);
    hub.publish(&key(), routes(RouteKind::Withdraw, 2));
    assert_eq!(keep_alive(&hub, &mut inbox).rollout_id, "");
}

/// A router that hears nothing for 10 s closes its stream: while candidates load, nothing but the echo tells it that we are there.
#[test]
fn a_stream_without_a_grant_is_kept_alive_too() {
    let (hub, mut inbox) = granted();
    hub.publish(&key(), routes(RouteKind::Withdraw, 2));
    assert_eq!(keep_alive(&hub, &mut inbox).nonce, 42);
    let mut resuming = routes(RouteKind::Grant, 3);
    resuming.granting = false;
    hub.publish(&key(), resuming);
    assert_eq!(keep_alive(&hub, &mut inbox).nonce, 42);
}

/// Else a candidate would go on answering while nobody can tell that it does harm.
#[test]
fn a_model_that_cannot_be_looked_at_has_no_lease_extended() {
    let (hub, mut inbox) = granted();
    hub.suspend(&key());
    assert_eq!(keep_alive(&hub, &mut inbox).rollout_id, "");
    hub.publish(&key(), routes(RouteKind::Grant, 1));
    assert_eq!(keep_alive(&hub, &mut inbox).rollout_id, ROLLOUT);
}

#[test]
fn exposed_time_runs_only_under_an_acknowledged_grant() {
    let (hub, _inbox) = granted();
    assert_eq!(hub.view(&key(), ROLLOUT).exposed, std::time::Duration::ZERO);
    acknowledge(&hub, v1::route::Kind::Grant, 1);
    let first = hub.view(&key(), ROLLOUT).exposed;
    let second = hub.view(&key(), ROLLOUT).exposed;
    assert!(second > first);
    hub.cut(&key(), ROLLOUT);
    let stopped = hub.view(&key(), ROLLOUT).exposed;
    assert_eq!(hub.view(&key(), ROLLOUT).exposed, stopped);
}

/// Both leaders of a hand-over measure the same time: what is stored is where the later one starts, never a part of a sum.
#[test]
fn a_new_leader_counts_exposed_time_on_from_what_is_stored() {
    let stored = |milliseconds| EvidenceStore {
        exposed_milliseconds: milliseconds,
        ..store(&[])
    };
    let milliseconds = |hub: &Hub, rollout| hub.view(&key(), rollout).exposed.as_millis();
    let hub = Hub::new(mpsc::channel(8).0);
    hub.read_store(&key(), &stored(60_000));
    assert_eq!(milliseconds(&hub, ROLLOUT), 60_000);
    hub.read_store(&key(), &stored(61_000));
    assert_eq!(milliseconds(&hub, ROLLOUT), 60_000);
    assert_eq!(milliseconds(&hub, "another"), 0);
}

#[test]
fn nothing_but_a_newer_cut_follows_a_cut() {
    let (hub, mut inbox) = granted();
    hub.cut(&key(), ROLLOUT);
    sent_routes(&mut inbox);
    for kind in [RouteKind::Withdraw, RouteKind::Grant, RouteKind::Cut] {
        hub.publish(&key(), routes(kind, 2));
    }
    let kinds: Vec<_> = sent_routes(&mut inbox)
        .iter()
        .map(v1::Route::kind)
        .collect();
    assert!(
        kinds.iter().all(|kind| *kind == v1::route::Kind::Cut),
        "{kinds:?}"
    );
    hub.cut(&key(), ROLLOUT);
    assert!(sent_routes(&mut inbox).is_empty());
}

/// A new leader, after a crash between the cut and its status: the router refuses the grant and says why.
#[test]
fn a_grant_that_a_router_refuses_as_cut_is_a_cut_from_then_on() {
    let (hub, mut inbox) = granted();
    acknowledge(&hub, v1::route::Kind::Cut, 1);
    let view = hub.view(&key(), ROLLOUT);
    assert!(view.cut.contains(ROLLOUT));
    assert!(!view.routers["uid-1"].may_route);
    assert_eq!(keep_alive(&hub, &mut inbox).rollout_id, "");
    hub.publish(&key(), routes(RouteKind::Grant, 2));
    let kinds: Vec<_> = sent_routes(&mut inbox)
        .iter()
        .map(v1::Route::kind)
        .collect();
    assert!(
        kinds.iter().all(|kind| *kind == v1::route::Kind::Cut),
        "{kinds:?}"
    );
}

#[test]
fn the_present_cut_is_never_forgotten_for_old_ones() {
    let (hub, _inbox) = granted();
    hub.cut(&key(), ROLLOUT);
    for old in 0..100 {
        let mut other = hello(&format!("uid-{}", old + 2), "a");
        other.last_cut = Some(v1::LastCut {
            rollout_id: format!("old-{old}"),
            sequence: 1,
        });
        hub.check_in(&key(), &pod(), other);
    }
    let cut = hub.view(&key(), ROLLOUT).cut;
    assert!(cut.contains(ROLLOUT));
    assert!(cut.len() <= CUTS_REMEMBERED);
}

/// After a change of the leader routers report before the first look: what they tell must not be called over.
#[test]
fn nothing_is_called_stored_before_the_first_look() {
    let (wake, _) = mpsc::channel(16);
    let hub = Hub::new(wake);
    hub.lead(3);
    let mut inbox = hub.open(&key(), &pod(), hello("uid-1", "a")).unwrap();
    report(&hub, vec![epoch(7, 5, 4)]);
    let told = messages(&mut inbox);
    let stored = |message: &v1::operator_message::Message| {
        matches!(message, v1::operator_message::Message::Stored(_))
    };
    assert!(!told.iter().any(stored), "{told:?}");
    let _ = hub.view(&key(), ROLLOUT);
    report(&hub, vec![epoch(7, 6, 4)]);
    assert_eq!(hub.view(&key(), ROLLOUT).open.units().candidate, 100);
}

#[test]
fn epochs_of_a_rollout_that_is_over_are_given_up() {
    let (hub, mut inbox) = granted();
    messages(&mut inbox);
    let old = v1::Epoch {
        rollout_id: "000000000000".to_owned(),
        ..epoch(9, 1, 1)
    };
    report(&hub, vec![old]);
    assert!(
        matches!(&messages(&mut inbox)[0], v1::operator_message::Message::Stored(stored) if stored.ids == [9])
    );
    report(&hub, vec![epoch(7, 5, 4)]);
    let next = hub.view(&key(), "111111111111");
    assert_eq!((next.open.units().candidate, next.closed.len()), (0, 0));
}

#[test]
fn what_a_router_counted_stays_when_its_pod_is_gone() {
    let (hub, _inbox) = granted();
    report(&hub, vec![epoch(7, 5, 4)]);
    hub.retain(&key(), &BTreeSet::new());
    let view = hub.view(&key(), ROLLOUT);
    assert!(view.routers.is_empty());
    assert_eq!(view.closed.len(), 1);
    assert_eq!(view.open.units().candidate, 0);
}

#[test]
fn a_router_that_leaves_the_wave_gives_its_route_back_before_its_stream_ends() {
    let (hub, mut inbox) = granted();
    sent_routes(&mut inbox);
    let mut without = routes(RouteKind::Grant, 2);
    without.by_router.clear();
    hub.publish(&key(), without);
    assert_eq!(sent_routes(&mut inbox)[0].kind(), v1::route::Kind::Withdraw);
    assert!(!inbox.1.is_closed());
    acknowledge(&hub, v1::route::Kind::Withdraw, 1);
    assert!(!hub.view(&key(), ROLLOUT).routers["uid-1"].stream);
    assert!(inbox.1.try_recv().is_err() && inbox.1.is_closed());
}

#[test]
fn a_router_without_a_stream_was_granted_nothing() {
    let (wake, _) = mpsc::channel(16);
    let hub = Hub::new(wake);
    hub.lead(3);
    hub.lock().foreign_until = None;
    let _ = hub.view(&key(), ROLLOUT);
    hub.check_in(&key(), &pod(), hello("uid-1", "a"));
    hub.publish(&key(), routes(RouteKind::Grant, 1));
    assert!(!hub.view(&key(), ROLLOUT).routers["uid-1"].may_route);
}

#[test]
fn a_new_leader_counts_on_grants_of_the_one_before_it() {
    let (wake, _) = mpsc::channel(16);
    let hub = Hub::new(wake);
    hub.lead(3);
    hub.check_in(&key(), &pod(), hello("uid-1", "a"));
    let may_route = || hub.view(&key(), ROLLOUT).routers["uid-1"].may_route;
    assert!(may_route());
    let _inbox = hub.open(&key(), &pod(), hello("uid-1", "a")).unwrap();
    acknowledge(&hub, v1::route::Kind::Withdraw, 1);
    assert!(!may_route());
}

#[test]
fn a_deleted_model_cuts_its_routes_and_ends_the_streams() {
    let (hub, mut inbox) = granted();
    sent_routes(&mut inbox);
    hub.forget(&key());
    assert_eq!(sent_routes(&mut inbox)[0].kind(), v1::route::Kind::Cut);
    assert!(inbox.1.is_closed());
}

#[test]
fn health_of_another_rollouts_candidate_says_nothing() {
    let (hub, _inbox) = granted();
    let health = |rollout: &str| {
        let report = v1::Report {
            candidate: Some(v1::CandidateHealth {
                rollout_id: rollout.to_owned(),
                ready: true,
                message: String::new(),
            }),
            ..v1::Report::default()
        };
        let message = v1::router_message::Message::Report(report);
        hub.receive(&key(), &pod(), "uid-1", message);
        hub.view(&key(), ROLLOUT).routers["uid-1"].candidate_ready
    };
    assert_eq!(health("000000000000"), None);
    assert_eq!(health(ROLLOUT), Some(true));
}

#[test]
fn a_leader_has_heard_enough_when_reports_came() {
    let (hub, _inbox) = granted();
    let wave = ["uid-1".to_owned()];
    assert!(!hub.heard_enough(&key(), &wave, &[]));
    report(&hub, vec![epoch(7, 5, 4)]);
    assert!(hub.heard_enough(&key(), &wave, &[]));
    assert!(!hub.heard_enough(&key(), &["uid-1".to_owned(), "uid-2".to_owned()], &[]));
}

#[test]
fn a_router_that_does_not_read_loses_its_stream() {
    let (hub, _inbox) = granted();
    for sequence in 2..100 {
        hub.publish(&key(), routes(RouteKind::Grant, sequence));
    }
    assert!(!hub.view(&key(), ROLLOUT).routers["uid-1"].stream);
}

/// A route names its candidate by address and key, which only the candidate's own router tells.
#[test]
fn a_leader_waits_for_the_candidates_to_check_in_and_asks_them_to_do_so_often() {
    let (hub, _inbox) = granted();
    report(&hub, vec![epoch(1, 1, 0)]);
    let (wave, candidates) = (["uid-1".to_owned()], ["uid-c".to_owned()]);
    assert!(!hub.heard_enough(&key(), &wave, &candidates));
    for number in 0..1_000 {
        hub.check_in(&key(), &pod(), hello(&format!("other-{number}"), "a"));
    }
    let candidate = PodIdentity {
        role: Role::Candidate,
        ..pod()
    };
    let seconds = |pod: &PodIdentity, uid: &str| {
        let reply = hub.check_in(&key(), pod, hello(uid, "a")).reply.unwrap();
        let v1::check_in_reply::Reply::Welcome(welcome) = reply else {
            panic!("{reply:?}")
        };
        welcome.next_check_in_seconds
    };
    assert_eq!(seconds(&candidate, "uid-c"), CHECK_IN_SECONDS_MIN);
    assert!(seconds(&pod(), "other-1") > CHECK_IN_SECONDS_MIN);
    assert!(hub.heard_enough(&key(), &wave, &candidates));
}

fn store(ids: &[u64]) -> EvidenceStore {
    EvidenceStore {
        rollout: ROLLOUT.to_owned(),
        closed_ids: ids.to_vec(),
        ..EvidenceStore::default()
    }
}

fn closed(id: u64) -> v1::Epoch {
    v1::Epoch {
        closed: true,
        ..epoch(id, 5, 4)
    }
}

/// Without its stream nobody could ask for the counts again, and the next leader would know less than this one.
#[test]
fn a_router_that_left_the_wave_keeps_its_stream_until_its_counts_are_stored() {
    let (hub, mut inbox) = granted();
    report(&hub, vec![epoch(7, 1, 0)]);
    let without = Routes {
        by_router: std::collections::BTreeMap::new(),
        ..routes(RouteKind::Grant, 2)
    };
    hub.publish(&key(), without.clone());
    let withdraw = sent_routes(&mut inbox).pop().unwrap();
    acknowledge(&hub, withdraw.kind(), withdraw.sequence);
    report(&hub, vec![closed(7)]);
    let stream = || hub.view(&key(), ROLLOUT).routers["uid-1"].stream;
    assert!(stream());
    hub.stored(&key(), &store(&[7]));
    hub.publish(&key(), without);
    assert!(!stream());
}

#[test]
fn after_the_verdict_a_router_may_forget_what_it_counted() {
    let (hub, mut inbox) = granted();
    hub.publish(&key(), routes(RouteKind::Cut, 2));
    messages(&mut inbox);
    report(&hub, vec![closed(7)]);
    let told = messages(&mut inbox);
    assert!(matches!(&told[0], v1::operator_message::Message::Stored(stored) if stored.ids == [7]));
    assert_eq!(hub.view(&key(), ROLLOUT).closed.len(), 1);
}

/// Its pod was missing in a cache for a moment, or a leader before this one took it for gone.
#[test]
fn a_router_that_comes_back_is_not_counted_twice() {
    let (hub, _inbox) = granted();
    report(&hub, vec![epoch(7, 5, 4)]);
    hub.retain(&key(), &BTreeSet::new());
    hub.check_in(&key(), &pod(), hello("uid-1", "a"));
    report(&hub, vec![epoch(7, 6, 5)]);
    let view = hub.view(&key(), ROLLOUT);
    assert_eq!((view.closed.len(), view.open.units().candidate), (1, 0));

    let (hub, _inbox) = granted();
    hub.read_store(&key(), &store(&[7]));
    report(&hub, vec![epoch(7, 6, 5)]);
    assert_eq!(hub.view(&key(), ROLLOUT).open.units().candidate, 0);
}

#[test]
fn a_cut_takes_until_the_last_router_acknowledges_it() {
    let (hub, mut inbox) = granted();
    hub.cut(&key(), ROLLOUT);
    let sequence = sent_routes(&mut inbox).pop().unwrap().sequence;
    let _ = hub.view(&key(), ROLLOUT);
    assert_eq!(hub.cut_took(&key()), None);
    acknowledge(&hub, v1::route::Kind::Cut, sequence);
    let _ = hub.view(&key(), ROLLOUT);
    assert!(hub.cut_took(&key()).is_some());
    assert_eq!(hub.cut_took(&key()), None, "it is told once");
}
