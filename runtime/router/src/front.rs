//! The front: the HTTP/1.1 server that applications call.
//!
//! `request` reads and checks, `serve` decides and asks the arms, `answer` streams and counts, `listen` accepts and drains.

mod answer;
mod events;
mod headers;
pub mod listen;
mod refusal;
mod request;
mod serve;
mod stall;

pub use self::serve::Front;
