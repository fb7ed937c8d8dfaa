//! smallfleet-engine
