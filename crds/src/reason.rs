//! Reasons of conditions, events, refusals, blocks and nodes: every CamelCase word that status or an event of ours can give.
//!
//! Each has a heading in `docs/runbook.md`; a test compares the two.

macro_rules! reasons {
    ($({ $($name:ident = $text:literal,)+ })+) => {
        $($(pub const $name: &str = $text;)+)+

        /// All of them, each once.
        pub const ALL: &[&str] = &[$($($text,)+)+];
    };
}

reasons! {
    // ---- spec
    {
        VALID = "Valid",
        INVALID_SPEC = "InvalidSpec",
        NAME_CONFLICT = "NameConflict",
    }
    // ---- what serves
    {
        SERVING = "Serving",
        NOTHING_SERVES = "NothingServes",
        NO_NODES = "NoNodes",
        CONVERGED = "Converged",
        NODES_UNAVAILABLE = "NodesUnavailable",
        INSTALLING = "Installing",
        NOT_READY_IN_TIME = "NotReadyInTime",
        STATUS_REBUILT = "StatusRebuilt",
    }
    // ---- a rollout on its way
    {
        ROLLOUT_STARTED = "RolloutStarted",
        GATING = "Gating",
        GATE_PASSED = "GatePassed",
        BOUND_ONLY = "BoundOnly",
        PREPARING = "Preparing",
        TRAFFIC_RAISED = "TrafficRaised",
        ANALYZING = "Analyzing",
        STEP_APPROVED = "StepApproved",
        STEP_STARTED = "StepStarted",
        PROMOTING = "Promoting",
        PROMOTED = "Promoted",
        ROLLOUT_RESTARTED = "RolloutRestarted",
        ROLLOUT_ENDED = "RolloutEnded",
        COMMAND_REFUSED = "CommandRefused",
    }
    // ---- pauses; the first four are the values of `status.rollout.paused.reason`
    {
        USER = "User",
        APPROVAL = "Approval",
        INCONCLUSIVE = "Inconclusive",
        SAMPLE_RATIO = "SampleRatio",
        PAUSED = "Paused",
        ROLLOUT_PAUSED = "RolloutPaused",
        ROLLOUT_RESUMED = "RolloutResumed",
    }
    // ---- what a rollout waits for
    {
        ROLLOUT_BLOCKED = "RolloutBlocked",
        NODE_EXCLUDED = "NodeExcluded",
        IMAGE_PULL = "ImagePull",
        POD_REFUSED = "PodRefused",
        CANDIDATE_NOT_READY = "CandidateNotReady",
        CANDIDATE_UNREACHABLE = "CandidateUnreachable",
        UNSCHEDULABLE = "Unschedulable",
        DISRUPTED = "Disrupted",
        CONTAINER_NOT_CREATED = "ContainerNotCreated",
        POD_FAILED = "PodFailed",
        EXCLUDED = "Excluded",
        NODE_NOT_READY = "NodeNotReady",
        NODE_PRESSURE = "NodePressure",
        OTHER_CANDIDATE = "OtherCandidate",
        NO_STABLE_POD = "NoStablePod",
    }
    // ---- nodes that do not serve or are no longer used
    {
        NO_POD = "NoPod",
        NOT_READY = "NotReady",
        ROUTER_RESTARTED = "RouterRestarted",
    }
    // ---- what spec names is wrong
    {
        REJECTED = "Rejected",
        IMAGE_NOT_FOUND = "ImageNotFound",
        INVALID_IMAGE_NAME = "InvalidImageName",
        NO_MODEL = "NoModel",
        INVALID_MODEL = "InvalidModel",
        WRONG_TASK = "WrongTask",
        NO_DATASET = "NoDataset",
        LABELS_DO_NOT_MATCH = "LabelsDoNotMatch",
    }
    // ---- what a pod of a revision does wrong
    {
        OUT_OF_MEMORY = "OutOfMemory",
        EXITED = "Exited",
        UNRESPONSIVE = "Unresponsive",
        LOAD_FAILED = "LoadFailed",
        PROBE_FAILED = "ProbeFailed",
        EVALUATION_FAILED = "EvaluationFailed",
    }
    // ---- why a revision is refused, and what follows
    {
        REFUSED = "Refused",
        LATENCY_REGRESSION = "LatencyRegression",
        ERROR_REGRESSION = "ErrorRegression",
        GATE_FAILED = "GateFailed",
        CANDIDATE_FAULT = "CandidateFault",
        ROUTER_RESTARTS = "RouterRestarts",
        ABORTED = "Aborted",
        INTERRUPTED = "Interrupted",
        REFUSED_BEFORE = "RefusedBefore",
        STILL_REFUSED = "StillRefused",
        ROLLING_BACK = "RollingBack",
        ROLLED_BACK = "RolledBack",
        REVERTING = "Reverting",
    }
    // ---- counts that cannot be analysed
    {
        INVALID_ANALYSIS = "InvalidAnalysis",
        NO_EVIDENCE = "NoEvidence",
        CORRUPT_EVIDENCE = "CorruptEvidence",
    }
}
