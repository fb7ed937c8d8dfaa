//! kubectl-smallfleet
fn main() {}
