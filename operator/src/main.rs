//! smallfleet-operator
fn main() {}
