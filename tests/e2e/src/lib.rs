//! smallfleet-e2e
