//! smallfleet-runtime
fn main() {}
