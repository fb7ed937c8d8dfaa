//! smallfleet-router
