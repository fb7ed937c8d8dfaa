//! smallfleet-runtime-core
