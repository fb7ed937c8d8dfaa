//! What a router counts for a rollout.
//!
//! Units are kept in coin order until they mature, and are booked at coin time + D whatever happened meanwhile, the same D
//! for both arms: the counted set is a prefix in coin order, cut without regard to the arm or the outcome. There are two
//! prefixes: latency (D = the largest number a latency is compared with) and errors (D as told by the operator).
//!
//! **When the route is lost** (cut, withdrawn, lease over, candidate replaced) the router itself ends the candidate's
//! requests, so what would have become of open units is unknown, and counting them by what did would treat the arms
//! differently. Therefore, for both arms alike: units of the last [`Cell::settle`] are not counted; older ones, which a
//! healthy engine has answered long ago, are booked at once, an open one as an error.

mod burn_in;
mod epoch;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use self::burn_in::BurnIn;
pub use self::burn_in::Sample;
use self::epoch::Epoch;
pub use self::epoch::{EpochReport, ErrorCounts, LatencyCounts, Totals};
use crate::coin::{self, UnitKey};
use crate::route::{Freeze, Grant, Signal};
use crate::{Arm, PerArm};

/// Epochs of one rollout that are kept; the oldest is lost beyond it. A loss is harmless to the verdict.
pub const EPOCHS_MAX: usize = 64;
/// Open units beyond which no coin is tossed.
pub const OPEN_UNITS_MAX: usize = 100_000;
/// Units are booked this much after their maturity, so that an answer that came in time has been written down. Which
/// events a unit has depends on its measured latency only, never on this.
pub const BOOKING_GRACE: Duration = Duration::from_millis(250);
/// Least time that a route loss voids.
const SETTLE_MIN: Duration = Duration::from_secs(1);

/// How a unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A good complete answer, this long after the coin.
    Good(Duration),
    /// Anything else: an error, a hang, a cancel, an answer of the other arm.
    Bad,
}

/// What is counted apart: units of two cells are never added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The candidate's share at the coin.
    pub permille: u16,
    /// Thresholds; absent during the burn-in.
    pub freeze: Option<Arc<Freeze>>,
    /// Maturity of errors.
    pub errors_maturity: Duration,
    /// What a unit's latency is.
    pub signal: Signal,
}

impl Cell {
    /// The cell of a grant's units.
    #[must_use]
    pub fn of(grant: &Grant) -> Self {
        Self {
            permille: grant.permille,
            freeze: grant.freeze.clone(),
            errors_maturity: grant.errors_maturity,
            signal: grant.signal,
        }
    }

    /// Maturity of latency. Not above the errors', by which every unit has ended.
    #[must_use]
    pub fn latency_maturity(&self) -> Duration {
        let horizon = self.freeze.as_ref().map(|freeze| freeze.horizon());
        horizon.unwrap_or_default().min(self.errors_maturity)
    }

    /// The last units before a route loss that are not counted are those tossed within this time.
    #[must_use]
    pub fn settle(&self) -> Duration {
        self.latency_maturity()
            .max(SETTLE_MIN)
            .min(self.errors_maturity)
    }
}

/// Where the outcome of a tossed unit is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(Slot);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    BurnIn { rollout: u64, unit: u64 },
    Counted { epoch: u64, unit: u64 },
    Nowhere,
}

/// Everything that is reported to the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Epochs that are open, or closed and not stored.
    pub epochs: Vec<EpochReport>,
    /// The burn-in's sample, until thresholds arrive.
    pub burn_in: Option<Sample>,
}

/// Counters of one router process.
#[derive(Debug)]
pub struct Counters {
    instance: [u8; 16],
    made: u64,
    rollouts: u64,
    open_max: usize,
    last_coin: Duration,
    rollout: Option<Rollout>,
}

#[derive(Debug)]
struct Rollout {
    id: String,
    serial: u64,
    cell: Cell,
    burn_in: BurnIn,
    epochs: Vec<Epoch>,
}

impl Counters {
    /// `instance`: random bits of this process; `open_max`: open units beyond which no coin is tossed.
    #[must_use]
    pub fn new(instance: [u8; 16], open_max: usize) -> Self {
        Self {
            instance,
            made: 0,
            rollouts: 0,
            open_max,
            last_coin: Duration::ZERO,
            rollout: None,
        }
    }

    /// Units of `rollout_id` are tossed in `cell` from now on. Counts of another rollout are dropped: they are void.
    pub fn enter(&mut self, rollout_id: &str, cell: Cell, burn_in_units: u32) {
        if self
            .rollout
            .as_ref()
            .is_none_or(|held| held.id != rollout_id)
        {
            self.rollouts += 1;
            self.rollout = Some(Rollout {
                id: rollout_id.to_owned(),
                serial: self.rollouts,
                cell: cell.clone(),
                burn_in: BurnIn::default(),
                epochs: Vec::new(),
            });
        }
        let id = self.next_epoch_id();
        let rollout = self.rollout.as_mut().expect("it was made above");
        rollout.burn_in.set_limit(burn_in_units);
        if cell.freeze.is_some() {
            rollout.burn_in.end_sample();
        }
        let goes_on = rollout.cell == cell && rollout.current().is_some();
        if !goes_on {
            rollout.leave_cell();
            if cell.freeze.is_some() {
                rollout.open_epoch(Epoch::new(id, cell.clone()));
                self.made += 1;
            }
            rollout.cell = cell;
        }
    }

    /// Random over processes, never twice within one.
    fn next_epoch_id(&self) -> u64 {
        let digest = Sha256::new()
            .chain_update(self.instance)
            .chain_update(self.made.to_be_bytes())
            .finalize();
        u64::from_be_bytes(*digest.first_chunk().expect("a SHA-256 digest has 32 bytes"))
    }

    /// Tosses the coin for a unit. `None` outside a rollout and when too many units are open: then the request is no unit.
    pub fn toss(&mut self, now: Duration, key: &UnitKey) -> Option<(Arm, Ticket)> {
        if self.open_units() >= self.open_max {
            self.mature(now);
        }
        if self.open_units() >= self.open_max {
            return None;
        }
        let rollout = self.rollout.as_mut()?;
        self.last_coin = self.last_coin.max(now);
        let arm = coin::toss(&rollout.id, key, rollout.cell.permille);
        Some((arm, Ticket(rollout.place(arm, self.last_coin))))
    }

    /// The first byte of a good answer's content was delivered this long after the coin. Later calls change nothing.
    pub fn first_byte(&mut self, ticket: Ticket, latency: Duration) {
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        match ticket.0 {
            Slot::BurnIn {
                rollout: serial,
                unit,
            } if serial == rollout.serial && rollout.cell.signal == Signal::FirstToken => {
                rollout.burn_in.resolve(unit, Outcome::Good(latency));
            }
            Slot::Counted { epoch, unit } => {
                if let Some(epoch) = rollout.epoch(epoch) {
                    epoch.first_byte(unit, latency);
                }
            }
            Slot::BurnIn { .. } | Slot::Nowhere => {}
        }
    }

    /// Writes down how a unit ended. The first outcome counts; a unit that is no longer open is left alone.
    pub fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        match ticket.0 {
            Slot::BurnIn {
                rollout: serial,
                unit,
            } if serial == rollout.serial => {
                rollout.burn_in.resolve(unit, outcome);
            }
            Slot::Counted { epoch, unit } => {
                if let Some(epoch) = rollout.epoch(epoch) {
                    epoch.resolve(unit, outcome);
                }
            }
            Slot::BurnIn { .. } | Slot::Nowhere => {}
        }
    }

    /// A request was forced to an arm: shown, not counted.
    pub fn forced(&mut self, arm: Arm) {
        if let Some(epoch) = self.rollout.as_mut().and_then(Rollout::current) {
            epoch.forced(arm);
        }
    }

    /// Stable answered for the candidate: shown; the unit's own outcome is written by `resolve`.
    pub fn fallback(&mut self) {
        if let Some(epoch) = self.rollout.as_mut().and_then(Rollout::current) {
            epoch.fallback();
        }
    }

    /// Books what has matured at `now`. May be called at any time and as often as one likes.
    pub fn mature(&mut self, now: Duration) {
        if let Some(rollout) = &mut self.rollout {
            rollout.burn_in.mature(now, rollout.cell.errors_maturity);
            for epoch in &mut rollout.epochs {
                epoch.mature(now);
            }
        }
    }

    /// The route was lost at `now`. To be called before any request is ended because of it.
    pub fn route_lost(&mut self, now: Duration) {
        self.mature(now);
        if let Some(rollout) = &mut self.rollout {
            rollout.burn_in.void_open();
            for epoch in &mut rollout.epochs {
                epoch.settle(now);
            }
        }
    }

    /// No more units will be tossed in this rollout: its epochs close when their last unit has matured.
    pub fn leave(&mut self) {
        if let Some(rollout) = &mut self.rollout {
            rollout.leave_cell();
        }
    }

    /// The operator has stored these closed epochs. Open and unknown ones are left alone.
    pub fn stored(&mut self, ids: &[u64]) {
        if let Some(rollout) = &mut self.rollout {
            rollout
                .epochs
                .retain(|epoch| !(epoch.closed() && ids.contains(&epoch.id())));
        }
    }

    /// Cumulative counts; sequences rise with every call.
    pub fn report(&mut self) -> Report {
        let Some(rollout) = &mut self.rollout else {
            return Report::default();
        };
        let id = &rollout.id;
        Report {
            epochs: rollout
                .epochs
                .iter_mut()
                .map(|epoch| epoch.report(id))
                .collect(),
            burn_in: rollout.burn_in.sample(id),
        }
    }

    /// Whether an epoch is not stored yet.
    #[must_use]
    pub fn unstored(&self) -> bool {
        self.rollout
            .as_ref()
            .is_some_and(|rollout| !rollout.epochs.is_empty())
    }

    /// Units that wait for maturity.
    #[must_use]
    pub fn open_units(&self) -> usize {
        self.rollout.as_ref().map_or(0, |rollout| {
            let epochs = rollout.epochs.iter().map(Epoch::open_units);
            epochs.sum::<usize>() + rollout.burn_in.open_units()
        })
    }
}

impl Rollout {
    fn epoch(&mut self, id: u64) -> Option<&mut Epoch> {
        self.epochs.iter_mut().find(|epoch| epoch.id() == id)
    }

    fn current(&mut self) -> Option<&mut Epoch> {
        self.epochs.last_mut().filter(|epoch| !epoch.closing())
    }

    fn leave_cell(&mut self) {
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.close();
        }
    }

    fn open_epoch(&mut self, epoch: Epoch) {
        if self.epochs.len() == EPOCHS_MAX {
            self.epochs.remove(0);
        }
        self.epochs.push(epoch);
    }

    fn place(&mut self, arm: Arm, coin: Duration) -> Slot {
        let serial = self.serial;
        if let Some(unit) = self.burn_in.take(arm, coin) {
            if let Some(epoch) = self.current() {
                epoch.tossed(arm);
            }
            return unit.map_or(Slot::Nowhere, |unit| Slot::BurnIn {
                rollout: serial,
                unit,
            });
        }
        self.current().map_or(Slot::Nowhere, |epoch| {
            epoch.tossed(arm);
            let unit = epoch.push(arm, coin);
            Slot::Counted {
                epoch: epoch.id(),
                unit,
            }
        })
    }
}

/// Adds one, and stays at the largest value.
fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds one to the arm's counter.
fn count_arm(counters: &mut PerArm<u64>, arm: Arm) {
    count(counters.get_mut(arm));
}

/// Microseconds of a duration, the largest value when it is longer.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
