//! Whole rollouts in which one thing goes wrong: at every write, and at every read.

use std::io::Write as _;

use smallfleet_fake::lab::Resting;
use smallfleet_fake::server::Fault;
use smallfleet_fake::story::{self, Story, Told};

/// What a write that is not carried out is answered with.
const REFUSALS: [u16; 3] = [409, 429, 500];
/// What a read is answered with.
const READ_ERRORS: [u16; 3] = [429, 500, 503];
/// How long a leader may stall in a write while another one takes over.
const STALL_SECONDS: u64 = 4;

/// One story with one fault; it ends as without it.
fn case(story: &Story, resting: &Resting, sound: &Told, fault: Fault) {
    let outcome = std::panic::catch_unwind(|| story.tell(resting, fault));
    let told = outcome.unwrap_or_else(|_| panic!("{}: {fault:?}", story.name));
    assert!(told.happened, "{}: {fault:?} did not happen", story.name);
    assert_eq!(
        told.ending, sound.ending,
        "{}: {fault:?}\nwrites: {:#?}",
        story.name, sound.writes
    );
}

/// Each position once: the number of cases is the number of calls.
fn all(story: &Story) {
    let resting = story.resting();
    let sound = story.tell(&resting, Fault::None);
    let at_write = |fault: &dyn Fn(usize) -> Fault| {
        let positions = 1..=sound.writes.len();
        positions
            .map(|write| case(story, &resting, &sound, fault(write)))
            .count()
    };
    let crashes = at_write(&Fault::CrashAfterWrite);
    let refused = at_write(&|write| Fault::RefuseWrite {
        write,
        code: REFUSALS[write % 3],
    });
    let lost = at_write(&|write| Fault::LoseAnswer { write, code: 500 });
    let stalls = at_write(&|write| Fault::StallAfterWrite {
        write,
        seconds: STALL_SECONDS,
    });
    let stale = (1..=sound.reads.len()).map(|read| {
        let fault = Fault::StallAfterRead {
            read,
            seconds: STALL_SECONDS,
        };
        case(story, &resting, &sound, fault);
    });
    let stale = stale.count();
    let reads = (1..=sound.reads.len()).map(|read| {
        case(
            story,
            &resting,
            &sound,
            Fault::RefuseRead {
                read,
                code: READ_ERRORS[read % 3],
            },
        );
    });
    let reads = reads.count();
    let (written, read) = (sound.writes.len(), sound.reads.len());
    // Past the capture of the test's output: the figures are to be seen in `make test`.
    let told = writeln!(
        std::io::stdout().lock(),
        "{}: {written} writes: {crashes} crashes after one, {refused} refused, {lost} answers lost, {stalls} with two leaders; {read} reads: {reads} refused, {stale} stale beside a second leader; ends {} with {:?}",
        story.name,
        sound.ending.phase,
        sound.ending.refused,
    );
    told.expect("standard output");
    assert_eq!([crashes, refused, lost, stalls], [written; 4]);
    assert_eq!([reads, stale], [read; 2]);
}

#[test]
fn promotion() {
    all(&story::PROMOTION);
}

#[test]
fn rollback() {
    all(&story::ROLLBACK);
}

#[test]
fn superseded() {
    all(&story::SUPERSEDED);
}

#[test]
fn reverted() {
    all(&story::REVERTED);
}

#[test]
fn refused() {
    all(&story::REFUSED);
}

#[test]
fn gate_failed() {
    all(&story::GATE_FAILED);
}

#[test]
fn a_story_without_a_fault_is_the_same_every_time() {
    for story in [story::PROMOTION, story::ROLLBACK] {
        let resting = story.resting();
        let first = story.tell(&resting, Fault::None);
        for _ in 0..5 {
            let again = story.tell(&resting, Fault::None);
            assert_eq!(
                differs(&again.writes, &first.writes),
                None,
                "{}",
                story.name
            );
            assert_eq!(differs(&again.reads, &first.reads), None, "{}", story.name);
        }
    }
}

/// The first calls that are not alike; events are named by the time of day.
fn differs(left: &[String], right: &[String]) -> Option<(usize, Option<String>, Option<String>)> {
    let alike = |index: usize| {
        let name = |call: &String| call.split("/events/").next().map(str::to_owned);
        left.get(index).and_then(name) == right.get(index).and_then(name)
    };
    let index = (0..left.len().max(right.len())).find(|index| !alike(*index))?;
    Some((index, left.get(index).cloned(), right.get(index).cloned()))
}
