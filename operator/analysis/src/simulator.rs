//! Simulated rollouts: how often do the promises hold, and how many requests does a decision need?
//!
//! Pure as the rest: the seed is an input, time is simulated, nothing is read or written. What is simulated is the world
//! only (requests, engines, queues, failures). The rules are the real ones: every unit is tossed, kept in coin order and
//! booked by the routers' own counters (`smallfleet-runtime-core`, burn-in and maturity included), thresholds are frozen
//! by [`FrozenLatency`](crate::FrozenLatency), and [`assess`](crate::assess) gives the verdicts. That is why this module
//! is a feature of its own: the operator is built without it, and the analysis then knows nothing of the runtime.
//!
//! Each rule can be switched off ([`Split`], [`Queues`], [`Booking`]) to show that the promise breaks without it.

mod bare;
mod chance;
mod controls;
mod dice;
mod fleet;
mod node;
pub mod objectives;
mod requests_needed;
mod rollout;
mod scenario;
mod summed;
mod weather;

pub use bare::{events_lower_bound, mean_events_to_detect};
pub use chance::{at_most_with_confidence, most_by_chance};
pub use controls::{Control, Truth, controls};
pub use dice::Dice;
pub use objectives::{errors_only, latency_and_errors};
pub use requests_needed::{RequestsNeeded, requests_needed};
pub use rollout::{Ending, Limits, Outcome, Rollout, Stop, simulate};
pub use scenario::{Booking, Queues, Revision, Scenario, Service, Split, Step, Traffic};
pub use summed::{Summed, summed_thresholds};
