//! A revision: the resolved, hashed part of a spec, and the ControllerRevision that keeps it.

use serde::{Deserialize, Serialize};
use smallfleet_crds::{Model, Runtime, Task};

/// Version of the rendering below. Raised when the same revision would render other pods; old versions stay renderable.
pub const RENDERER_VERSION: u32 = 1;

/// Everything that the pods of a revision are rendered from. Every default is resolved, quantities are canonical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revision {
    pub renderer_version: u32,
    pub task: Task,
    pub model: Model,
    /// `image` is never empty here.
    pub runtime: Runtime,
}

/// Verdict on a revision, kept as a label so that a lost status can be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stable,
    Refused,
    Superseded,
}

/// A ControllerRevision of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionObject {
    /// `<model>-<hash10>`.
    pub name: String,
    pub uid: String,
    /// Order of creation, `ControllerRevision.revision`.
    pub number: i64,
    pub hash: String,
    pub revision: Revision,
    pub verdict: Option<Verdict>,
}
