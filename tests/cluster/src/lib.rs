//! smallfleet-cluster
