//! The route that a router holds, and the lease that keeps it alive: the dead man's switch of a rollout.
//!
//! - A lower leader epoch is refused, and a lower sequence within a rollout.
//! - A rollout that was cut, or replaced by another one, is never granted again.
//! - A grant lives until `lease` after the moment at which the router *sent* the last keep-alive that the operator echoed
//!   for exactly this route; at a stream's start the hello counts as one. Clocks of two machines are never compared.
//! - A grant whose lease ran out is kept: it comes back with the next echo.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::route::{Grant, Instruction, Route};

/// Rollouts that are remembered as finished. One is added per rollout and node, so this is years.
pub const FINISHED_MAX: usize = 64;
/// Keep-alives that wait for their echo. At one every 3 s they are older than any lease before they are forgotten.
pub const UNANSWERED_MAX: usize = 16;

/// Why a route was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// From a leader that has been replaced.
    #[error("leader epoch {got} is below {held}")]
    LowerLeaderEpoch {
        /// The highest epoch taken so far.
        held: u64,
        /// The message's.
        got: u64,
    },
    /// Older than what is held.
    #[error("sequence {got} is below {held}")]
    LowerSequence {
        /// The held route's.
        held: u64,
        /// The message's.
        got: u64,
    },
    /// Cut or replaced before.
    #[error("the rollout was cut or replaced before, which is never undone")]
    Finished,
}

/// What taking a route changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is the held route now, and it differs from what was held.
    Changed,
    /// It says what was held already; its lease may have been renewed.
    Repeated,
    /// A cut of a rollout that is not held: remembered.
    Remembered,
}

/// A cut that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCut {
    /// The rollout.
    pub rollout_id: String,
    /// The cut's sequence.
    pub sequence: u64,
}

/// The operator's echo of a keep-alive, for the route that it believes this router to hold.
#[derive(Debug, Clone, Copy)]
pub struct Echo<'a> {
    /// The keep-alive's.
    pub nonce: u64,
    /// The leader's.
    pub leader_epoch: u64,
    /// The route's.
    pub rollout_id: &'a str,
    /// The route's.
    pub sequence: u64,
}

/// State machine of the held route.
#[derive(Debug, Default)]
pub struct HeldRoute {
    leader_epoch: u64,
    held: Option<Held>,
    finished: VecDeque<String>,
    last_cut: Option<LastCut>,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Held {
    route: Route,
    /// Meaningful for a grant.
    leased_until: Option<Duration>,
}

/// The current stream's proof that the operator hears us.
#[derive(Debug)]
struct Stream {
    /// When the last message was sent of which we know that the operator has read it.
    heard: Duration,
    unanswered: VecDeque<(u64, Duration)>,
}

impl HeldRoute {
    /// A stream begins; its hello was sent at `now`. Keep-alives of an earlier stream are forgotten.
    pub fn stream_started(&mut self, now: Duration) {
        self.stream = Some(Stream {
            heard: now,
            unanswered: VecDeque::new(),
        });
    }

    /// A keep-alive is about to be sent.
    pub fn keep_alive_sent(&mut self, nonce: u64, now: Duration) {
        if let Some(stream) = &mut self.stream {
            if stream.unanswered.len() == UNANSWERED_MAX {
                stream.unanswered.pop_front();
            }
            stream.unanswered.push_back((nonce, now));
        }
    }

    /// The operator echoed a keep-alive. True when this extended the held grant's lease.
    ///
    /// Unknown nonces (repeated, future, of another stream) and echoes of a replaced leader change nothing.
    pub fn echoed(&mut self, echo: &Echo<'_>) -> bool {
        if echo.leader_epoch < self.leader_epoch {
            return false;
        }
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let known = |(nonce, _): &(u64, Duration)| *nonce == echo.nonce;
        let Some(index) = stream.unanswered.iter().position(known) else {
            return false;
        };
        let sent = stream.unanswered[index].1;
        // Streams keep their order, so older keep-alives will not be answered any more.
        stream.unanswered.drain(..=index);
        stream.heard = stream.heard.max(sent);
        self.extend(echo, sent)
    }

    fn extend(&mut self, echo: &Echo<'_>, sent: Duration) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        let Instruction::Grant(grant) = &held.route.instruction else {
            return false;
        };
        let same = held.route.rollout_id == echo.rollout_id
            && held.route.sequence == echo.sequence
            && held.route.leader_epoch == echo.leader_epoch;
        if same {
            held.leased_until = held
                .leased_until
                .max(Some(sent.saturating_add(grant.lease)));
        }
        same
    }

    /// Takes a route or refuses it.
    pub fn accept(&mut self, route: Route) -> Result<Taken, Refusal> {
        self.admit(&route)?;
        self.leader_epoch = route.leader_epoch;
        let cut = matches!(route.instruction, Instruction::Cut);
        if cut {
            self.finish(&route.rollout_id);
            self.last_cut = Some(LastCut {
                rollout_id: route.rollout_id.clone(),
                sequence: route.sequence,
            });
        }
        match self.held.take() {
            Some(held) if held.route.rollout_id != route.rollout_id => {
                if cut {
                    self.held = Some(held);
                    return Ok(Taken::Remembered);
                }
                self.finish(&held.route.rollout_id);
                self.hold(route);
                Ok(Taken::Changed)
            }
            held => {
                let repeated = held.is_some_and(|held| held.route == route);
                self.hold(route);
                Ok(if repeated {
                    Taken::Repeated
                } else {
                    Taken::Changed
                })
            }
        }
    }

    fn admit(&self, route: &Route) -> Result<(), Refusal> {
        if route.leader_epoch < self.leader_epoch {
            return Err(Refusal::LowerLeaderEpoch {
                held: self.leader_epoch,
                got: route.leader_epoch,
            });
        }
        if let Some(held) = &self.held
            && held.route.rollout_id == route.rollout_id
            && route.sequence < held.route.sequence
        {
            return Err(Refusal::LowerSequence {
                held: held.route.sequence,
                got: route.sequence,
            });
        }
        let finished = self.finished.contains(&route.rollout_id);
        if finished && !matches!(route.instruction, Instruction::Cut) {
            return Err(Refusal::Finished);
        }
        Ok(())
    }

    fn hold(&mut self, route: Route) {
        let leased_until = match (&route.instruction, &self.stream) {
            (Instruction::Grant(grant), Some(stream)) => {
                Some(stream.heard.saturating_add(grant.lease))
            }
            _ => None,
        };
        self.held = Some(Held {
            route,
            leased_until,
        });
    }

    fn finish(&mut self, rollout_id: &str) {
        if self.finished.iter().any(|known| known == rollout_id) {
            return;
        }
        if self.finished.len() == FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(rollout_id.to_owned());
    }

    /// The grant, if there is one and its lease lives at `now`.
    #[must_use]
    pub fn granted(&self, now: Duration) -> Option<(&str, &Arc<Grant>)> {
        let held = self.held.as_ref()?;
        match &held.route.instruction {
            Instruction::Grant(grant) if held.leased_until.is_some_and(|until| now < until) => {
                Some((&held.route.rollout_id, grant))
            }
            _ => None,
        }
    }

    /// When the held grant ends by itself; in the past if it has. `None` without a grant.
    #[must_use]
    pub fn leased_until(&self) -> Option<Duration> {
        self.held.as_ref()?.leased_until
    }

    /// What is held, leased or not.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.held.as_ref().map(|held| &held.route)
    }

    /// The last cut that was carried out.
    #[must_use]
    pub fn last_cut(&self) -> Option<&LastCut> {
        self.last_cut.as_ref()
    }

    /// The highest leader epoch of a route that was taken.
    #[must_use]
    pub fn leader_epoch(&self) -> u64 {
        self.leader_epoch
    }
}
