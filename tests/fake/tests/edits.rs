//! Edits in the middle and at rest (`rollout.md` 4), seen from the API server: what is written, and what is not.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::PoisonError;

use serde_json::json;
use smallfleet_crds::names;
use smallfleet_crds::status::{PauseReason, RolloutState};
use smallfleet_fake::lab::{Behavior, Lab, MODEL, NAMESPACE, Router};
use smallfleet_fake::server::{Key, kinds};
use smallfleet_fake::story::on_paused_clock;
use smallfleet_runtime_core::route::Instruction;

fn generation(lab: &Lab) -> i64 {
    lab.daemon_set()["metadata"]["generation"].as_i64().unwrap()
}

fn operator_writes(lab: &Lab) -> usize {
    lab.monitor
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .operator_writes
}

/// A revision that is analyzed and decided by nobody soon.
async fn in_canary(nodes: usize) -> Lab {
    let mut lab = Lab::at_rest(nodes).await;
    lab.rate = 20;
    let steps = json!([{"name": "one", "nodes": 1, "minExposureSeconds": 100}]);
    lab.edit("/rollout/steps", steps).await;
    lab.rest().await;
    lab.ask_for("2").await;
    lab.until_state(RolloutState::Analyzing).await;
    lab.seconds(5).await;
    lab
}

#[test]
fn a_flag_off_and_on_keeps_the_rollout_and_stops_its_time() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let before = lab.rollout();
        lab.edit("/featureFlag/state", json!("Disabled")).await;
        lab.seconds(15).await;
        let off = lab.rollout();
        assert_eq!(
            (off.id.as_str(), off.state),
            (before.id.as_str(), RolloutState::Analyzing)
        );
        assert_eq!(off.candidate_traffic_permille, 0);
        lab.seconds(60).await;
        assert_eq!(
            lab.rollout().exposed_seconds,
            off.exposed_seconds,
            "exposed time stops"
        );
        lab.edit("/featureFlag/state", json!("Enabled")).await;
        lab.seconds(30).await;
        let on = lab.rollout();
        assert_eq!(
            (on.id.as_str(), on.candidate_traffic_permille),
            (before.id.as_str(), 500)
        );
        assert!(on.sequence > off.sequence && on.exposed_seconds > off.exposed_seconds);
    });
}

#[test]
fn edited_steps_void_the_evidence() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let before = lab.rollout();
        assert!(before.exposed_seconds > 0 || before.sequence > 1);
        let steps = json!([{"name": "all", "nodes": "100%", "minExposureSeconds": 3}]);
        lab.edit("/rollout/steps", steps).await;
        lab.until(30, "a new rolloutID", |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.id != before.id)
        })
        .await;
        let now = lab.rollout();
        assert_eq!((now.step, now.exposed_seconds, now.to), (0, 0, before.to));
        lab.rate = 20_000;
        lab.until(300, "promotion", |status| status.phase == "Stable")
            .await;
    });
}

#[test]
fn an_edit_of_the_analysis_voids_the_evidence() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let before = lab.rollout();
        lab.edit("/rollout/analysis/falseRollbackRate", json!("2%"))
            .await;
        lab.until(30, "a new rolloutID", |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.id != before.id)
        })
        .await;
        assert_eq!(lab.rollout().candidate_traffic_permille, 0);
        lab.rate = 20_000;
        lab.until(300, "promotion", |status| status.phase == "Stable")
            .await;
    });
}

#[test]
fn a_placement_edit_at_rest_rolls_the_same_revision() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(3).await;
        for node in ["n0", "n1"] {
            lab.change_node(node, |node| node["metadata"]["labels"]["zone"] = json!("a"));
        }
        lab.rest().await;
        let (before, revision) = (generation(&lab), lab.stable());
        lab.monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release("n2");
        lab.edit("/placement/nodeSelector", json!({"zone": "a"}))
            .await;
        lab.seconds(1).await;
        lab.monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release("n2");
        lab.rest().await;
        assert_eq!(generation(&lab), before + 1);
        assert_eq!((lab.stable(), lab.status().rollout), (revision, None));
        assert_eq!(lab.status().phase, "Stable");
        let mut nodes: Vec<_> = lab
            .pods(names::role::STABLE)
            .into_iter()
            .map(|(_, node)| node)
            .collect();
        nodes.sort();
        assert_eq!(nodes, ["n0", "n1"]);
    });
}

#[test]
fn a_placement_edit_in_a_canary_waits_for_the_verdict() {
    on_paused_clock(async {
        let mut lab = in_canary(3).await;
        let held = lab.rollout().wave[0].clone();
        for node in ["n0", "n1", "n2"].iter().filter(|node| **node != held) {
            lab.change_node(node, |node| node["metadata"]["labels"]["zone"] = json!("a"));
        }
        let before = generation(&lab);
        lab.edit("/placement/nodeSelector", json!({"zone": "a"}))
            .await;
        lab.seconds(20).await;
        assert_eq!(generation(&lab), before, "the DaemonSet waits");
        assert!(!lab.rollout().wave.contains(&held));
        assert!(
            lab.pods(names::role::CANDIDATE)
                .iter()
                .all(|(_, node)| *node != held)
        );
        lab.rate = 20_000;
        lab.until_state(RolloutState::Promoting).await;
        lab.monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release(&held);
        while generation(&lab) == before {
            lab.monitor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .release(&held);
            lab.seconds(1).await;
        }
        lab.until(100, "promotion", |status| status.phase == "Stable")
            .await;
        lab.rest().await;
        assert_eq!(lab.stable(), lab.hash("2"));
        assert!(
            lab.pods(names::role::STABLE)
                .iter()
                .all(|(_, node)| *node != held)
        );
    });
}

#[test]
fn an_upgraded_chart_with_another_runtime_image_starts_no_rollout() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        let (before, version) = (generation(&lab), lab.server.snapshot().version());
        lab.operators[0].connection.cut();
        lab.defaults.runtime_image = "runtime@sha256:2".to_owned();
        lab.seconds(2).await;
        assert_eq!(lab.operators[0].epoch, 2);
        lab.rest().await;
        assert_eq!(generation(&lab), before);
        assert_eq!(lab.status().rollout, None);
        assert_eq!(
            lab.operators[0].connection.calls().1,
            0,
            "{:?}",
            lab.operators[0].connection.writes()
        );
        assert_eq!(
            lab.server.snapshot().version(),
            version,
            "nothing was written at all"
        );
    });
}

#[test]
fn an_upgraded_chart_in_a_canary_changes_neither_revision() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let (before, template) = (lab.rollout(), generation(&lab));
        lab.operators[0].connection.cut();
        lab.defaults.runtime_image = "runtime@sha256:2".to_owned();
        lab.rate = 20_000;
        lab.until(300, "promotion", |status| status.phase == "Stable")
            .await;
        lab.rest().await;
        assert_eq!(lab.status().last_rollout.unwrap().id, before.id);
        assert_eq!(lab.stable(), before.to);
        assert_eq!(generation(&lab), template + 1, "rolled once");
    });
}

#[test]
fn labels_only_in_a_canary_restarts_nothing() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let before = lab.rollout();
        lab.patch(&json!({"metadata": {"labels": {"team": "search"}}}))
            .await;
        lab.seconds(5).await;
        let now = lab.rollout();
        assert_eq!(
            (now.id.as_str(), now.step),
            (before.id.as_str(), before.step)
        );
        assert!(now.exposed_seconds >= before.exposed_seconds);
        lab.rate = 20_000;
        lab.until(300, "promotion", |status| status.phase == "Stable")
            .await;
        assert_eq!(lab.status().last_rollout.unwrap().id, before.id);
    });
}

#[test]
fn labels_only_is_no_edit() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        let (before, writes) = (generation(&lab), operator_writes(&lab));
        lab.patch(&json!({"metadata": {"labels": {"team": "search"}}}))
            .await;
        lab.rest().await;
        assert_eq!((generation(&lab), operator_writes(&lab)), (before, writes));
        assert_eq!(lab.status().rollout, None);
    });
}

#[test]
fn labels_only_unrefuses_nothing() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        lab.behave("2", Behavior::Slow);
        lab.ask_for("2").await;
        lab.until_state(RolloutState::RolledBack).await;
        lab.rest().await;
        let writes = operator_writes(&lab);
        lab.patch(&json!({"metadata": {"labels": {"team": "search"}}}))
            .await;
        lab.rest().await;
        assert_eq!(operator_writes(&lab), writes);
        assert!(lab.pods(names::role::CANDIDATE).is_empty());
    });
}

/// The wave's patience with a pod is the leader's own clock: the API server's stands still here.
#[test]
fn a_candidate_without_room_is_given_a_minute_whatever_the_servers_clock_says() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        lab.full = true;
        lab.ask_for("2").await;
        lab.until(60, "a wave", |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| !rollout.wave.is_empty())
        })
        .await;
        let first = lab.rollout().wave;
        lab.seconds(40).await;
        assert_eq!(lab.rollout().wave, first, "it is given a minute");
        lab.until(60, "the next node", |status| {
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| !rollout.excluded.is_empty())
        })
        .await;
        assert_eq!(lab.rollout().excluded[0].reason, "Unschedulable");
        lab.full = false;
        lab.until(300, "promotion", |status| status.phase == "Stable")
            .await;
    });
}

#[test]
fn a_refused_revision_in_a_canary_ends_it_and_makes_no_pods() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        lab.behave("2", Behavior::Slow);
        lab.ask_for("2").await;
        lab.until_state(RolloutState::RolledBack).await;
        lab.behave("2", Behavior::Good);
        lab.rate = 20;
        lab.ask_for("3").await;
        lab.until_state(RolloutState::Analyzing).await;
        let before = generation(&lab);
        lab.ask_for("2").await;
        lab.until_state(RolloutState::RolledBack).await;
        lab.rest().await;
        let now = lab.status();
        assert_eq!(lab.rollout().to, lab.hash("2"));
        assert_eq!(now.last_rollout.unwrap().outcome, "Superseded");
        let refused: Vec<_> = now.refused.into_iter().map(|one| one.revision).collect();
        assert_eq!(refused, [lab.hash("2")]);
        assert_eq!(lab.verdicts()[&lab.hash("3")], "superseded");
        assert_eq!((lab.stable(), generation(&lab)), (lab.hash("1"), before));
    });
}

#[test]
fn a_revision_promoted_before_rolls_at_once_at_rest_and_in_a_canary() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        lab.ask_for("2").await;
        lab.until_state(RolloutState::Promoting).await;
        lab.rest().await;
        let (before, made) = (generation(&lab), lab.creations());
        lab.ask_for("1").await;
        lab.until_state(RolloutState::Promoting).await;
        lab.rest().await;
        assert_eq!(
            (lab.stable(), lab.template()),
            (lab.hash("1"), lab.hash("1"))
        );
        assert_eq!((generation(&lab), lab.creations()), (before + 1, made));
        lab.ask_for("3").await;
        lab.until_state(RolloutState::Analyzing).await;
        let made = lab.creations();
        lab.ask_for("2").await;
        lab.until_state(RolloutState::Promoting).await;
        lab.rest().await;
        assert_eq!(
            (lab.stable(), lab.template()),
            (lab.hash("2"), lab.hash("2"))
        );
        assert_eq!((generation(&lab), lab.creations()), (before + 2, made));
        assert!(lab.status().refused.is_empty());
    });
}

#[test]
fn a_pause_in_a_canary_keeps_its_traffic_and_raises_nothing() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        lab.rate = 20_000;
        let before = lab.rollout();
        lab.edit("/rollout/paused", json!(true)).await;
        lab.seconds(200).await;
        let paused = lab.rollout();
        assert_eq!(
            (paused.id.as_str(), paused.state),
            (before.id.as_str(), RolloutState::Analyzing)
        );
        assert_eq!(paused.paused.unwrap().reason, PauseReason::User);
        assert_eq!(paused.candidate_traffic_permille, 500);
        assert!(paused.exposed_seconds > before.exposed_seconds + 100);
        lab.edit("/rollout/paused", json!(false)).await;
        lab.until(60, "promotion", |status| status.phase == "Stable")
            .await;
        assert_eq!(lab.status().last_rollout.unwrap().id, before.id);
        assert_eq!(lab.stable(), lab.hash("2"));
    });
}

#[test]
fn a_live_edit_in_a_canary_is_a_new_route_of_the_same_rollout() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let (before, template) = (lab.rollout(), generation(&lab));
        let candidates = lab.pods(names::role::CANDIDATE);
        let overrides = json!([{"name": "staff", "header": "x-tenant", "values": ["a"]}]);
        for (pointer, value) in [
            ("/featureFlag/overrides", overrides),
            ("/rollout/stepDeadlineSeconds", json!(301)),
            ("/rollout/onInconclusive", json!("Pause")),
            ("/service/port", json!(8080)),
        ] {
            let sequence = lab.rollout().sequence;
            lab.edit(pointer, value).await;
            lab.seconds(3).await;
            let now = lab.rollout();
            assert_eq!(
                (&now.id, now.state),
                (&before.id, before.state),
                "{pointer}"
            );
            assert!(now.sequence > sequence, "{pointer}");
            let mut held = lab
                .routers
                .values()
                .filter_map(|router| router.held.route());
            assert!(
                held.any(|route| route.sequence == now.sequence),
                "{pointer}"
            );
        }
        let mut routers = lab.routers.values();
        assert!(routers.any(|router| overrides_of(router) == ["x-tenant"]));
        assert_eq!(service_port(&lab), 8080);
        assert_eq!(lab.pods(names::role::CANDIDATE), candidates);
        assert_eq!(generation(&lab), template);
    });
}

/// Headers by which the router decides without a coin.
fn overrides_of(router: &Router) -> Vec<String> {
    match router.held.route().map(|route| &route.instruction) {
        Some(Instruction::Grant(grant)) => {
            let overrides = grant.overrides.iter();
            overrides.map(|entry| entry.header.clone()).collect()
        }
        _ => Vec::new(),
    }
}

fn service_port(lab: &Lab) -> i64 {
    let key = Key::new(kinds::named("Service"), NAMESPACE, MODEL);
    let service = lab.server.look(|store| store.get(&key).cloned());
    service.unwrap()["spec"]["ports"][0]["port"]
        .as_i64()
        .unwrap()
}

#[test]
fn back_to_stable_cancels_and_leaves_nothing() {
    on_paused_clock(async {
        let mut lab = in_canary(2).await;
        let before = generation(&lab);
        lab.ask_for("1").await;
        lab.until(60, "rest", |status| status.phase == "Stable")
            .await;
        lab.rest().await;
        assert_eq!(generation(&lab), before, "the DaemonSet is not touched");
        assert!(lab.pods(names::role::CANDIDATE).is_empty());
        assert!(lab.status().refused.is_empty() && lab.conditions().contains("Ready"));
        assert_eq!(lab.status().last_rollout.unwrap().outcome, "Cancelled");
    });
}
