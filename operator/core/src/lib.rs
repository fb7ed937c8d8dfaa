//! smallfleet-core
