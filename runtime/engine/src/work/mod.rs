//! Work between the server and the model: who is let in, what runs next, and the thread that owns the session.

mod admission;
mod classification;
mod generation;
mod huge_pages;
mod progress;
mod thread;

pub use admission::{Admission, Full, Turn};
pub use classification::{Answer, ClassifierDesk, Job};
pub use generation::{Event, Finish, GenerationJob, GeneratorDesk, Refusal, Usage, events_of};
pub use thread::{Desk, Loaded, Started, start};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    #[error("the model failed: {0}")]
    Model(String),
}
