//! The API as a user meets it: the generated CRD, and manifests that it takes or refuses.

#![allow(clippy::unwrap_used)] // a helper of a test fails the test

mod admit;
mod generated;
mod manifests;
#[path = "../../examples/crdgen/render.rs"]
mod render;
mod runbook;
