//! The API of Smallfleet: the `SmallModel` custom resource, its defaults, and the names that other parts agree on.
//!
//! Knows nothing about how a resource is reconciled. Every field here is honoured by the operator or the runtime;
//! a field that is not honoured yet is not here.

pub mod analysis;
pub mod command;
pub mod names;
pub mod percent;
pub mod reason;
pub mod rollout;
pub mod runtime;
pub mod schema;
pub mod smallmodel;
pub mod status;

pub use analysis::{
    AccuracyObjective, Analysis, Dataset, ErrorsObjective, LatencyObjective, LatencyPercentile,
    Objective, ObjectiveType,
};
pub use command::{Command, CommandVerb, ParseCommandError};
pub use percent::{ParsePercentError, Percent};
pub use rollout::{Approval, OnInconclusive, Rollout, Step, Update};
pub use runtime::{EnvVar, Limits, PodMetadata, Requests, Resources, Runtime};
pub use schema::crd;
pub use smallmodel::{
    FeatureFlag, FlagState, Locality, Model, Override, OverrideTarget, Placement, Service,
    SmallModel, SmallModelSpec, Task,
};
pub use status::SmallModelStatus;
