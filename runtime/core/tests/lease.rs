//! The held route under any order of messages: what must never happen, and what a user would see.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use smallfleet_runtime_core::lease::{Echo, HeldRoute, Refusal, Taken};
use smallfleet_runtime_core::route::{Candidate, Grant, Instruction, Route, Signal};

const LEASE: Duration = Duration::from_secs(10);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn grant() -> Instruction {
    Instruction::Grant(Arc::new(Grant {
        permille: 500,
        candidate: Candidate {
            revision: "new".into(),
            address: ([127, 0, 0, 1], 8443).into(),
            fingerprint: [7; 32],
        },
        overrides: Vec::new(),
        freeze: None,
        lease: LEASE,
        burn_in_units: 50,
        errors_maturity: seconds(120),
        signal: Signal::Total,
    }))
}

fn route(rollout: &str, sequence: u64, leader_epoch: u64, instruction: Instruction) -> Route {
    Route {
        rollout_id: rollout.into(),
        sequence,
        leader_epoch,
        instruction,
    }
}

fn echo(nonce: u64, leader_epoch: u64, rollout_id: &str, sequence: u64) -> Echo<'_> {
    Echo {
        nonce,
        leader_epoch,
        rollout_id,
        sequence,
    }
}

/// A router with a stream since second 0 that holds a grant of rollout "a", sequence 5, leader 3.
fn granted() -> HeldRoute {
    let mut held = HeldRoute::default();
    held.stream_started(seconds(0));
    assert_eq!(held.accept(route("a", 5, 3, grant())), Ok(Taken::Changed));
    held
}

#[test]
fn without_a_stream_a_grant_is_worth_nothing() {
    let mut held = HeldRoute::default();
    held.accept(route("a", 1, 1, grant())).unwrap();
    assert!(held.granted(seconds(0)).is_none());
}

#[test]
fn a_fresh_grant_lives_from_the_hello() {
    let held = granted();
    assert!(held.granted(seconds(9)).is_some());
    assert!(held.granted(seconds(10)).is_none());
}

#[test]
fn an_echo_extends_from_when_its_keep_alive_was_sent() {
    let mut held = granted();
    held.keep_alive_sent(1, seconds(3));
    assert!(held.echoed(&echo(1, 3, "a", 5)));
    assert!(held.granted(seconds(12)).is_some());
    assert!(held.granted(seconds(13)).is_none());
}

#[test]
fn a_route_whose_lease_ran_out_comes_back_with_an_echo() {
    let mut held = granted();
    assert!(held.granted(seconds(30)).is_none());
    held.keep_alive_sent(9, seconds(31));
    assert!(held.echoed(&echo(9, 3, "a", 5)));
    assert!(held.granted(seconds(32)).is_some());
}

#[test]
fn echoes_for_another_route_do_not_extend_this_one() {
    for (leader, rollout, sequence) in [
        (3, "a", 4),
        (3, "a", 6),
        (3, "b", 5),
        (4, "a", 5),
        (2, "a", 5),
    ] {
        let mut held = granted();
        held.keep_alive_sent(1, seconds(9));
        assert!(!held.echoed(&echo(1, leader, rollout, sequence)));
        assert!(held.granted(seconds(11)).is_none());
    }
}

#[test]
fn a_grant_after_an_answered_keep_alive_lives_from_it() {
    let mut held = HeldRoute::default();
    held.stream_started(seconds(0));
    held.keep_alive_sent(1, seconds(20));
    held.echoed(&echo(1, 3, "", 0));
    held.accept(route("a", 1, 3, grant())).unwrap();
    assert!(held.granted(seconds(29)).is_some());
    assert!(held.granted(seconds(30)).is_none());
}

#[test]
fn repeated_and_future_nonces_are_harmless() {
    let mut held = granted();
    held.keep_alive_sent(1, seconds(1));
    assert!(held.echoed(&echo(1, 3, "a", 5)));
    assert!(!held.echoed(&echo(1, 3, "a", 5)));
    assert!(!held.echoed(&echo(77, 3, "a", 5)));
    assert!(held.granted(seconds(11)).is_none());
}

#[test]
fn keep_alives_of_an_earlier_stream_prove_nothing() {
    let mut held = granted();
    held.keep_alive_sent(1, seconds(9));
    held.stream_started(seconds(10));
    assert!(!held.echoed(&echo(1, 3, "a", 5)));
}

#[test]
fn a_replaced_leader_is_refused() {
    let mut held = granted();
    let refused = held.accept(route("a", 9, 2, Instruction::Withdraw));
    assert_eq!(refused, Err(Refusal::LowerLeaderEpoch { held: 3, got: 2 }));
    assert!(held.granted(seconds(1)).is_some());
}

#[test]
fn a_lower_sequence_is_refused() {
    let mut held = granted();
    held.accept(route("a", 6, 3, Instruction::Withdraw))
        .unwrap();
    let refused = held.accept(route("a", 5, 4, grant()));
    assert_eq!(refused, Err(Refusal::LowerSequence { held: 6, got: 5 }));
    assert!(held.granted(seconds(1)).is_none());
}

#[test]
fn a_withdrawn_route_comes_back() {
    let mut held = granted();
    held.accept(route("a", 6, 3, Instruction::Withdraw))
        .unwrap();
    assert!(held.granted(seconds(1)).is_none());
    held.accept(route("a", 7, 3, grant())).unwrap();
    assert!(held.granted(seconds(1)).is_some());
}

#[test]
fn a_cut_is_final_and_remembered() {
    let mut held = granted();
    held.accept(route("a", 6, 3, Instruction::Cut)).unwrap();
    assert_eq!(
        held.accept(route("a", 7, 4, grant())),
        Err(Refusal::Finished)
    );
    assert_eq!(
        held.accept(route("a", 8, 4, Instruction::Withdraw)),
        Err(Refusal::Finished)
    );
    assert_eq!(held.last_cut().map(|cut| cut.sequence), Some(6));
    held.accept(route("b", 1, 4, grant())).unwrap();
    assert_eq!(
        held.accept(route("a", 9, 4, grant())),
        Err(Refusal::Finished)
    );
    assert!(
        held.granted(seconds(1))
            .is_some_and(|(rollout, _)| rollout == "b")
    );
}

#[test]
fn cutting_an_older_rollout_leaves_the_current_one() {
    let mut held = granted();
    assert_eq!(
        held.accept(route("old", 2, 3, Instruction::Cut)),
        Ok(Taken::Remembered)
    );
    assert!(held.granted(seconds(1)).is_some());
    assert_eq!(
        held.accept(route("old", 3, 3, grant())),
        Err(Refusal::Finished)
    );
}

#[test]
fn a_replaced_rollout_does_not_return() {
    let mut held = granted();
    held.accept(route("b", 1, 3, grant())).unwrap();
    assert_eq!(
        held.accept(route("a", 9, 3, grant())),
        Err(Refusal::Finished)
    );
}

#[derive(Debug, Clone)]
enum Event {
    Stream,
    KeepAlive,
    /// Echoes one of the nonces around the last one, with any route.
    Echo(u64, u64, usize, u64),
    Route(usize, u64, u64, u8),
}

const ROLLOUTS: [&str; 3] = ["a", "b", "c"];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Stream),
        4 => Just(Event::KeepAlive),
        4 => (0_u64..4, 0_u64..4, 0_usize..3, 0_u64..6).prop_map(|(n, e, r, s)| Event::Echo(n, e, r, s)),
        5 => (0_usize..3, 0_u64..6, 0_u64..4, 0_u8..6).prop_map(|(r, s, e, k)| Event::Route(r, s, e, k)),
    ]
}

/// Follows from outside what the router may at most believe.
#[derive(Default)]
struct Witness {
    /// Send times of the current stream: the hello's and of every keep-alive.
    sent: Vec<(u64, Duration)>,
    /// The latest send time that any answer can vouch for.
    vouched: Option<Duration>,
    cut: Vec<usize>,
    leader_epoch: u64,
    nonce: u64,
}

impl Witness {
    fn apply(
        &mut self,
        held: &mut HeldRoute,
        event: &Event,
        now: Duration,
    ) -> Result<(), TestCaseError> {
        match *event {
            Event::Stream => {
                held.stream_started(now);
                self.sent.clear();
                self.vouched = Some(now);
            }
            Event::KeepAlive => {
                self.nonce += 1;
                held.keep_alive_sent(self.nonce, now);
                self.sent.push((self.nonce, now));
            }
            Event::Echo(back, leader_epoch, rollout, sequence) => {
                let nonce = (self.nonce + 1).saturating_sub(back);
                held.echoed(&echo(nonce, leader_epoch, ROLLOUTS[rollout], sequence));
                if let Some((_, at)) = self.sent.iter().find(|(known, _)| *known == nonce) {
                    self.vouched = self.vouched.max(Some(*at));
                }
            }
            Event::Route(rollout, sequence, leader_epoch, kind) => {
                let instruction = match kind {
                    0..4 => grant(),
                    4 => Instruction::Withdraw,
                    _ => Instruction::Cut,
                };
                let cut = instruction == Instruction::Cut;
                let taken = held.accept(route(
                    ROLLOUTS[rollout],
                    sequence,
                    leader_epoch,
                    instruction,
                ));
                if taken.is_ok() {
                    prop_assert!(
                        leader_epoch >= self.leader_epoch,
                        "a lower leader epoch was taken"
                    );
                    self.leader_epoch = leader_epoch;
                    if cut {
                        self.cut.push(rollout);
                    }
                }
            }
        }
        self.check(held, now)
    }

    fn check(&self, held: &HeldRoute, now: Duration) -> Result<(), TestCaseError> {
        if let Some((rollout, _)) = held.granted(now) {
            let rollout = ROLLOUTS
                .iter()
                .position(|known| *known == rollout)
                .expect("only these are offered");
            prop_assert!(!self.cut.contains(&rollout), "a cut was undone");
            let vouched = self.vouched.expect("granted without a stream");
            prop_assert!(
                now < vouched + LEASE,
                "granted beyond what the operator vouched for"
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_arrives_in_whatever_order(events in proptest::collection::vec((0_u64..6, event()), 1..80)) {
        let mut held = HeldRoute::default();
        let mut witness = Witness::default();
        let mut now = Duration::ZERO;
        for (wait, event) in &events {
            now += seconds(*wait);
            witness.apply(&mut held, event, now)?;
        }
    }

    #[test]
    fn repeating_every_message_changes_nothing(events in proptest::collection::vec((0_u64..6, event()), 1..60)) {
        let (mut once, mut twice) = (HeldRoute::default(), HeldRoute::default());
        let (mut first, mut second) = (Witness::default(), Witness::default());
        let mut now = Duration::ZERO;
        for (wait, event) in &events {
            now += seconds(*wait);
            first.apply(&mut once, event, now)?;
            second.apply(&mut twice, event, now)?;
            repeat(&mut twice, event, second.nonce);
            prop_assert_eq!(once.granted(now), twice.granted(now));
            prop_assert_eq!(once.leased_until(), twice.leased_until());
        }
    }
}

/// Delivers a message once more, as a network may.
fn repeat(held: &mut HeldRoute, event: &Event, last_nonce: u64) {
    match *event {
        Event::Echo(back, leader_epoch, rollout, sequence) => {
            let nonce = (last_nonce + 1).saturating_sub(back);
            held.echoed(&echo(nonce, leader_epoch, ROLLOUTS[rollout], sequence));
        }
        Event::Route(rollout, sequence, leader_epoch, kind) => {
            let instruction = match kind {
                0..4 => grant(),
                4 => Instruction::Withdraw,
                _ => Instruction::Cut,
            };
            let _ = held.accept(route(
                ROLLOUTS[rollout],
                sequence,
                leader_epoch,
                instruction,
            ));
        }
        Event::Stream | Event::KeepAlive => {}
    }
}
