//! One module a table: what is measured and how. What is said about it is in `document`.

pub mod classify;
pub mod commit;
pub mod rest;
pub mod rollbacks;
pub mod router;
pub mod verdicts;
