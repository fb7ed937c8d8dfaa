//! The engine from outside: real ONNX Runtime, real TLS, a real graph of a few kilobytes (tests/fixture).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken_files;
mod failures;
mod generation;
mod lifecycle;
mod limits;
mod protocols;
mod requests;
mod spoil;
mod support;
