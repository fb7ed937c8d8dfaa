//! The engines that a router talks to. Both arms take equal paths: one client type, the same settings, a pool each.

pub mod candidate;
mod client;
pub mod own;
mod pin;
mod pool;
mod probe;

pub use self::client::{EngineClient, EngineError, Lent};
pub use self::pin::{Fingerprint, InvalidFingerprint};
