//! Work between the server and the model: who is let in, what runs together, and the thread that owns the session.

mod admission;
mod batch;
mod desk;
mod worker;

pub use admission::{Admission, Full};
pub use worker::{Answer, Job, Loaded, Started, WorkError, start};
