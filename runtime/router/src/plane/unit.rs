use std::sync::Arc;

use smallfleet_runtime_core::Arm;
use smallfleet_runtime_core::counters::{Outcome, Ticket};
use tokio::time::Instant;

use super::Plane;
use crate::engine::candidate::Candidate;

/// Which arm answers a request, and why.
#[derive(Debug)]
pub enum Choice {
    /// Stable, by the coin when there is a unit.
    Stable(Option<Unit>),
    /// The candidate, by the coin when there is a unit. Without a candidate it is not there for a forced request.
    Candidate(Option<Arc<Candidate>>, Option<Unit>),
}

impl Choice {
    pub(super) fn stable() -> Self {
        Self::Stable(None)
    }

    pub(super) fn of(arm: Arm, candidate: Option<Arc<Candidate>>, unit: Option<Unit>) -> Self {
        match arm {
            Arm::Stable => Self::Stable(unit),
            Arm::Candidate => Self::Candidate(candidate, unit),
        }
    }
}

/// A tossed unit whose end is written down exactly once; badly if it is dropped, as by a client's cancel.
#[derive(Debug)]
pub struct Unit {
    plane: Arc<Plane>,
    ticket: Option<Ticket>,
    coin: Instant,
}

impl Unit {
    pub(super) fn new(plane: Arc<Plane>, ticket: Ticket) -> Self {
        Self {
            plane,
            ticket: Some(ticket),
            coin: Instant::now(),
        }
    }

    /// The first byte of a good answer has been delivered.
    pub fn first_byte(&self) {
        if let Some(ticket) = self.ticket {
            let latency = self.coin.elapsed();
            self.plane.lock().counters.first_byte(ticket, latency);
        }
    }

    /// The last byte of a good answer has been delivered.
    pub fn good(mut self) {
        let latency = self.coin.elapsed();
        self.end(Outcome::Good(latency));
    }

    /// The candidate failed and stable answers.
    pub fn fell_back(mut self) {
        self.end(Outcome::Bad);
        self.plane.lock().counters.fallback();
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.plane.lock().counters.resolve(ticket, outcome);
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.end(Outcome::Bad);
    }
}
