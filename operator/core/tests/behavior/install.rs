//! From nothing to Stable, and what can be in the way.

use serde_json::json;
use smallfleet_core::action::Action;
use smallfleet_core::revision::Verdict;
use smallfleet_core::world::Role;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab, image};

/// Kinds of actions of a plan, in order.
pub fn kinds(plan: &smallfleet_core::action::Plan) -> Vec<&'static str> {
    let kind = |action: &Action| match action {
        Action::Cut(_) => "Cut",
        Action::PersistStatus(_) => "PersistStatus",
        Action::SaveEvidence { .. } => "SaveEvidence",
        Action::CreateRevision(_) => "CreateRevision",
        Action::LabelRevision { .. } => "LabelRevision",
        Action::DeleteRevision { .. } => "DeleteRevision",
        Action::ApplyDaemonSet(_) => "ApplyDaemonSet",
        Action::ApplyService(_) => "ApplyService",
        Action::ApplySessionConfig(_) => "ApplySessionConfig",
        Action::CreatePod(_) => "CreatePod",
        Action::DeletePod { .. } => "DeletePod",
        Action::Emit(_) => "Emit",
    };
    plan.actions.iter().map(kind).collect()
}

#[test]
fn status_names_the_revision_before_the_daemon_set_exists() {
    let mut lab = Lab::new(2);
    let first = kinds(&lab.reconcile());
    assert_eq!(
        first,
        [
            "CreateRevision",
            "PersistStatus",
            "Emit",
            "ApplySessionConfig",
            "ApplyService"
        ]
    );
    assert!(lab.daemon_set.is_none());
    let second = kinds(&lab.reconcile());
    assert!(second.contains(&"ApplyDaemonSet"), "{second:?}");
}

#[test]
fn at_rest_nothing_is_written_and_no_stream_is_open() {
    let mut lab = Lab::at_rest(3);
    assert!(lab.is("Ready", "True") && lab.is("Available", "True") && lab.is("Accepted", "True"));
    assert_eq!(lab.condition("Reconciling"), None);
    assert_eq!(lab.status().display.ready, "3/3");
    lab.later(3600);
    let plan = lab.reconcile();
    assert!(plan.actions.is_empty(), "{:?}", kinds(&plan));
    assert_eq!(plan.requeue, None);
    assert!(lab.hub.published.by_router.is_empty());
}

#[test]
fn an_edit_of_what_never_served_replaces_it_at_once() {
    let mut lab = Lab::new(2);
    lab.behave("1", Behavior::Fails("LoadFailed"));
    lab.run(20);
    assert_eq!(lab.status().phase, "Installing");
    lab.ask_for("2");
    lab.run(20);
    assert_eq!(lab.stable(), lab.hash("2"));
    assert_eq!(lab.status().phase, "Stable");
    assert!(lab.status().rollout.is_none() && !lab.emitted("RolloutStarted"));
    let first = lab.hash("1");
    let verdict = lab
        .revisions
        .iter()
        .find(|one| one.hash == first)
        .and_then(|one| one.verdict);
    assert_eq!(
        verdict,
        Some(Verdict::Superseded),
        "what never served is no known good revision"
    );
}

#[test]
fn a_first_install_that_does_not_start_is_stalled_with_its_reason_and_tried_further() {
    for (behavior, reason, at_once) in [
        (Behavior::Fails("LoadFailed"), "LoadFailed", false),
        (Behavior::Fails("WrongTask"), "WrongTask", true),
        (Behavior::NoImage("manifest unknown"), "ImageNotFound", true),
        (
            Behavior::NoImage("dial tcp: i/o timeout"),
            "ImagePull",
            false,
        ),
        (Behavior::NeverReady, "NotReadyInTime", false),
    ] {
        let mut lab = Lab::new(1);
        lab.behave("1", behavior.clone());
        lab.run(20);
        assert_eq!(lab.is("Stalled", "True"), at_once, "{behavior:?}");
        lab.run(60);
        let stalled = lab
            .condition("Stalled")
            .unwrap_or_else(|| panic!("{behavior:?} does not stall"));
        assert_eq!(stalled.1, reason);
        assert!(lab.is("Ready", "False") && lab.is("Available", "False"));
        lab.behave("1", Behavior::Good);
        lab.run(20);
        assert_eq!(lab.status().phase, "Stable", "{behavior:?}");
        assert_eq!(lab.condition("Stalled"), None);
    }
}

#[test]
fn a_taken_name_stalls_and_touches_nothing() {
    let mut lab = Lab::new(1);
    lab.foreign_service = true;
    let plan = lab.reconcile();
    assert_eq!(kinds(&plan), ["PersistStatus"]);
    let stalled = lab.condition("Stalled").unwrap();
    assert_eq!(stalled.1, "NameConflict");
    assert!(stalled.2.contains("Deployment intent"), "{}", stalled.2);
    lab.later(60);
    let plan = lab.reconcile();
    assert!(plan.actions.is_empty());
    assert!(
        plan.requeue.is_some(),
        "nothing tells when the name is free"
    );
    lab.foreign_service = false;
    lab.run(30);
    assert_eq!(lab.status().phase, "Stable");
}

#[test]
fn an_invalid_edit_is_not_accepted_and_what_served_goes_on_serving() {
    let mut lab = Lab::at_rest(2);
    lab.edit("/runtime/resources/requests/memory", json!("0"));
    lab.run(5);
    let accepted = lab.condition("Accepted").unwrap();
    assert_eq!(
        (accepted.0.as_str(), accepted.1.as_str()),
        ("False", "InvalidSpec")
    );
    assert!(accepted.2.contains("memory"), "{}", accepted.2);
    assert!(lab.is("Available", "True") && lab.is("Ready", "False") && lab.is("Stalled", "True"));
    assert_eq!(
        lab.status().observed_generation,
        lab.model.metadata.generation
    );
    assert_eq!(lab.pods_of(Role::Stable).len(), 2);
    lab.edit("/runtime/resources/requests/memory", json!("1Gi"));
    lab.run(5);
    assert!(lab.is("Accepted", "True") && lab.is("Ready", "True"));
}

#[test]
fn a_deleted_model_is_left_to_its_owner_references() {
    let mut lab = Lab::at_rest(1);
    lab.ask_for("2");
    lab.model.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
    assert!(lab.reconcile().actions.is_empty());
}

#[test]
fn a_lost_status_is_rebuilt_from_the_template_and_the_labels() {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::Slow);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::RolledBack);
    let before = lab.status();
    lab.model.status = None;
    lab.version += 1;
    lab.run(10);
    assert_eq!(lab.status().stable, before.stable);
    assert_eq!(
        lab.state(),
        Some(RolloutState::RolledBack),
        "a refused revision stays refused"
    );
    assert_eq!(lab.status().refused[0].revision, lab.hash("2"));
    assert_eq!(lab.pods_of(Role::Candidate).len(), 0);
}

#[test]
fn a_deleted_daemon_set_comes_back_with_the_promoted_revision_even_in_a_rollout() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Preparing);
    lab.daemon_set = None;
    lab.reconcile();
    assert_eq!(lab.daemon_set.as_ref().unwrap().revision, lab.hash("1"));
}

#[test]
fn an_upgrade_of_the_renderer_is_no_edit() {
    let mut lab = Lab::at_rest(1);
    let old = &mut lab.revisions[0];
    old.revision.renderer_version = 0;
    let hash = old.revision.hash();
    old.hash.clone_from(&hash);
    let mut status = lab.status();
    status.stable.as_mut().unwrap().revision.clone_from(&hash);
    lab.model.status = Some(status);
    lab.run(5);
    assert!(lab.status().rollout.is_none());
    assert_eq!(lab.status().target.unwrap().revision, hash);
}

#[test]
fn the_history_is_bounded_and_keeps_what_is_named() {
    let mut lab = Lab::at_rest(1);
    lab.edit("/rollout/revisionHistoryLimit", json!(2));
    for tag in 2..8 {
        lab.ask_for(&tag.to_string());
        lab.run_until(400, |lab| lab.stable() == lab.hash(&tag.to_string()));
        lab.run(15);
    }
    assert_eq!(lab.revisions.len(), 3, "the stable one and two before it");
    assert_eq!(lab.model.spec.model.image, image("7"));
}

#[test]
fn a_surge_pod_without_room_switches_to_max_unavailable_until_the_roll_is_over() {
    let mut lab = Lab::at_rest(2);
    lab.edit("/placement/tolerations", json!([{"operator": "Exists"}]));
    // The lab's DaemonSet controller keeps pods of the same revision, so a surge pod is put there by hand.
    let mut pending = lab.pods[0].clone();
    pending.uid = "surge".to_owned();
    pending.name = "surge".to_owned();
    pending.ready = false;
    pending.unschedulable = Some("0/2 nodes are available: insufficient memory".to_owned());
    pending.age = std::time::Duration::from_millis(lab.now);
    lab.pods.push(pending);
    lab.reconcile();
    assert!(!lab.daemon_set.as_ref().unwrap().takes_away_first);
    lab.later(60);
    lab.reconcile();
    let live = lab.daemon_set.clone().unwrap();
    assert!(live.takes_away_first);
    assert_eq!(live.revision, lab.hash("1"), "it starts no revision");
    lab.pods.retain(|pod| pod.uid != "surge");
    lab.run(3);
    assert!(
        !lab.daemon_set.as_ref().unwrap().takes_away_first,
        "back to surge at rest"
    );
}

#[test]
fn a_roll_asked_by_surge_is_not_held_to_an_older_max_unavailable() {
    let mut lab = Lab::at_rest(2);
    lab.edit("/rollout/update", json!({"maxUnavailable": 1}));
    lab.run(5);
    assert!(lab.daemon_set.as_ref().unwrap().takes_away_first);
    lab.edit("/rollout/update", json!({"maxSurge": 1}));
    lab.ask_for("2");
    lab.run_until(400, |lab| {
        lab.daemon_set.as_ref().unwrap().revision == lab.hash("2")
    });
    assert!(!lab.daemon_set.as_ref().unwrap().takes_away_first);
}

/// A pod or ControllerRevision of somebody else: found only when ours is to be created.
#[test]
fn a_stranger_under_the_name_of_a_creation_is_a_name_conflict_while_it_is_there() {
    let mut lab = Lab::at_rest(1);
    lab.stranger = Some("ControllerRevision intent-x (it belongs to nobody we know)".to_owned());
    lab.ask_for("2");
    lab.run(3);
    assert_eq!(lab.status().phase, "NameConflict");
    assert!(lab.is("Stalled", "True") && lab.is("Available", "True"));
    let writes = lab.version;
    lab.run(60);
    assert_eq!(lab.version, writes, "nothing is written again and again");
    lab.stranger = None;
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
}
