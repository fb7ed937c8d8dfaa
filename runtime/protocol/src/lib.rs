//! smallfleet-protocol
