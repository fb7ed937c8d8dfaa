//! Whose fault (`rollout.md` 5), row by row, and what the other tests of it leave out.
//!
//! Tests without a path are in `faults.rs` or here; `stories` and `faults` are the suites of `tests/e2e`.
//!
//! | observation | whose | test |
//! |---|---|---|
//! | pull error | environment | `a_registry_that_is_down_blocks_and_goes_on_by_itself`; faults `a_registry_that_is_down_stops_no_stable_pod_and_only_delays_a_canary` |
//! | Unschedulable | environment | `a_candidate_without_room_moves_to_the_next_node`, `without_another_node_it_is_blocked_until_there_is_room`; stories `a_candidate_for_which_there_is_no_room_waits_and_says_so` |
//! | quota, LimitRange | environment | `a_pod_that_the_api_server_refuses_blocks_and_is_tried_again_now_and_then` |
//! | sandbox | environment | container errors: [`a_container_that_cannot_be_made_moves_to_the_next_node`]; a sandbox's own error is no part of a pod's status: `not_ready_in_time_without_a_reason_is_inconclusive` |
//! | eviction | environment | `an_evicted_candidate_loses_its_route_and_comes_back`; faults `a_node_drained_deleted_and_added_in_a_canary_does_not_change_its_verdict` |
//! | preemption | environment | [`a_preempted_candidate_moves_to_the_next_node_and_is_not_blamed`] |
//! | NotReady | environment | `a_lost_node_is_replaced_and_dead_nodes_never_block`, [`with_no_ready_node_left_the_rollout_is_blocked_until_one_is_back`]; faults `a_partitioned_node_serves_itself_and_the_rollout_goes_on_without_it` |
//! | pressure | environment | `a_node_under_pressure_loses_its_route_then_its_candidate`, [`with_every_node_under_pressure_the_rollout_is_blocked_until_one_is_free`] |
//! | manifest unknown, unreadable files, wrong task | spec | `what_spec_names_wrongly_is_rejected_and_not_refused`; stories `a_broken_model_is_named_and_the_good_one_goes_on_serving`, `a_digest_that_does_not_exist_is_named_at_once` |
//! | load error, wrong golden probe, OOMKilled: two nodes | candidate | `a_fault_on_two_nodes_is_the_candidates` |
//! | the same: three times on the only node | candidate | `a_fault_on_the_only_node_counts_three_times`; faults `a_candidate_over_its_memory_limit_is_refused_after_three_times` |
//! | exit, crash loop | candidate | [`a_candidate_that_crashes_without_a_word_is_blamed_after_three_times`]; faults `a_candidate_that_is_killed_again_and_again_is_refused_without_a_failed_request` |
//! | a hang | candidate | stories `a_candidate_that_hangs_is_rolled_back_without_a_failed_request` |
//! | the same while stable fails there too | node | `stable_that_fails_too_excludes_the_node`, `a_stable_engine_that_is_not_well_excludes_the_node_too` |
//! | router restarted while it held a route | unknown | `routers_that_restart_with_a_route_are_left_alone_then_blamed`; faults `an_engine_and_a_router_killed_in_a_canary_do_not_change_its_verdict` |
//! | router restarted after it gave its route back | nobody | `a_restart_after_the_route_was_given_back_is_nobodys_fault` of `operator/src/session/router` |
//! | not ready in candidateReadySeconds | unknown | `not_ready_in_time_without_a_reason_is_inconclusive` |
//! | guard violated | candidate, or environment | none: the API has no guards yet |

use smallfleet_core::world::{NodeView, Role};
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

#[test]
fn a_container_that_cannot_be_made_moves_to_the_next_node() {
    for reason in [
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ] {
        let mut lab = Lab::at_rest(3);
        lab.behave("2", Behavior::NotCreated(reason));
        lab.ask_for("2");
        lab.run_until(20, |lab| lab.pods_of(Role::Candidate).len() == 1);
        let first = lab.rollout().wave;
        lab.run_until(20, |lab| lab.rollout().wave != first);
        assert_eq!(lab.rollout().excluded[0].reason, "ContainerNotCreated");
        lab.behave("2", Behavior::Good);
        lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
        assert!(lab.status().refused.is_empty());
    }
}

#[test]
fn a_preempted_candidate_moves_to_the_next_node_and_is_not_blamed() {
    let mut lab = Lab::at_rest(3);
    lab.rate = 2;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    let (id, first) = (lab.rollout().id, lab.rollout().wave);
    for pod in lab
        .pods
        .iter_mut()
        .filter(|pod| pod.role == Role::Candidate)
    {
        pod.disruption = Some("PreemptionByScheduler".to_owned());
        pod.ready = false;
    }
    lab.run_until(30, |lab| lab.rollout().wave != first);
    assert!(lab.rollout().faults.is_empty());
    lab.rate = 2000;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert_eq!(lab.status().last_rollout.unwrap().id, id);
}

#[test]
fn a_candidate_that_crashes_without_a_word_is_blamed_after_three_times() {
    let mut lab = Lab::at_rest(1);
    lab.behave("2", Behavior::Crashes);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::RolledBack);
    let refused = lab.status().refused[0].clone();
    assert_eq!(refused.reason, "CandidateFault");
    assert!(
        refused.effect.contains("Exited") && refused.effect.contains("fault 3"),
        "{}",
        refused.effect
    );
    assert_eq!(lab.stable(), lab.hash("1"));
}

/// The evidence goes on at the second node, waits while that one is lost as well, and is there when the nodes are back.
fn runs_out_of_nodes(lose: fn(&mut NodeView, bool), reason: &str) {
    let mut lab = Lab::at_rest(2);
    lab.rate = 4;
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab.run(60);
    let counted = |lab: &Lab| lab.status().analysis.unwrap().objectives[0].units.candidate;
    let (id, first, before) = (lab.rollout().id, lab.rollout().wave, counted(&lab));
    assert!(before > 0);
    lose(lab.node(&first[0]), true);
    lab.run(60);
    let second = lab.rollout().wave;
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert_eq!(lab.rollout().blocked, None);
    assert!(counted(&lab) > before);
    lose(lab.node(&second[0]), true);
    lab.run(30);
    let blocked = lab.rollout().blocked.unwrap();
    assert_eq!((blocked.reason.as_str(), blocked.nodes.len()), (reason, 2));
    assert_eq!(lab.status().phase, "Blocked");
    assert_eq!(lab.granted(), 0);
    lose(lab.node(&first[0]), false);
    lose(lab.node(&second[0]), false);
    lab.rate = 2000;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert_eq!(lab.status().last_rollout.unwrap().id, id);
    assert!(lab.status().refused.is_empty());
}

#[test]
fn with_no_ready_node_left_the_rollout_is_blocked_until_one_is_back() {
    runs_out_of_nodes(|node, lost| node.ready = !lost, "NodeNotReady");
}

#[test]
fn with_every_node_under_pressure_the_rollout_is_blocked_until_one_is_free() {
    runs_out_of_nodes(|node, lost| node.pressure = lost, "NodePressure");
}
