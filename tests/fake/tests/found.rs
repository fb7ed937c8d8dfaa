//! What the fault tests found, one test a defect.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use smallfleet_fake::server::Fault;
use smallfleet_fake::story::{PROMOTION, ROLLBACK, Told};

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
