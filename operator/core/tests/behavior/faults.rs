//! Whose fault (`rollout.md` 5).

use serde_json::json;
use smallfleet_core::world::{EngineState, Role, RouterView};
use smallfleet_crds::status::{PauseReason, RolloutState};

use crate::lab::{Behavior, Lab};

fn all_nodes(lab: &mut Lab) {
    lab.edit(
        "/rollout/steps",
        json!([{"name": "all", "nodes": "100%", "minExposureSeconds": 5}]),
    );
}

#[test]
fn a_fault_on_two_nodes_is_the_candidates() {
    for reason in ["LoadFailed", "ProbeFailed", "OOMKilled", "Whatever"] {
        let mut lab = Lab::at_rest(3);
        all_nodes(&mut lab);
        lab.behave("2", Behavior::Fails(reason));
        lab.ask_for("2");
        lab.run_until_state(RolloutState::RolledBack);
        let refused = lab.status().refused[0].clone();
        assert_eq!(refused.reason, "CandidateFault");
        let named = if reason == "OOMKilled" {
            "OutOfMemory"
        } else {
            reason
        };
        assert!(refused.effect.contains(named), "{}", refused.effect);
        assert_eq!(lab.stable(), lab.hash("1"));
    }
}

#[test]
fn a_fault_on_the_only_node_counts_three_times() {
    let mut lab = Lab::at_rest(1);
    lab.behave("2", Behavior::Fails("LoadFailed"));
    lab.ask_for("2");
    lab.run_until(20, |lab| {
        lab.state().is_some() && !lab.rollout().faults.is_empty()
    });
    assert_eq!(
        lab.state(),
        Some(RolloutState::Preparing),
        "once is not enough"
    );
    // Restarts of the operator do not forget.
    lab.new_leader();
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "CandidateFault");
}

#[test]
fn what_spec_names_wrongly_is_rejected_and_not_refused() {
    for (behavior, reason) in [
        (
            Behavior::NoImage("manifest unknown: no such digest"),
            "ImageNotFound",
        ),
        (Behavior::Fails("WrongTask"), "WrongTask"),
        (Behavior::Fails("InvalidModel"), "InvalidModel"),
    ] {
        let mut lab = Lab::at_rest(2);
        lab.behave("2", behavior);
        lab.ask_for("2");
        lab.run_until_state(RolloutState::RolledBack);
        assert!(lab.status().refused.is_empty());
        assert_eq!(lab.status().phase, "Rejected");
        assert_eq!(lab.condition("Stalled").unwrap().1, reason);
        assert!(
            lab.is("Accepted", "False") && lab.is("Ready", "False") && lab.is("Available", "True")
        );
        assert!(lab.pods_of(Role::Candidate).is_empty());
        lab.run(20);
        lab.later(100);
        assert!(lab.reconcile().actions.is_empty(), "at rest");
        lab.ask_for("3");
        lab.run_until(400, |lab| lab.stable() == lab.hash("3"));
    }
}

#[test]
fn a_registry_that_is_down_blocks_and_goes_on_by_itself() {
    let mut lab = Lab::at_rest(6);
    lab.behave(
        "2",
        Behavior::NoImage("dial tcp 198.18.0.1:5000: connect: connection refused"),
    );
    lab.ask_for("2");
    lab.run_until(60, |lab| {
        lab.state().is_some() && lab.rollout().blocked.is_some()
    });
    let rollout = lab.rollout();
    assert_eq!(rollout.blocked.unwrap().reason, "ImagePull");
    assert!(
        rollout.excluded.len() < 3,
        "a few nodes are tried, not the fleet: {:?}",
        rollout.excluded
    );
    assert_eq!(lab.status().phase, "Blocked");
    lab.run(200);
    assert_eq!(
        lab.state(),
        Some(RolloutState::Preparing),
        "the environment is never held against a revision"
    );
    lab.behave("2", Behavior::Good);
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_candidate_without_room_moves_to_the_next_node() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until(20, |lab| lab.pods_of(Role::Candidate).len() == 1);
    let first = lab.rollout().wave;
    let pod = lab
        .pods
        .iter_mut()
        .find(|pod| pod.role == Role::Candidate)
        .unwrap();
    pod.unschedulable = Some("insufficient memory".to_owned());
    lab.run(30);
    assert_eq!(lab.rollout().wave, first, "it is given a minute");
    lab.run_until(60, |lab| lab.rollout().wave != first);
    assert_eq!(lab.rollout().excluded[0].reason, "Unschedulable");
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn without_another_node_it_is_blocked_until_there_is_room() {
    let mut lab = Lab::at_rest(1);
    lab.ask_for("2");
    lab.run_until(20, |lab| lab.pods_of(Role::Candidate).len() == 1);
    lab.pods
        .iter_mut()
        .find(|pod| pod.role == Role::Candidate)
        .unwrap()
        .unschedulable = Some("no room".to_owned());
    lab.run_until(100, |lab| {
        lab.state().is_some() && lab.rollout().blocked.is_some()
    });
    assert_eq!(lab.rollout().blocked.unwrap().reason, "Unschedulable");
    lab.pods
        .iter_mut()
        .find(|pod| pod.role == Role::Candidate)
        .unwrap()
        .unschedulable = None;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_pod_that_the_api_server_refuses_blocks_and_is_tried_again_now_and_then() {
    let mut lab = Lab::at_rest(6);
    lab.quota_exceeded = true;
    lab.ask_for("2");
    lab.run_until(60, |lab| {
        lab.state().is_some() && lab.rollout().blocked.is_some()
    });
    let rollout = lab.rollout();
    let blocked = rollout.blocked.unwrap();
    assert_eq!(blocked.reason, "PodRefused");
    assert!(blocked.message.contains("exceeded quota"));
    assert_eq!(rollout.excluded.len(), 2, "another node is no help");
    lab.events.clear();
    let mut tries = 0;
    for _ in 0..60 {
        lab.tick();
        let plan = lab.reconcile();
        tries += crate::install::kinds(&plan)
            .iter()
            .filter(|kind| **kind == "CreatePod")
            .count();
    }
    assert_eq!(tries, 2, "every 30 s");
    assert!(lab.events.is_empty(), "{:?}", lab.events);
    lab.quota_exceeded = false;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_lost_node_is_replaced_and_dead_nodes_never_block() {
    let mut lab = Lab::at_rest(3);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let lost = lab.rollout().wave[0].clone();
    let sequence = lab.rollout().sequence;
    lab.node(&lost).ready = false;
    lab.run(2);
    assert!(!lab.rollout().wave.contains(&lost));
    assert!(lab.rollout().sequence > sequence);
    assert!(lab.rollout().excluded.is_empty(), "it may be used again");
    lab.rate = 2000;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert!(lab.is("Ready", "True"), "Ready speaks of Ready nodes");
    assert_eq!(lab.status().worst_nodes[0].node, lost);
}

/// Its candidate's object stays until the node is back, and its stable pod counts against the surge until then.
#[test]
fn a_silent_node_holds_up_neither_promotion_nor_rollback() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let lost = lab.rollout().wave[0].clone();
    lab.node(&lost).ready = false;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    let left = lab.pods_of(Role::Candidate);
    assert!(left.iter().all(|pod| pod.node == lost && pod.deleting));
    lab.behave("3", Behavior::Slow);
    lab.ask_for("3");
    lab.run_until_state(RolloutState::Analyzing);
    let second = lab.rollout().wave[0].clone();
    lab.node(&second).ready = false;
    lab.run_until_state(RolloutState::RolledBack);
    lab.node(&lost).ready = true;
    lab.node(&second).ready = true;
    lab.run(10);
    assert!(lab.pods_of(Role::Candidate).is_empty());
    let two = lab.hash("2");
    let stable = lab.pods_of(Role::Stable);
    assert!(stable.len() == 3 && stable.iter().all(|pod| pod.revision == two));
}

/// The lab asserts that a candidate is created for what status names only.
#[test]
fn a_node_that_is_lost_before_its_candidate_exists_gets_none() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until(20, |lab| {
        lab.state().is_some() && !lab.rollout().wave.is_empty()
    });
    let lost = lab.rollout().wave[0].clone();
    assert!(lab.pods_of(Role::Candidate).is_empty());
    lab.node(&lost).ready = false;
    lab.run(1);
    assert!(
        lab.pods_of(Role::Candidate)
            .iter()
            .all(|pod| pod.node != lost)
    );
}

#[test]
fn a_node_under_pressure_loses_its_route_then_its_candidate() {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let node = lab.rollout().wave[0].clone();
    lab.node(&node).pressure = true;
    lab.crash_after(0);
    assert_eq!(
        lab.granted(),
        0,
        "the route goes before anything is written"
    );
    lab.run(15);
    assert!(
        lab.pods_of(Role::Candidate)
            .iter()
            .all(|pod| pod.node != node)
    );
}

#[test]
fn an_evicted_candidate_loses_its_route_and_comes_back() {
    let mut lab = Lab::at_rest(1);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run(15);
    let evicted = lab.pods_of(Role::Candidate)[0].uid.clone();
    lab.evict(Role::Candidate, "n0");
    // Its router is gone; all that is known of it is what it said last.
    lab.run(2);
    assert_eq!(lab.granted(), 0);
    lab.run(5);
    let candidates = lab.pods_of(Role::Candidate);
    assert_ne!(candidates[0].uid, evicted);
    lab.run(5);
    assert_eq!(lab.granted(), 1);
}

#[test]
fn stable_that_fails_too_excludes_the_node() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.behave("2", Behavior::Fails("LoadFailed"));
    lab.run_until(20, |lab| lab.pods_of(Role::Candidate).len() == 1);
    let node = lab.rollout().wave[0].clone();
    for pod in lab
        .pods
        .iter_mut()
        .filter(|pod| pod.node == node && pod.role == Role::Stable)
    {
        pod.disruption = Some("Evicted".to_owned());
        pod.ready = false;
    }
    lab.run(3);
    assert!(
        lab.rollout()
            .excluded
            .iter()
            .any(|excluded| excluded.node == node)
    );
    assert!(lab.emitted("NodeExcluded"));
    assert!(lab.status().refused.is_empty() && lab.rollout().faults.is_empty());
}

/// The stable pod is Ready still, but its router says that its engine is not well.
#[test]
fn a_stable_engine_that_is_not_well_excludes_the_node_too() {
    let not_well: [fn(&mut RouterView); 2] = [
        |router| router.engine = EngineState::Unresponsive,
        |router| router.failure = Some(("OutOfMemory".to_owned(), String::new())),
    ];
    for make_unwell in not_well {
        let mut lab = Lab::at_rest(3);
        lab.behave("2", Behavior::Fails("LoadFailed"));
        lab.ask_for("2");
        lab.run_until(20, |lab| lab.pods_of(Role::Candidate).len() == 1);
        let node = lab.rollout().wave[0].clone();
        while lab.rollout().excluded.is_empty() {
            lab.tick();
            let mut world = lab.world();
            let routers = world.sessions.routers.values_mut();
            routers
                .filter(|router| router.node == node && router.role == Role::Stable)
                .for_each(make_unwell);
            let planned = (smallfleet_core::plan(&world), lab.version);
            lab.carry_out(&planned);
        }
        let rollout = lab.rollout();
        assert_eq!(rollout.excluded[0].node, node);
        assert!(rollout.faults.is_empty(), "{:?}", rollout.faults);
    }
}

#[test]
fn routers_that_restart_with_a_route_are_left_alone_then_blamed() {
    let mut lab = Lab::at_rest(4);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    for round in 1..=2 {
        lab.run_until(60, |lab| lab.granted() == 1);
        let node = lab.rollout().wave[0].clone();
        lab.routers
            .values_mut()
            .filter(|router| router.node == node)
            .for_each(|router| router.restarted_with_route = true);
        lab.run(2);
        if round == 1 {
            assert_eq!(lab.rollout().excluded[0].reason, "RouterRestarted");
            assert!(lab.emitted("NodeExcluded"));
        }
    }
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "RouterRestarts");
}

#[test]
fn not_ready_in_time_without_a_reason_is_inconclusive() {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::NeverReady);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Inconclusive);
    assert_eq!(
        lab.rollout().paused.unwrap().reason,
        PauseReason::Inconclusive
    );
    lab.behave("2", Behavior::Good);
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

/// Nothing was counted, so nothing is void.
#[test]
fn a_first_step_that_is_not_ready_in_time_stays_inconclusive() {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::NeverReady);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Inconclusive);
    let id = lab.rollout().id;
    lab.run(100);
    assert_eq!(lab.state(), Some(RolloutState::Inconclusive));
    assert_eq!(lab.rollout().id, id);
    assert!(!lab.emitted("RolloutRestarted"));
    assert!(
        !lab.emitted("TrafficRaised"),
        "there is nobody to send it to"
    );
    lab.behave("2", Behavior::Good);
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_revision_that_fails_while_it_is_promoted_is_reverted_and_refused() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    lab.behave("2", Behavior::Fails("OOMKilled"));
    lab.run_until_state(RolloutState::Reverting);
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "CandidateFault");
    assert_eq!(lab.daemon_set.as_ref().unwrap().revision, lab.hash("1"));
    lab.run(30);
    assert!(lab.is("Available", "True") && lab.is("Stalled", "True"));
    assert!(
        lab.pods_of(Role::Stable)
            .iter()
            .all(|pod| pod.revision == lab.hash("1"))
    );
}

#[test]
fn a_node_with_another_models_candidate_is_not_used() {
    let mut lab = Lab::at_rest(2);
    lab.foreign_candidates.insert("n0".to_owned());
    lab.ask_for("2");
    lab.run_until(400, |lab| lab.state() == Some(RolloutState::Analyzing));
    assert_eq!(lab.rollout().wave, ["n1"]);
    lab.foreign_candidates.insert("n1".to_owned());
    let mut lab = Lab::at_rest(1);
    lab.foreign_candidates.insert("n0".to_owned());
    lab.ask_for("2");
    lab.run(5);
    assert_eq!(lab.rollout().blocked.unwrap().reason, "OtherCandidate");
}

#[test]
fn one_node_of_several_where_the_candidate_keeps_failing_is_left_alone() {
    let mut lab = Lab::at_rest(3);
    all_nodes(&mut lab);
    lab.broken_nodes.insert("n1".to_owned());
    lab.ask_for("2");
    lab.run_until(100, |lab| {
        lab.state().is_some() && !lab.rollout().excluded.is_empty()
    });
    let excluded = lab.rollout().excluded[0].clone();
    assert_eq!(
        (excluded.node.as_str(), excluded.reason.as_str()),
        ("n1", "CandidateFault")
    );
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_fault_on_the_next_node_too_is_the_candidates() {
    let mut lab = Lab::at_rest(3);
    lab.edit(
        "/rollout/steps",
        json!([{"name": "two", "nodes": 2, "minExposureSeconds": 5}]),
    );
    lab.ask_for("2");
    lab.run(2);
    let wave = lab.rollout().wave;
    lab.broken_nodes.insert(wave[0].clone());
    let next = ["n0", "n1", "n2"]
        .into_iter()
        .find(|node| !wave.iter().any(|held| held == node));
    lab.broken_nodes.insert(next.unwrap().to_owned());
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "CandidateFault");
}

#[test]
fn a_candidate_that_the_router_does_not_reach_is_shown_and_then_inconclusive() {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run(2);
    lab.events.clear();
    let node = lab.rollout().wave[0].clone();
    lab.unreachable.insert(node);
    lab.run(20);
    let blocked = lab.rollout().blocked.unwrap();
    assert_eq!(blocked.reason, "CandidateUnreachable");
    assert!(blocked.message.contains("connection refused"));
    assert_eq!(lab.state(), Some(RolloutState::Analyzing), "it may pass");
    lab.run(60);
    assert_eq!(lab.state(), Some(RolloutState::Inconclusive));
    lab.run(60);
    assert_eq!(lab.state(), Some(RolloutState::Inconclusive));
    let told = lab
        .events
        .iter()
        .filter(|event| event.reason == "RolloutBlocked");
    assert_eq!(told.count(), 1, "{:?}", lab.events);
    lab.unreachable.clear();
    lab.rate = 2000;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}

#[test]
fn a_candidate_that_is_not_ready_any_more_is_shown() {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.behave("2", Behavior::NeverReady);
    lab.run(20);
    assert_eq!(lab.rollout().blocked.unwrap().reason, "CandidateNotReady");
    lab.behave("2", Behavior::Good);
    lab.run(3);
    assert_eq!(lab.rollout().blocked, None);
}

/// Nothing goes forward, but what fails while it rolls over the fleet is still taken back.
#[test]
fn a_promotion_that_fails_is_reverted_with_an_invalid_spec_too() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    lab.run_until(60, |lab| {
        lab.daemon_set.as_ref().unwrap().revision == lab.hash("2")
    });
    let good = lab.hash("1");
    lab.behave("2", Behavior::Fails("OOMKilled"));
    lab.edit("/runtime/env", json!([{"name": "SMALLFLEET_X"}]));
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.daemon_set.as_ref().unwrap().revision, good);
}

/// The plan that takes a node out of the wave is the one that would create its candidate.
#[test]
fn a_node_that_is_lost_before_its_candidate_was_created_gets_none() {
    let mut lab = Lab::at_rest(3);
    all_nodes(&mut lab);
    lab.ask_for("2");
    while lab.state().is_none() || lab.rollout().wave.is_empty() {
        lab.reconcile();
    }
    assert!(lab.pods_of(Role::Candidate).is_empty());
    lab.node("n2").ready = false;
    lab.reconcile();
    let nodes = lab.pods_of(Role::Candidate);
    assert!(nodes.iter().all(|pod| pod.node != "n2"), "{nodes:?}");
}

/// The plan that takes a node back into the wave deletes no candidate there: status is written, and routed by, before pods go.
#[test]
fn a_node_that_comes_back_at_once_keeps_its_candidate() {
    let mut lab = Lab::at_rest(3);
    lab.kill(Role::Stable, "n2");
    lab.ask_for("2");
    lab.run(10);
    let held = lab.rollout().wave[0].clone();
    for node in ["n0", "n1", "n2"] {
        if node == held {
            lab.node(node).pressure = true;
        } else {
            lab.node(node).ready = false;
        }
    }
    lab.reconcile();
    for node in ["n0", "n1", "n2"] {
        lab.node(node).pressure = false;
        lab.node(node).ready = true;
    }
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}
