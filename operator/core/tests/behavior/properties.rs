//! The invariants of `rollout.md` under random events: crashes after any action, lost leaders, stale plans, edits, faults, objects
//! of strangers. The lab asserts after every action what a plan can break: I1 (no stable pod is deleted), I3 to I5, I9 to I11. Here
//! the world then calms down, and must converge (Anvil's oracle). I1 and I2 over time and I6 take a server and routers: `tests/fake`
//! watches them at every write. I7 holds by types (a plan knows no wall clock), I8 in `evidence.rs`.

use proptest::prelude::*;
use serde_json::json;
use smallfleet_core::world::Role;
use smallfleet_crds::status::RolloutState;

use crate::lab::{Behavior, Lab};

const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Happening {
    Run(u64),
    Tick,
    Reconcile,
    CrashAfter(usize),
    NewLeader,
    AskFor(u8),
    Behave(u8, Behavior),
    Steps(bool),
    Flag(bool),
    Pause(bool),
    NodeReady(u8, bool),
    Pressure(u8, bool),
    Partition(u8, bool),
    Kill(Role, u8),
    Command(&'static str),
    LoseEvidence,
    LoseStatus,
    Placement(bool),
    Invalid(bool),
    Stranger(bool),
}

fn behavior() -> impl Strategy<Value = Behavior> {
    prop_oneof![
        3 => Just(Behavior::Good),
        2 => Just(Behavior::Slow),
        1 => Just(Behavior::Fails("LoadFailed")),
        1 => Just(Behavior::Fails("WrongTask")),
        1 => Just(Behavior::NoImage("manifest unknown")),
        1 => Just(Behavior::NoImage("connection refused")),
        1 => Just(Behavior::NeverReady),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = 0..u8::try_from(NODES).unwrap();
    prop_oneof![
        8 => (1_u64..25).prop_map(Happening::Run),
        2 => Just(Happening::Tick),
        3 => Just(Happening::Reconcile),
        5 => (0_usize..5).prop_map(Happening::CrashAfter),
        2 => Just(Happening::NewLeader),
        4 => (1_u8..5).prop_map(Happening::AskFor),
        3 => (2_u8..5, behavior()).prop_map(|(tag, behavior)| Happening::Behave(tag, behavior)),
        1 => any::<bool>().prop_map(Happening::Steps),
        2 => any::<bool>().prop_map(Happening::Flag),
        1 => any::<bool>().prop_map(Happening::Pause),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, ready)| Happening::NodeReady(node, ready)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Happening::Pressure(node, on)),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Happening::Partition(node, on)),
        1 => (prop_oneof![Just(Role::Stable), Just(Role::Candidate)], node).prop_map(|(role, node)| Happening::Kill(role, node)),
        3 => prop_oneof![Just("promote"), Just("promote-full"), Just("abort"), Just("retry")].prop_map(Happening::Command),
        1 => Just(Happening::LoseEvidence),
        1 => Just(Happening::LoseStatus),
        1 => any::<bool>().prop_map(Happening::Placement),
        1 => any::<bool>().prop_map(Happening::Invalid),
        1 => any::<bool>().prop_map(Happening::Stranger),
    ]
}

fn steps(long: bool) -> serde_json::Value {
    let step = |name: &str, nodes: serde_json::Value| json!({"name": name, "nodes": nodes, "minExposureSeconds": 5});
    if long {
        json!([step("one", json!(1)), step("half", json!("50%"))])
    } else {
        json!([step("all", json!("100%"))])
    }
}

fn happen(lab: &mut Lab, happening: &Happening) {
    let name = |node: u8| format!("n{node}");
    match happening {
        Happening::Run(seconds) => lab.run(*seconds),
        Happening::Tick => lab.tick(),
        Happening::Reconcile => {
            lab.reconcile();
        }
        Happening::CrashAfter(actions) => lab.crash_after(*actions),
        Happening::NewLeader => lab.new_leader(),
        Happening::AskFor(tag) => lab.ask_for(&tag.to_string()),
        Happening::Behave(tag, behavior) => lab.behave(&tag.to_string(), behavior.clone()),
        Happening::Steps(long) => lab.edit("/rollout/steps", steps(*long)),
        Happening::Flag(on) => lab.edit(
            "/featureFlag/state",
            json!(if *on { "Enabled" } else { "Disabled" }),
        ),
        Happening::Pause(on) => lab.edit("/rollout/paused", json!(on)),
        Happening::NodeReady(node, ready) => lab.node(&name(*node)).ready = *ready,
        Happening::Pressure(node, on) => lab.node(&name(*node)).pressure = *on,
        Happening::Partition(node, on) => lab.partition(&name(*node), !*on),
        Happening::Kill(role, node) => lab.kill(*role, &name(*node)),
        Happening::Command(verb) => lab.command(verb),
        Happening::LoseEvidence => lab.evidence = None,
        Happening::LoseStatus => {
            lab.model.status = None;
            lab.version += 1;
        }
        Happening::Placement(narrow) => {
            let tolerations = if *narrow {
                json!([{"operator": "Exists"}])
            } else {
                json!([])
            };
            lab.edit("/placement/tolerations", tolerations);
        }
        Happening::Stranger(there) => {
            let stranger = "ControllerRevision intent-x (it belongs to nobody we know)";
            lab.stranger = there.then(|| stranger.to_owned());
        }
        Happening::Invalid(invalid) => {
            lab.edit(
                "/runtime/env",
                if *invalid {
                    json!([{"name": "SMALLFLEET_X"}])
                } else {
                    json!([])
                },
            );
        }
    }
}

/// Everything that is in the way goes away.
fn calm(lab: &mut Lab) {
    for index in 0..NODES {
        let name = format!("n{index}");
        lab.node(&name).ready = true;
        lab.node(&name).pressure = false;
        lab.partition(&name, true);
    }
    for behavior in lab.behaviors.values_mut() {
        if matches!(
            behavior,
            Behavior::NoImage("connection refused") | Behavior::NeverReady
        ) {
            *behavior = Behavior::Good;
        }
    }
    lab.stranger = None;
    lab.edit("/featureFlag/state", json!("Enabled"));
    lab.edit("/rollout/paused", json!(false));
    lab.edit("/runtime/env", json!([]));
}

/// Spec asks for this and nothing moves any more.
fn settled(lab: &Lab) -> bool {
    let status = lab.status();
    let target = status.target.clone().map(|target| target.revision);
    let promoted = status.rollout.is_none()
        && status.stable.as_ref().map(|one| one.revision.clone()) == target;
    let everywhere = lab
        .pods_of(Role::Stable)
        .iter()
        .all(|pod| Some(&pod.revision) == target.as_ref());
    let refused = status.rollout.as_ref().is_some_and(|rollout| {
        rollout.state == RolloutState::RolledBack && Some(&rollout.to) == target.as_ref()
    });
    let seen = status.observed_generation == lab.model.metadata.generation;
    seen && lab.pods_of(Role::Candidate).is_empty() && (refused || (promoted && everywhere))
}

fn stands_still(lab: &mut Lab) {
    lab.run(25);
    for _ in 0..3 {
        lab.later(60);
        let plan = lab.reconcile();
        assert!(plan.actions.is_empty(), "at rest: {:?}", plan.actions);
        assert!(
            lab.hub.published.by_router.is_empty(),
            "a stream is open at rest"
        );
    }
    assert_eq!(lab.granted(), 0);
}

/// The known ways in which a revision cannot be installed and spec has to change.
fn can_install(lab: &Lab) -> bool {
    let bad = |hash: &String| {
        matches!(
            lab.behavior(hash),
            Behavior::Fails(_) | Behavior::NoImage(_) | Behavior::NeverReady
        )
    };
    let status = lab.status();
    // A promotion whose image is gone from the registry waits for it: that is held against the registry, not the revision.
    let waits = status.rollout.is_some_and(|rollout| {
        rollout.state == RolloutState::Promoting
            && matches!(lab.behavior(&rollout.to), Behavior::NoImage(_))
    });
    !waits && !status.stable.map(|stable| stable.revision).iter().any(bad)
}

/// 32 in every test run; more with PROPTEST_CASES.
fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(32),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn invariants_hold_and_the_fleet_converges(happenings in prop::collection::vec(happening(), 1..25)) {
        let mut lab = Lab::at_rest(NODES);
        for one in &happenings {
            happen(&mut lab, one);
        }
        calm(&mut lab);
        lab.run_until(900, |lab| settled(lab) || !can_install(lab));
        if can_install(&lab) {
            stands_still(&mut lab);
        }
    }

    /// Another operator acts on what it saw a while ago: its status writes fail, its routes are refused, its objects are tidied up.
    #[test]
    fn a_stale_leader_is_harmless(before in prop::collection::vec(happening(), 1..8), between in prop::collection::vec(happening(), 1..8)) {
        let mut lab = Lab::at_rest(NODES);
        lab.strict = false;
        for one in &before {
            happen(&mut lab, one);
        }
        let old = lab.plan_now();
        lab.new_leader();
        for one in &between {
            happen(&mut lab, one);
        }
        lab.execute_stale(&old);
        calm(&mut lab);
        lab.run_until(900, |lab| settled(lab) || !can_install(lab));
        if can_install(&lab) {
            stands_still(&mut lab);
        }
    }
}
