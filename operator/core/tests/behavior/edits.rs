//! Edits in the middle (`rollout.md` 4).

use serde_json::json;
use smallfleet_core::action::Action;
use smallfleet_core::revision::Verdict;
use smallfleet_core::world::Role;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

const UNDECIDED: [RolloutState; 2] = [RolloutState::Preparing, RolloutState::Analyzing];

fn in_state(state: RolloutState) -> Lab {
    let mut lab = Lab::at_rest(3);
    if state == RolloutState::Preparing {
        lab.behave("2", Behavior::NeverReady);
    }
    lab.ask_for("2");
    lab.run_until_state(state);
    lab.run(3);
    assert_eq!(lab.state(), Some(state));
    lab
}

#[test]
fn a_third_revision_supersedes_the_second() {
    for state in UNDECIDED {
        let mut lab = in_state(state);
        let id = lab.rollout().id;
        lab.ask_for("3");
        lab.run(1);
        assert_eq!(lab.granted(), 0, "{state:?}");
        lab.run_until(400, |lab| lab.stable() == lab.hash("3"));
        let second = lab.hash("2");
        let verdict = lab
            .revisions
            .iter()
            .find(|one| one.hash == second)
            .unwrap()
            .verdict;
        assert_eq!(verdict, Some(Verdict::Superseded));
        assert!(lab.status().refused.is_empty());
        assert_ne!(lab.status().last_rollout.unwrap().id, id);
    }
}

#[test]
fn back_to_stable_cancels() {
    for state in UNDECIDED {
        let mut lab = in_state(state);
        lab.ask_for("1");
        lab.run(15);
        assert!(
            lab.status().rollout.is_none() && lab.is("Ready", "True"),
            "{state:?}"
        );
        assert_eq!(lab.status().last_rollout.unwrap().outcome, "Cancelled");
        assert!(lab.pods_of(Role::Candidate).is_empty() && lab.status().refused.is_empty());
    }
}

/// Revision 1 is stable and 2 was refused.
fn after_a_refused_second() -> Lab {
    let mut lab = Lab::at_rest(2);
    lab.behave("2", Behavior::Slow);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::RolledBack);
    lab
}

fn assert_refused_without_pods(lab: &Lab) {
    assert_eq!(lab.state(), Some(RolloutState::RolledBack));
    assert!(lab.pods_of(Role::Candidate).is_empty() && lab.is("Stalled", "True"));
}

#[test]
fn back_to_a_refused_revision_makes_no_pods() {
    let mut lab = after_a_refused_second();
    lab.ask_for("1");
    lab.run(5);
    assert!(lab.is("Ready", "True"));
    lab.behave("2", Behavior::Good);
    lab.ask_for("2");
    lab.run(30);
    assert_refused_without_pods(&lab);
}

/// Revision 2 was refused, 1 is stable, and 3 is on its way.
fn third_after_a_refused_second(state: RolloutState) -> Lab {
    let mut lab = after_a_refused_second();
    lab.behave("2", Behavior::Good);
    lab.ask_for("3");
    lab.run_until_state(state);
    lab.run(1);
    assert_eq!(lab.rollout().to, lab.hash("3"));
    lab
}

#[test]
fn to_a_refused_revision_in_a_rollout_cuts_and_makes_no_pods() {
    for state in UNDECIDED {
        let mut lab = third_after_a_refused_second(state);
        lab.ask_for("2");
        lab.run(1);
        assert_eq!(lab.granted(), 0, "{state:?}");
        lab.run(30);
        assert_refused_without_pods(&lab);
        assert_eq!(lab.stable(), lab.hash("1"), "{state:?}");
        let refused = lab.status().refused;
        assert!(refused.iter().all(|one| one.revision == lab.hash("2")));
    }
}

#[test]
fn to_a_refused_revision_while_promoting_waits_for_the_promotion() {
    let mut lab = third_after_a_refused_second(RolloutState::Promoting);
    lab.ask_for("2");
    lab.run_until(100, |lab| lab.stable() == lab.hash("3"));
    lab.run(30);
    assert_refused_without_pods(&lab);
    assert_eq!(lab.stable(), lab.hash("3"));
}

#[test]
fn to_a_revision_promoted_before_in_a_rollout_rolls_at_once_after_the_cut() {
    for state in [
        RolloutState::Preparing,
        RolloutState::Analyzing,
        RolloutState::Promoting,
    ] {
        let mut lab = Lab::at_rest(2);
        lab.ask_for("2");
        lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
        lab.ask_for("3");
        lab.run_until_state(state);
        lab.events.clear();
        lab.ask_for("1");
        lab.run_until(100, |lab| lab.stable() == lab.hash("1"));
        assert!(
            !lab.emitted("TrafficRaised"),
            "{state:?}: no canary for a known good revision"
        );
        assert!(lab.status().refused.is_empty());
    }
}

/// Status shows the last five refusals and the history may be short; the labels of the ControllerRevisions know them all.
#[test]
fn a_refusal_outlives_newer_refusals_and_a_short_history() {
    let mut lab = Lab::at_rest(2);
    lab.edit("/rollout/revisionHistoryLimit", json!(1));
    for tag in 2..10 {
        lab.ask_for(&tag.to_string());
        lab.run_until_state(RolloutState::Preparing);
        lab.command("abort");
        lab.run_until_state(RolloutState::RolledBack);
    }
    lab.ask_for("1");
    lab.run(5);
    lab.ask_for("2");
    lab.run(30);
    assert_refused_without_pods(&lab);
}

#[test]
fn back_to_a_revision_promoted_before_rolls_at_once() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    lab.events.clear();
    lab.ask_for("1");
    lab.run_until(60, |lab| lab.stable() == lab.hash("1"));
    assert!(
        !lab.emitted("TrafficRaised"),
        "no canary for a known good revision"
    );
}

#[test]
fn edited_steps_or_objectives_begin_anew() {
    for (pointer, value) in [
        (
            "/rollout/steps",
            json!([{"name": "two", "nodes": 2, "minExposureSeconds": 7}]),
        ),
        ("/rollout/analysis/falseRollbackRate", json!("2%")),
        (
            "/rollout/analysis/objectives",
            json!([{"name": "errors", "type": "Errors"}]),
        ),
    ] {
        let mut lab = in_state(RolloutState::Analyzing);
        let before = lab.rollout();
        lab.edit(pointer, value);
        lab.run(1);
        let now = lab.rollout();
        assert_ne!(now.id, before.id, "{pointer}");
        assert_eq!(
            (
                now.step,
                now.candidate_traffic_permille,
                now.exposed_seconds
            ),
            (0, 0, 0)
        );
        assert_eq!(lab.granted(), 0);
        lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    }
}

#[test]
fn live_settings_keep_the_rollout() {
    for (pointer, value) in [
        ("/rollout/stepDeadlineSeconds", json!(301)),
        ("/rollout/candidateReadySeconds", json!(61)),
        ("/rollout/onInconclusive", json!("Pause")),
        (
            "/featureFlag/overrides",
            json!([{"name": "staff", "header": "x-tenant", "values": ["a"]}]),
        ),
        ("/service/port", json!(8080)),
    ] {
        let mut lab = in_state(RolloutState::Analyzing);
        let before = lab.rollout();
        lab.edit(pointer, value);
        lab.run(2);
        let now = lab.rollout();
        assert_eq!(now.id, before.id, "{pointer}");
        assert!(
            now.sequence > before.sequence,
            "{pointer}: a live edit is a new route"
        );
        assert_eq!(lab.granted(), 1);
        if pointer.contains("overrides") {
            let route = lab.hub.published.by_router.values().next().unwrap();
            assert_eq!(route.overrides.len(), 1);
        }
    }
}

#[test]
fn a_placement_edit_waits_for_the_verdict_but_candidates_off_it_go_now() {
    let mut lab = in_state(RolloutState::Analyzing);
    let applied = lab.daemon_set.as_ref().unwrap().applied_hash.clone();
    let held = lab.rollout().wave[0].clone();
    for node in ["n0", "n1", "n2"] {
        let zone = if node == held { "b" } else { "a" };
        lab.node(node)
            .labels
            .insert("zone".to_owned(), zone.to_owned());
    }
    lab.edit("/placement/nodeSelector", json!({"zone": "a"}));
    lab.run(1);
    assert_eq!(lab.granted(), 0, "its route goes at once");
    lab.run(3);
    assert!(
        lab.pods_of(Role::Candidate)
            .iter()
            .all(|pod| pod.node != held)
    );
    assert!(lab.rollout().wave.iter().all(|node| *node != held));
    assert_eq!(lab.daemon_set.as_ref().unwrap().applied_hash, applied);
    lab.ask_for("1");
    lab.run(12);
    assert_ne!(
        lab.daemon_set.as_ref().unwrap().applied_hash,
        applied,
        "at rest it rolls"
    );
}

#[test]
fn back_to_stable_while_promoting_reverts_without_refusing() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until(400, |lab| {
        lab.daemon_set.as_ref().unwrap().revision == lab.hash("2")
    });
    lab.ask_for("1");
    lab.run_until_state(RolloutState::Reverting);
    lab.run_until(60, |lab| lab.status().rollout.is_none());
    assert_eq!(lab.stable(), lab.hash("1"));
    assert!(lab.status().refused.is_empty() && lab.is("Ready", "True"));
}

#[test]
fn a_third_revision_waits_while_the_second_is_promoted() {
    let mut lab = Lab::at_rest(3);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    lab.ask_for("3");
    lab.run_until(100, |lab| lab.stable() == lab.hash("2"));
    lab.run_until(400, |lab| lab.stable() == lab.hash("3"));
}

#[test]
fn an_unrelated_edit_never_unrefuses() {
    let mut lab = after_a_refused_second();
    lab.edit("/service/port", json!(81));
    lab.edit("/rollout/analysis/falseRollbackRate", json!("2%"));
    lab.run(30);
    assert_eq!(lab.state(), Some(RolloutState::RolledBack));
    assert!(lab.pods_of(Role::Candidate).is_empty());
}

#[test]
fn an_invalid_edit_in_a_rollout_raises_nothing_and_keeps_rollback_armed() {
    let mut lab = in_state(RolloutState::Analyzing);
    assert_eq!(lab.rollout().step, 0);
    lab.edit("/runtime/resources/requests/memory", json!("0"));
    lab.run(100);
    assert_eq!(
        (lab.state(), lab.rollout().step),
        (Some(RolloutState::Analyzing), 0)
    );
    let slow = lab.rollout().to;
    lab.behaviors.insert(slow, Behavior::Slow);
    lab.run_until_state(RolloutState::RolledBack);
    assert!(lab.is("Accepted", "False"));
}

/// An older leader may still mean to apply the promotion: by the mark its DaemonSet is not the one that it saw.
#[test]
fn a_promotion_that_is_taken_back_marks_the_daemon_set_before_it_ends() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Promoting);
    let id = lab.rollout().id;
    let live = lab.daemon_set.clone().unwrap();
    assert_eq!(
        (live.revision, live.reverted),
        (lab.hash("1"), String::new())
    );
    lab.ask_for("1");
    while lab.state().is_some() {
        let marked = lab.daemon_set.clone().unwrap().reverted == id;
        lab.run(1);
        assert!(marked || lab.state().is_some(), "it ends unmarked");
    }
    let live = lab.daemon_set.clone().unwrap();
    assert_eq!((live.revision, live.reverted), (lab.hash("1"), id));
    lab.run(5);
    assert!(
        lab.reconcile().actions.is_empty(),
        "the mark stays, and is no difference"
    );
}

fn verdict(lab: &Lab, tag: &str) -> Option<Verdict> {
    let hash = lab.hash(tag);
    let object = lab.revisions.iter().find(|one| one.hash == hash);
    object.and_then(|object| object.verdict)
}

/// The candidate's verdict is labelled, and the status that says so was not written.
fn labelled(lab: &mut Lab, verdict: Verdict) {
    let candidate = lab.rollout().to;
    let mut revisions = lab.revisions.iter_mut();
    let object = revisions.find(|one| one.hash == candidate);
    object.unwrap().verdict = Some(verdict);
}

/// The verdict is written before status. Where a third revision came between the two, nothing was promoted.
#[test]
fn a_revision_whose_promotion_was_not_written_down_is_not_known_good() {
    let mut lab = in_state(RolloutState::Analyzing);
    labelled(&mut lab, Verdict::Stable);
    lab.ask_for("3");
    lab.run_until(400, |lab| lab.stable() == lab.hash("3"));
    assert_eq!(verdict(&lab, "2"), Some(Verdict::Superseded));
}

#[test]
fn a_known_good_revision_stays_known_when_its_roll_is_taken_back() {
    let mut lab = Lab::at_rest(2);
    lab.ask_for("2");
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    lab.ask_for("1");
    lab.run_until_state(RolloutState::Promoting);
    lab.ask_for("2");
    lab.run_until(100, |lab| lab.status().rollout.is_none());
    assert_eq!(lab.stable(), lab.hash("2"));
    assert_eq!(verdict(&lab, "1"), Some(Verdict::Stable));
}

/// Somebody edits spec between the cut and the status that says why: the status write is a conflict.
fn cut_and_edited(lab: &mut Lab, edit: impl Fn(&mut Lab)) {
    for _ in 0..400 {
        lab.tick();
        let planned = lab.plan_now();
        if matches!(planned.0.actions.first(), Some(Action::Cut(_))) {
            edit(lab);
            return lab.carry_out(&planned);
        }
        lab.carry_out(&planned);
    }
    panic!("nothing was cut: {:#?}", lab.status());
}

#[test]
fn an_edit_that_is_taken_back_after_the_cut_refuses_nothing() {
    let mut lab = in_state(RolloutState::Analyzing);
    let id = lab.rollout().id;
    lab.ask_for("3");
    cut_and_edited(&mut lab, |lab| lab.ask_for("2"));
    lab.run(1);
    assert_ne!(lab.rollout().id, id, "a cut is never undone");
    lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
    assert!(lab.status().refused.is_empty());
}

/// A canary that is rolled back at its deadline, for want of evidence.
fn too_little_traffic() -> Lab {
    let mut lab = Lab::at_rest(2);
    lab.rate = 2;
    lab.edit("/rollout/stepDeadlineSeconds", json!(20));
    lab.edit("/rollout/onInconclusive", json!("RollBack"));
    lab.ask_for("2");
    lab.run_until_state(RolloutState::Analyzing);
    lab
}

#[test]
fn a_cut_whose_status_meets_a_conflict_keeps_its_reason() {
    let mut lab = too_little_traffic();
    cut_and_edited(&mut lab, |lab| lab.edit("/service/port", json!(81)));
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "Inconclusive");
}

/// The verdict was labelled and its status met a conflict: the edit that caused it voids the evidence, and the verdict with it.
#[test]
fn a_rollout_that_begins_anew_has_no_verdict() {
    for label in [Verdict::Stable, Verdict::Refused] {
        let mut lab = in_state(RolloutState::Analyzing);
        labelled(&mut lab, label);
        lab.edit("/rollout/analysis/falseRollbackRate", json!("2%"));
        lab.run(2);
        assert_eq!(verdict(&lab, "2"), Some(Verdict::Superseded), "{label:?}");
        lab.run_until(400, |lab| lab.stable() == lab.hash("2"));
        assert_eq!(verdict(&lab, "2"), Some(Verdict::Stable));
    }
}

/// Two writes meet a conflict: that of the refusal, then that of the edit which is taken back.
#[test]
fn a_refusal_outlives_an_edit_that_is_taken_back() {
    let mut lab = too_little_traffic();
    cut_and_edited(&mut lab, |lab| lab.ask_for("3"));
    cut_and_edited(&mut lab, |lab| lab.ask_for("2"));
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().refused[0].reason, "Inconclusive");
}

#[test]
fn a_rejected_revision_has_no_verdict() {
    let mut lab = in_state(RolloutState::Preparing);
    labelled(&mut lab, Verdict::Stable);
    lab.behave("2", Behavior::Fails("WrongTask"));
    lab.run_until_state(RolloutState::RolledBack);
    assert_eq!(lab.status().phase, "Rejected");
    assert_eq!(verdict(&lab, "2"), Some(Verdict::Superseded));
}
