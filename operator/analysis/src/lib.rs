//! smallfleet-analysis
