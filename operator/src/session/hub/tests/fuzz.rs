//! A router's messages in any order, repeated, from the past and the future: what is counted is the newest that each epoch said, and
//! nothing follows a cut.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Said {
    /// Cumulative counts of an epoch: more with each sequence number, and none after `LAST`, which closes it.
    Report {
        id: u64,
        sequence: u64,
    },
    /// Counts that no router has.
    Nonsense {
        sequence: u64,
        permille: u32,
        units: u64,
    },
    Ack {
        kind: i32,
        sequence: u64,
    },
    KeepAlive {
        nonce: u64,
    },
    Hello {
        restarted: bool,
    },
    Reopened,
    Published {
        kind: RouteKind,
        sequence: u64,
    },
    Cut,
}

const LAST: u64 = 12;
/// Nonsense comes under epochs of its own.
const NONSENSE: u64 = 1000;

fn said() -> impl Strategy<Value = Said> {
    let kind = prop_oneof![
        Just(RouteKind::Grant),
        Just(RouteKind::Withdraw),
        Just(RouteKind::Cut)
    ];
    prop_oneof![
        6 => (0_u64..3, 1..=LAST).prop_map(|(id, sequence)| Said::Report { id, sequence }),
        1 => (any::<u64>(), any::<u32>(), any::<u64>())
            .prop_map(|(sequence, permille, units)| Said::Nonsense { sequence, permille, units }),
        2 => (0..6_i32, prop_oneof![0..9_u64, Just(u64::MAX)])
            .prop_map(|(kind, sequence)| Said::Ack { kind, sequence }),
        1 => any::<u64>().prop_map(|nonce| Said::KeepAlive { nonce }),
        1 => any::<bool>().prop_map(|restarted| Said::Hello { restarted }),
        1 => Just(Said::Reopened),
        2 => (kind, 0..9_u64).prop_map(|(kind, sequence)| Said::Published { kind, sequence }),
        1 => Just(Said::Cut),
    ]
}

fn counted(id: u64, sequence: u64) -> v1::Epoch {
    let mut epoch = epoch(id, sequence, 0);
    let errors = epoch.errors.as_mut().unwrap();
    (errors.stable_units, errors.candidate_units) = (100 * sequence, 100 * sequence);
    epoch.closed = sequence == LAST;
    epoch
}

fn nonsense(sequence: u64, permille: u32, units: u64) -> v1::Epoch {
    v1::Epoch {
        candidate_traffic_permille: permille | 1024,
        errors: Some(v1::ErrorCounts {
            candidate_units: units,
            candidate: u64::MAX,
            ..v1::ErrorCounts::default()
        }),
        ..epoch(NONSENSE, sequence, 0)
    }
}

/// What a careful reader would know.
#[derive(Debug, Default)]
struct Reader {
    newest: BTreeMap<u64, u64>,
    /// Epochs of processes that are gone: they stay as last reported.
    ended: BTreeSet<u64>,
    /// The router's second process is the one that is known.
    restarted: bool,
    cut: bool,
}

impl Reader {
    fn hears(&mut self, restarted: bool) {
        if self.restarted != restarted {
            self.ended.extend(self.newest.keys());
        }
        self.restarted = restarted;
    }
}

struct Bench {
    hub: Hub,
    inbox: Inbox,
    reader: Reader,
}

impl Bench {
    fn hear(&mut self, said: Said) {
        let message = |message| self.hub.receive(&key(), &pod(), "uid-1", message);
        match said {
            Said::Report { id, sequence } => {
                report(&self.hub, vec![counted(id, sequence)]);
                if !self.reader.ended.contains(&id) {
                    let newest = self.reader.newest.entry(id).or_default();
                    *newest = sequence.max(*newest);
                }
            }
            Said::Nonsense {
                sequence,
                permille,
                units,
            } => {
                report(&self.hub, vec![nonsense(sequence, permille, units)]);
            }
            Said::Ack { kind, sequence } => {
                message(v1::router_message::Message::Ack(v1::RouteAck {
                    rollout_id: ROLLOUT.to_owned(),
                    sequence,
                    kind,
                    ..v1::RouteAck::default()
                }));
            }
            Said::KeepAlive { nonce } => {
                message(v1::router_message::Message::KeepAlive(v1::KeepAlive {
                    nonce,
                }));
            }
            Said::Hello { restarted } => {
                let instance = if restarted { "b" } else { "a" };
                self.hub.check_in(&key(), &pod(), hello("uid-1", instance));
                self.reader.hears(restarted);
            }
            Said::Reopened => {
                if let Some(inbox) = self.hub.open(&key(), &pod(), hello("uid-1", "a")) {
                    self.inbox = inbox;
                }
                self.reader.hears(false);
            }
            Said::Published { kind, sequence } => self.hub.publish(&key(), routes(kind, sequence)),
            Said::Cut => {
                self.hub.cut(&key(), ROLLOUT);
                sent_routes(&mut self.inbox);
                self.reader.cut = true;
            }
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let view = self.hub.view(&key(), ROLLOUT);
        let closed = view
            .closed
            .iter()
            .map(|epoch| epoch.counts.units().candidate);
        let units = view.open.units().candidate + closed.sum::<u64>();
        let newest: u64 = self
            .reader
            .newest
            .values()
            .map(|sequence| 100 * sequence)
            .sum();
        prop_assert_eq!(units, newest);
        if self.reader.cut {
            prop_assert!(view.cut.contains(ROLLOUT));
            let kinds: Vec<_> = sent_routes(&mut self.inbox)
                .iter()
                .map(v1::Route::kind)
                .collect();
            let only_cuts = kinds.iter().all(|kind| *kind == v1::route::Kind::Cut);
            prop_assert!(only_cuts, "{kinds:?}");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn messages_in_any_order_count_once_and_undo_no_cut(all in prop::collection::vec(said(), 1..60)) {
        let (hub, inbox) = granted();
        let mut bench = Bench { hub, inbox, reader: Reader::default() };
        for said in all {
            bench.hear(said);
            bench.check()?;
        }
    }
}
