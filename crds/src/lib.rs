//! smallfleet-crds
