//! Evidence over restarts, losses and partitions (`rollout.md` 6).

use serde_json::json;
use smallfleet_core::world::Role;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

fn analyzing(rate: u64) -> Lab {
    let mut lab = Lab::at_rest(3);
    lab.rate = rate;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab
}

#[test]
fn thresholds_are_frozen_after_the_burn_in_and_counting_starts() {
    let mut lab = analyzing(200);
    let sequence = lab.rollout().sequence;
    assert!(lab.rollout().frozen.unwrap().latency.is_empty());
    lab.run(3);
    let frozen = lab.rollout().frozen.unwrap().latency;
    assert_eq!(frozen.len(), 1);
    assert_eq!(frozen[0].units, 100);
    assert!(lab.rollout().sequence > sequence);
    lab.run(15);
    let analysis = lab.status().analysis.unwrap();
    assert!(analysis.objectives[0].units.candidate > 0);
    assert_eq!(analysis.objectives[0].name, "latency");
}

/// A hundred units of one node are few: at .02 above the p95 threshold the tail would take 2.5 times as long to decide.
#[test]
fn thresholds_that_the_burn_in_missed_are_frozen_again_once() {
    for (tail_permille, freezes) in [(50, 1), (20, 2)] {
        let mut lab = Lab::at_rest(3);
        lab.tail_permille = tail_permille;
        lab.rate = 200;
        lab.ask_for("2");
        lab.run_until_state(RolloutState::Analyzing);
        lab.edit("/rollout/paused", json!(true));
        lab.run(60);
        let frozen = lab.rollout().frozen.unwrap().latency;
        assert_eq!(frozen.len(), freezes, "{tail_permille} permille");
        if freezes == 2 {
            let p95 = |freeze: usize| frozen[freeze].thresholds_microseconds[3];
            assert!(p95(1) < p95(0), "more units are above it now");
        }
        let margins = &lab.status().analysis.unwrap().objectives[0].margins;
        assert!(
            margins.starts_with("typical ") && margins.contains(", tail "),
            "{margins}"
        );
    }
}

#[test]
fn restarts_of_the_operator_do_not_change_the_verdict() {
    let outcome = |behavior: Behavior, restart: u64| {
        let mut lab = Lab::at_rest(3);
        lab.behave("2", behavior);
        lab.rate = 400;
        lab.ask_for("2");
        for second in 0..200 {
            lab.tick();
            if restart > 0 && second % restart == 0 {
                lab.crash_after(1);
            }
            lab.reconcile();
        }
        (
            lab.stable() == lab.hash("2"),
            lab.status().refused.first().map(|one| one.reason.clone()),
        )
    };
    for behavior in [Behavior::Good, Behavior::Slow] {
        let expected = outcome(behavior.clone(), 0);
        for restart in [7, 13, 31] {
            assert_eq!(
                outcome(behavior.clone(), restart),
                expected,
                "{behavior:?}, every {restart} s"
            );
        }
    }
}

#[test]
fn a_new_leader_grants_nothing_new_until_it_has_heard_the_wave() {
    let mut lab = analyzing(2);
    let wave = lab.rollout().wave;
    lab.partition(&wave[0], false);
    lab.new_leader();
    lab.run(5);
    assert_eq!(lab.rollout().state, RolloutState::Analyzing);
    lab.run(12);
    assert_eq!(lab.granted(), 0, "the lease ends by itself");
    lab.partition(&wave[0], true);
    lab.run(3);
    assert_eq!(lab.granted(), 1, "the same rollout goes on");
}

/// Candidates check in now and then only; the lease outlives a handover.
#[test]
fn a_new_leader_takes_no_route_away_before_it_has_heard_the_candidate() {
    let mut lab = analyzing(2);
    let candidate = lab.pods_of(Role::Candidate)[0].uid.clone();
    lab.routers.get_mut(&candidate).unwrap().connected = false;
    lab.new_leader();
    lab.run(4);
    assert_eq!(lab.granted(), 1, "the last leader's grant stands");
    lab.routers.get_mut(&candidate).unwrap().connected = true;
    lab.run(20);
    assert_eq!(lab.granted(), 1);
}

#[test]
fn a_cut_that_was_not_written_is_completed() {
    let mut lab = analyzing(2);
    let id = lab.rollout().id;
    lab.command("abort");
    // Lost right after the cut; the command is withdrawn, so nothing but the routers knows of it.
    lab.crash_after(1);
    assert_eq!(lab.state(), Some(RolloutState::Analyzing));
    assert_eq!(lab.granted(), 0);
    lab.model.metadata.annotations = None;
    lab.run(3);
    assert!(matches!(
        lab.state(),
        Some(RolloutState::RollingBack | RolloutState::RolledBack)
    ));
    assert_eq!(lab.rollout().id, id);
    assert_eq!(lab.status().refused[0].reason, "Interrupted");
}

/// Crashes right after the cut of the next plan that cuts.
fn crash_after_cut(lab: &mut Lab) {
    for _ in 0..60 {
        lab.tick();
        if crate::install::kinds(&lab.plan_now().0).first() == Some(&"Cut") {
            return lab.crash_after(1);
        }
        lab.reconcile();
    }
    panic!("nothing was cut");
}

#[test]
fn a_restart_that_was_not_written_refuses_nothing() {
    let mut lab = analyzing(2);
    lab.run(15);
    let id = lab.rollout().id;
    lab.evidence = None;
    crash_after_cut(&mut lab);
    lab.run(30);
    assert_ne!(lab.rollout().id, id);
    assert!(
        lab.status().refused.is_empty(),
        "{:?}",
        lab.status().refused
    );
}

#[test]
fn a_rejection_that_was_not_written_refuses_nothing() {
    let mut lab = analyzing(2);
    lab.behave("2", Behavior::Fails("WrongTask"));
    crash_after_cut(&mut lab);
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().phase, "Rejected");
    assert!(lab.status().refused.is_empty());
}

/// Numbers are due every ten seconds: in one of these plans together with the raise. The lab asserts that one write is planned.
#[test]
fn evidence_is_stored_once_a_plan() {
    for seconds in 20..30 {
        let mut lab = Lab::at_rest(4);
        lab.ask_for("2");
        lab.run_until(200, |lab| {
            lab.state() == Some(RolloutState::Preparing) && lab.rollout().step == 1
        });
        lab.edit("/rollout/paused", json!(true));
        lab.run(seconds);
        lab.edit("/rollout/paused", json!(false));
        lab.run(1);
        assert_eq!(lab.state(), Some(RolloutState::Analyzing), "at once");
    }
}

#[test]
fn lost_evidence_voids_the_rollout_and_it_begins_anew() {
    let mut lab = analyzing(2);
    lab.run(15);
    let id = lab.rollout().id;
    lab.evidence = None;
    lab.run(15);
    assert_ne!(lab.rollout().id, id);
    assert_eq!(lab.rollout().step, 0);
    assert!(lab.emitted("RolloutRestarted"));
    lab.rate = 2000;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn units_of_a_stable_pod_that_is_gone_count_once() {
    let mut lab = analyzing(4);
    lab.run(60);
    let counted = |lab: &Lab| lab.status().analysis.unwrap().objectives[0].units.stable;
    let before = counted(&lab);
    assert!(before > 0);
    let node = lab.rollout().wave[0].clone();
    lab.kill(Role::Stable, &node);
    lab.run(30);
    let store = &lab.evidence.as_ref().unwrap().0;
    assert_eq!(store.closed_ids.len(), 1);
    let closed = store.evidence.closed.units().stable;
    let open = |lab: &Lab| -> u64 {
        let id = lab.rollout().id;
        let routers = lab.counting(&id);
        routers.map(|router| router.counts.units().stable).sum()
    };
    lab.run(11);
    assert!(counted(&lab) >= before, "nothing is lost");
    assert!(counted(&lab) <= closed + open(&lab), "nothing counts twice");
}

#[test]
fn a_partitioned_router_goes_back_to_stable_and_its_candidate_stays_until_then() {
    let mut lab = analyzing(2);
    let node = lab.rollout().wave[0].clone();
    lab.partition(&node, false);
    lab.command("abort");
    lab.run(5);
    assert_eq!(lab.state(), Some(RolloutState::RollingBack));
    assert_eq!(lab.granted(), 1, "it still holds its lease");
    assert_eq!(
        lab.pods_of(Role::Candidate).len(),
        1,
        "so its candidate stays"
    );
    lab.run_until(20, |lab| lab.state() == Some(RolloutState::RolledBack));
    assert_eq!(lab.granted(), 0);
}
