//! Classification: texts of several requests run together in batches.

mod batch;
mod desk;
mod worker;

pub use worker::{Answer, ClassifierDesk, Job, Worker};
