//! What the fault tests found, one test a defect.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use smallfleet_crds::status::PauseReason;
use smallfleet_fake::lab::{Behavior, Lab};
use smallfleet_fake::server::Fault;
use smallfleet_fake::story::{PROMOTION, REVERTED, ROLLBACK, Told, on_paused_clock};
use smallfleet_runtime_core::route::Instruction;

/// Position of the n-th write to a path that ends so.
fn write(told: &Told, end: &str, nth: usize) -> usize {
    let positions = told.writes.iter().enumerate();
    let mut found = positions.filter(|(_, what)| what.ends_with(end));
    found.nth(nth - 1).unwrap().0 + 1
}

/// Its successor was woken by nobody: its routers have nothing to report, and that time passes wakes nobody either.
#[test]
fn a_leader_lost_before_the_first_candidate_has_a_successor_that_goes_on() {
    let resting = PROMOTION.resting();
    let sound = PROMOTION.tell(&resting, Fault::None);
    let wave = write(&sound, "/status", 2);
    assert!(wave < write(&sound, "/pods", 1));
    let told = PROMOTION.tell(&resting, Fault::CrashAfterWrite(wave));
    assert_eq!(told.ending, sound.ending);
}

/// It had given its routers no route itself, and took that for proof that they have none.
#[test]
fn an_old_leader_deletes_no_candidate_that_the_new_one_routes_to() {
    let resting = ROLLBACK.resting();
    let sound = ROLLBACK.tell(&resting, Fault::None);
    let stall = Fault::StallAfterWrite {
        write: write(&sound, "/pods", 1),
        seconds: 4,
    };
    assert_eq!(ROLLBACK.tell(&resting, stall).ending, sound.ending);
}

/// It carried out a plan that it had made before another leader took the revision back.
#[test]
fn a_leader_that_was_held_up_does_not_promote_what_its_successor_took_back() {
    let resting = REVERTED.resting();
    let sound = REVERTED.tell(&resting, Fault::None);
    let last = sound.reads.len();
    for read in last - 12..=last {
        let stall = Fault::StallAfterRead { read, seconds: 4 };
        assert_eq!(
            REVERTED.tell(&resting, stall).ending,
            sound.ending,
            "read {read}"
        );
    }
}

/// Status said it first, and the routers were told by the next look: the monitor's I3 fires where it is so.
#[test]
fn counts_that_the_coin_did_not_give_take_the_traffic_before_status_says_so() {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(2).await;
        lab.behave("2", Behavior::Shunned);
        lab.ask_for("2").await;
        lab.until(400, "pause", |status| {
            let rollout = status.rollout.as_ref();
            let paused = rollout.and_then(|rollout| rollout.paused.as_ref());
            paused.is_some_and(|paused| paused.reason == PauseReason::SampleRatio)
        })
        .await;
        lab.seconds(60).await;
        assert_eq!(lab.rollout().candidate_traffic_permille, 0);
        assert!(lab.status().refused.is_empty());
        let mut routes = lab
            .routers
            .values()
            .filter_map(|router| router.held.route());
        assert!(!routes.any(|route| matches!(route.instruction, Instruction::Grant(_))));
    });
}
