//! Times and limits of the control plane's decisions (`rollout.md` 8). Every one is an upper bound on something.

use std::time::Duration;

/// A router that hears nothing sends nothing to a candidate after this long.
pub const ROUTE_LEASE: Duration = Duration::from_secs(10);
/// Pure number changes are written at most this often during a rollout.
pub const NUMBERS_INTERVAL: Duration = Duration::from_secs(10);
/// The evidence is looked at this often.
pub const EVIDENCE_TICK: Duration = Duration::from_secs(1);
/// How often we look at what no watch would tell: deadlines of pods.
pub const PATIENCE_TICK: Duration = Duration::from_secs(5);
/// A pod that finds no room for this long will not find it by itself soon.
pub const UNSCHEDULABLE_PATIENCE: Duration = Duration::from_secs(60);
/// A pod that ended by itself is deleted after this long, so that one that ends at once is not made in a loop.
pub const ENDED_POD_AGE: Duration = Duration::from_secs(10);
/// A pod that the API server refused is tried again after this long.
pub const REFUSED_POD_RETRY: Duration = Duration::from_secs(30);
/// A candidate with traffic that does not answer for this long is shown.
pub const CANDIDATE_MISSING_PATIENCE: Duration = Duration::from_secs(10);
/// No Ready stable pod anywhere for this long: there is nothing left to protect.
pub const NOTHING_SERVES_PATIENCE: Duration = Duration::from_secs(60);

/// Candidates that start at the same time.
pub const CANDIDATES_AT_ONCE: usize = 10;
/// Nodes of a rollout that are remembered as excluded; a rollout that excluded that many excludes no more.
pub const EXCLUDED_MAX: usize = 20;
/// Nodes on which a pull, or a creation, is tried before it is taken for the fault of the registry, or of the namespace.
pub const TRIED_NODES: usize = 3;
/// Distinct nodes on which a fault makes it the candidate's.
pub const FAULTY_NODES: usize = 2;
/// Faults on the only node that make it the candidate's.
pub const FAULTS_ON_ONLY_NODE: u32 = 3;
/// Faults kept in status.
pub const FAULTS_MAX: usize = 10;
/// Refused revisions kept in status.
pub const REFUSED_MAX: usize = 5;
/// Refused revisions that are remembered by their ControllerRevisions, whatever the history's limit.
pub const REFUSALS_REMEMBERED: usize = 100;
/// Nodes named in one list of status.
pub const NODES_NAMED_MAX: usize = 10;
/// Characters of a text in status that came from elsewhere.
pub const TEXT_MAX: usize = 512;

/// Version of the coin, frozen with the rollout.
pub const COIN_VERSION: u32 = 1;
/// Characters of a rolloutID.
pub const ROLLOUT_ID_LENGTH: usize = 12;
