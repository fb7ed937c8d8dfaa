//! The way of a rollout through its states.

use serde_json::json;
use smallfleet_core::action::Route;
use smallfleet_core::lowered;
use smallfleet_core::revision::Verdict;
use smallfleet_core::world::{Role, RouteKind};
use smallfleet_crds::status::{PauseReason, RolloutState, RolloutStatus};

use crate::install::kinds;
use crate::lab::{Behavior, Lab};

#[test]
fn a_good_revision_is_promoted_step_by_step() {
    let mut lab = Lab::at_rest(4);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    assert_eq!(lab.rollout().wave.len(), 1);
    assert_eq!(lab.status().display.step, "1/2 one");
    lab.run_until(200, |lab| {
        lab.state() == Some(RolloutState::Analyzing) && lab.rollout().step == 1
    });
    assert_eq!(lab.rollout().wave.len(), 2);
    lab.run_until_state(RolloutState::Promoting);
    lab.run_until(100, |lab| lab.status().rollout.is_none());
    assert_eq!(lab.stable(), lab.hash("2"));
    assert_eq!(lab.status().last_rollout.unwrap().outcome, "Promoted");
    assert!(lab.is("Ready", "True"));
    assert_eq!(lab.pods_of(Role::Candidate).len(), 0);
    for reason in [
        "RolloutStarted",
        "TrafficRaised",
        "StepStarted",
        "Promoting",
        "Promoted",
    ] {
        assert!(lab.emitted(reason), "no {reason}");
    }
}

#[test]
fn a_slow_revision_is_cut_before_it_is_written_down_and_refused() {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::Slow);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let plan = loop {
        lab.tick();
        let plan = lab.reconcile();
        if lab.state() == Some(RolloutState::RollingBack) {
            break plan;
        }
    };
    assert_eq!(kinds(&plan)[..3], ["Cut", "LabelRevision", "PersistStatus"]);
    lab.run_until_state(RolloutState::RolledBack);
    let status = lab.status();
    assert_eq!(status.refused[0].reason, "LatencyRegression");
    assert_eq!(status.refused[0].objective, "latency");
    assert!(
        status.refused[0].effect.contains("slower after"),
        "{}",
        status.refused[0].effect
    );
    assert!(lab.is("Ready", "False") && lab.is("Stalled", "True") && lab.is("Available", "True"));
    assert_eq!(lab.stable(), lab.hash("1"));
    assert_eq!(lab.pods_of(Role::Candidate).len(), 0);
    lab.run(12);
    lab.later(600);
    assert!(lab.reconcile().actions.is_empty(), "RolledBack is at rest");
}

#[test]
fn a_raise_is_persisted_before_any_router_is_told() {
    let mut lab = Lab::at_rest(1);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Preparing);
    while lab.state() == Some(RolloutState::Preparing) {
        assert_eq!(lab.granted(), 0);
        lab.tick();
        lab.reconcile();
    }
    assert_eq!(lab.granted(), 1);
    assert_eq!(lab.rollout().candidate_traffic_permille, 500);
    assert_eq!(lab.evidence.as_ref().unwrap().0.rollout, lab.rollout().id);
}

#[test]
fn the_id_is_in_status_before_any_pod() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    let plan = lab.reconcile();
    assert_eq!(kinds(&plan), ["CreateRevision", "PersistStatus", "Emit"]);
    let rollout = lab.rollout();
    assert_eq!(rollout.id.len(), 12);
    assert!(rollout.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    lab.run(2);
    let name = &lab.pods_of(Role::Candidate)[0].name;
    assert!(
        name.starts_with(&format!("intent-{}-", &rollout.id[..6])),
        "{name}"
    );
    assert_eq!(name.len(), "intent-".len() + 6 + 1 + 10);
}

#[test]
fn promotion_removes_the_candidates_before_the_template_changes() {
    let mut lab = Lab::at_rest(1);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    let verdict = |lab: &Lab| {
        lab.revisions
            .iter()
            .find(|one| one.hash == lab.hash("2"))
            .unwrap()
            .verdict
    };
    assert_eq!(verdict(&lab), Some(Verdict::Stable));
    while lab.daemon_set.as_ref().unwrap().revision == lab.hash("1") {
        lab.tick();
        let gone = lab.pods_of(Role::Candidate).is_empty();
        lab.reconcile();
        assert!(gone || lab.daemon_set.as_ref().unwrap().revision == lab.hash("1"));
    }
    assert_eq!(
        lab.stable(),
        lab.hash("1"),
        "stable is what was promoted until all Ready nodes are updated"
    );
}

#[test]
fn a_step_with_approval_waits_for_it() {
    let mut lab = Lab::at_rest(2);
    lab.edit(
        "/rollout/steps",
        json!([{"name": "one", "nodes": 1, "minExposureSeconds": 5, "approval": "Required"}]),
    );
    lab.ask_for("2");
    lab.run_until(200, |lab| lab.is("Paused", "True"));
    assert_eq!(lab.rollout().paused.unwrap().reason, PauseReason::Approval);
    assert_eq!(lab.status().phase, "Paused");
    lab.run(60);
    assert_eq!(lab.state(), Some(RolloutState::Analyzing));
    assert!(lab.granted() > 0, "routes stay in a pause");
    lab.command("promote");
    lab.run_until_state(RolloutState::Promoting);
    assert_eq!(lab.status().last_command.unwrap().result, "Done");
}

#[test]
fn a_user_pause_raises_nothing_and_keeps_rollback_armed() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.edit("/rollout/paused", json!(true));
    lab.run(100);
    assert_eq!(lab.rollout().paused.unwrap().reason, PauseReason::User);
    assert_eq!(
        (lab.state(), lab.rollout().step),
        (Some(RolloutState::Analyzing), 0)
    );
    assert_eq!(lab.granted(), 1, "evidence goes on");
    lab.behave("2", Behavior::Slow);
    lab.run_until_state(RolloutState::RolledBack);
}

#[test]
fn candidates_of_the_next_step_get_no_traffic_in_a_pause() {
    let mut lab = Lab::at_rest(4);
    lab.ask_for("2");
    lab.run_until(200, |lab| {
        lab.state() == Some(RolloutState::Preparing) && lab.rollout().step == 1
    });
    lab.edit("/rollout/paused", json!(true));
    lab.run(30);
    let ready = lab.pods_of(Role::Candidate);
    assert_eq!(ready.iter().filter(|pod| pod.ready).count(), 2);
    assert_eq!(lab.granted(), 1, "nothing is raised");
    lab.edit("/rollout/paused", json!(false));
    lab.run(1);
    assert_eq!(lab.state(), Some(RolloutState::Analyzing));
    assert_eq!(lab.granted(), 2);
}

#[test]
fn a_node_that_takes_a_lost_ones_place_is_granted_unless_the_user_pauses() {
    for paused in [true, false] {
        let mut lab = Lab::at_rest(3);
        lab.rate = 2;
        lab.ask_for("2");
        lab.run_until_state(RolloutState::Analyzing);
        lab.edit("/rollout/paused", json!(paused));
        let lost = lab.rollout().wave[0].clone();
        lab.node(&lost).ready = false;
        lab.run(30);
        assert!(!lab.rollout().wave.contains(&lost));
        assert_eq!(lab.granted(), usize::from(!paused));
        lab.edit("/rollout/paused", json!(false));
        lab.run(2);
        assert_eq!(lab.granted(), 1);
    }
}

#[test]
fn the_kill_switch_acts_before_it_is_written_and_keeps_the_state() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let exposed = |lab: &Lab| lab.evidence.as_ref().unwrap().0.exposed_milliseconds;
    lab.edit("/featureFlag/state", json!("Disabled"));
    // The operator is lost before it writes a single thing.
    lab.crash_after(0);
    assert_eq!(lab.granted(), 0);
    lab.run(12);
    assert_eq!(lab.rollout().candidate_traffic_permille, 0);
    assert_eq!(lab.state(), Some(RolloutState::Analyzing));
    let before = exposed(&lab);
    lab.run(60);
    assert_eq!(exposed(&lab), before, "exposed time stops");
    let sequence = lab.rollout().sequence;
    lab.edit("/featureFlag/state", json!("Enabled"));
    lab.run(2);
    assert_eq!(lab.granted(), 1);
    assert!(lab.rollout().sequence > sequence);
}

#[test]
fn without_enough_traffic_the_deadline_decides_as_the_user_chose() {
    for (policy, state) in [
        ("Pause", RolloutState::Inconclusive),
        ("PromoteIfBounded", RolloutState::Inconclusive),
        ("RollBack", RolloutState::RolledBack),
    ] {
        let mut lab = Lab::at_rest(2);
        lab.rate = 2;
        lab.edit("/rollout/stepDeadlineSeconds", json!(20));
        lab.edit("/rollout/onInconclusive", json!(policy));
        lab.ask_for("2");
        lab.run_until_state(state);
        if state == RolloutState::Inconclusive {
            assert_eq!(
                lab.rollout().paused.unwrap().reason,
                PauseReason::Inconclusive
            );
            assert_eq!(lab.granted(), 1, "routes stay");
            lab.command("promote");
            lab.run(1);
            assert_eq!(
                (lab.state(), lab.rollout().step),
                (Some(RolloutState::Preparing), 1)
            );
        } else {
            assert_eq!(lab.status().refused[0].reason, "Inconclusive");
        }
    }
}

#[test]
fn more_time_or_evidence_ends_an_inconclusive_step() {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.edit("/rollout/stepDeadlineSeconds", json!(20));
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Inconclusive);
    lab.edit("/rollout/stepDeadlineSeconds", json!(600));
    lab.rate = 2000;
    lab.run_until(200, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_fleet_where_nothing_serves_gets_the_new_revision_at_once() {
    let mut lab = Lab::at_rest(2);
    lab.behave("1", Behavior::Fails("OutOfMemory"));
    lab.run(5);
    lab.ask_for("2");
    lab.run_until(200, |lab| lab.stable() == lab.hash("2"));
    assert!(lab.emitted("Promoting"));
}

/// Ready pods come and go; an unproven revision takes over only where nothing has served for a minute.
#[test]
fn a_moment_without_a_ready_pod_promotes_nothing() {
    let mut lab = Lab::at_rest(1);
    lab.behave("2", Behavior::NeverReady);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Preparing);
    lab.edit("/rollout/candidateReadySeconds", json!(3600));
    lab.run(100);
    lab.node("n0").ready = false;
    lab.run(30);
    lab.node("n0").ready = true;
    lab.run(5);
    lab.node("n0").ready = false;
    lab.run(40);
    assert_eq!(lab.state(), Some(RolloutState::Preparing));
    lab.run(30);
    assert!(lab.emitted("Promoting"), "nothing has served for a minute");
}

#[test]
fn a_wave_takes_a_node_of_each_class_when_they_fit() {
    let mut lab = Lab::new(8);
    for node in ["n0", "n1"] {
        lab.classes.insert(node.to_owned(), "arm64-neon".to_owned());
    }
    lab.run(30);
    lab.edit(
        "/rollout/steps",
        json!([{"name": "two", "nodes": 2, "minExposureSeconds": 5}]),
    );
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let classes: std::collections::BTreeSet<_> = lab
        .rollout()
        .wave
        .iter()
        .map(|node| lab.class_of(node))
        .collect();
    assert_eq!(classes.len(), 2);
}

#[test]
fn at_most_ten_candidates_start_at_once() {
    let mut lab = Lab::at_rest(30);
    lab.edit(
        "/rollout/steps",
        json!([{"name": "all", "nodes": "100%", "minExposureSeconds": 5}]),
    );
    lab.behave("2", Behavior::NeverReady);
    lab.ask_for("2");
    lab.run(20);
    assert_eq!(lab.rollout().wave.len(), 30);
    assert_eq!(lab.pods_of(Role::Candidate).len(), 10);
}

#[test]
fn numbers_are_written_at_most_every_ten_seconds() {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run(30);
    let before = lab.version;
    lab.run(60);
    assert!(
        lab.version - before <= 7,
        "{} writes in a minute",
        lab.version - before
    );
    assert!(!lab.status().display.evidence.is_empty());
}

/// How many routers would have a grant if these fields of the rollout were written next; `None` where it takes nothing from anyone.
fn granted_before(lab: &mut Lab, edit: fn(&mut RolloutStatus)) -> Option<usize> {
    let mut next = lab.status();
    edit(next.rollout.as_mut().unwrap());
    let routes = lowered(&lab.world(), &next)?;
    let granted = |route: &&Route| route.kind == RouteKind::Grant;
    Some(routes.by_router.values().filter(granted).count())
}

#[test]
fn what_a_status_takes_is_told_before_it_and_what_it_gives_is_not() {
    let mut lab = Lab::at_rest(6);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run_until(200, |lab| lab.rollout().granted.len() == 3);
    let none = granted_before(&mut lab, |next| next.candidate_traffic_permille = 0);
    assert_eq!(none, Some(0));
    let fewer = granted_before(&mut lab, |next| drop(next.granted.pop()));
    assert_eq!(fewer, Some(2));
    let replaced = granted_before(&mut lab, |next| next.granted[0] = "n9".to_owned());
    assert_eq!(replaced, Some(2));
    let more = granted_before(&mut lab, |next| next.candidate_traffic_permille = 900);
    assert_eq!(more, None);
    let over = granted_before(&mut lab, |next| next.state = RolloutState::RollingBack);
    assert_eq!(over, None, "that is a cut");
}
