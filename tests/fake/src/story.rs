//! Whole rollouts: what a user does and when, told again for every fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use smallfleet_core::revision::Verdict;
use smallfleet_crds::reason;
use smallfleet_crds::status::{RolloutState, SmallModelStatus};

use crate::lab::{Behavior, Lab, Resting, image};
use crate::server::Fault;

/// Longest story, seconds.
const LIMIT: u64 = 400;

/// An edit of the SmallModel as soon as its status is as said.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    pub when: fn(&SmallModelStatus) -> bool,
    pub patch: fn() -> Value,
}

/// One rollout from a cluster at rest to a cluster at rest.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    pub name: &'static str,
    /// What happens to the cluster before.
    pub setup: fn(Lab) -> BoxFuture<'static, Lab>,
    pub acts: &'static [Act],
    /// The story is over.
    pub end: fn(&SmallModelStatus) -> bool,
    /// Tag of the revision that serves then.
    pub serves: &'static str,
    /// Tags of the revisions that are refused then, and why; newest first.
    pub refused: &'static [(&'static str, &'static str)],
}

/// What has to be the same at the end, whatever went wrong (I8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub stable: String,
    pub phase: String,
    pub conditions: BTreeSet<String>,
    pub outcome: String,
    /// Revisions and reasons.
    pub refused: Vec<(String, String)>,
    pub state: Option<String>,
    /// Revision in the DaemonSet's template.
    pub template: String,
    /// Revisions of all Ready stable pods.
    pub serving: BTreeSet<String>,
    /// Labels of the ControllerRevisions.
    pub verdicts: BTreeMap<String, String>,
}

impl Ending {
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let status = lab.status();
        Self {
            stable: lab.stable(),
            phase: status.phase,
            conditions: lab.conditions(),
            outcome: status
                .last_rollout
                .map(|last| last.outcome)
                .unwrap_or_default(),
            refused: status
                .refused
                .into_iter()
                .map(|one| (one.revision, one.reason))
                .collect(),
            state: status.rollout.map(|rollout| format!("{:?}", rollout.state)),
            template: lab.template(),
            serving: lab.serving(),
            verdicts: lab.verdicts(),
        }
    }
}

/// How a telling went.
#[derive(Clone, Debug)]
pub struct Told {
    pub ending: Ending,
    /// Calls of the first operator.
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    /// The fault happened.
    pub happened: bool,
}

/// Runs on a clock of its own that stands still while anything has work to do.
///
/// # Panics
/// When no runtime can be made.
pub fn on_paused_clock<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime of one thread").block_on(future)
}

impl Story {
    /// The cluster from which every telling begins.
    #[must_use]
    pub fn resting(&self) -> Resting {
        on_paused_clock(async {
            let lab = (self.setup)(Lab::at_rest(2).await).await;
            lab.snapshot()
        })
    }

    /// Tells it with one fault.
    #[must_use]
    pub fn tell(&self, resting: &Resting, fault: Fault) -> Told {
        on_paused_clock(async {
            let mut lab = Lab::from_snapshot(resting);
            lab.start_operator(fault);
            let connection = lab.operators[0].connection.clone();
            lab.second().await;
            for act in self.acts {
                lab.until(LIMIT, "moment to act", act.when).await;
                lab.patch(&(act.patch)()).await;
            }
            lab.until(LIMIT, "end", self.end).await;
            lab.rest().await;
            let violations = lab
                .monitor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .violations()
                .to_vec();
            assert!(violations.is_empty(), "{violations:#?}");
            let ending = Ending::of(&lab);
            self.is_end(&ending, &lab);
            Told {
                ending,
                reads: connection.read_paths(),
                writes: connection.writes(),
                happened: connection.happened(),
            }
        })
    }

    /// Status, the DaemonSet, its pods and the labels all say what the story says.
    fn is_end(&self, ending: &Ending, lab: &Lab) {
        let serves = lab.hash(self.serves);
        assert_eq!(ending.stable, serves, "{lab:?}");
        assert_eq!(ending.template, serves, "the template: {lab:?}");
        assert_eq!(ending.serving, [serves.clone()].into(), "the pods: {lab:?}");
        let refused = self.refused.iter();
        let refused: Vec<_> = refused
            .map(|(tag, reason)| (lab.hash(tag), (*reason).to_owned()))
            .collect();
        assert_eq!(ending.refused, refused, "{lab:?}");
        let verdict = |hash: &String| ending.verdicts.get(hash).map(String::as_str);
        assert_eq!(verdict(&serves), Some(Verdict::Stable.as_str()), "{lab:?}");
        for (hash, _) in &refused {
            assert_eq!(verdict(hash), Some(Verdict::Refused.as_str()), "{lab:?}");
        }
    }
}

fn nothing(lab: Lab) -> BoxFuture<'static, Lab> {
    Box::pin(std::future::ready(lab))
}

/// Asks for the revision of this tag.
#[must_use]
pub fn ask(tag: &str) -> Value {
    json!({"spec": {"model": {"image": image(tag)}}})
}

fn in_state(status: &SmallModelStatus, state: RolloutState) -> bool {
    status
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.state == state)
}

fn ended(status: &SmallModelStatus, outcome: &str) -> bool {
    status.rollout.is_none()
        && status.phase == "Stable"
        && status
            .last_rollout
            .as_ref()
            .is_some_and(|last| last.outcome == outcome)
}

fn rolled_back(status: &SmallModelStatus) -> bool {
    in_state(status, RolloutState::RolledBack)
}

const ASK_FOR_2: Act = Act {
    when: |_| true,
    patch: || ask("2"),
};

/// A good revision, step by step.
pub const PROMOTION: Story = Story {
    name: "promotion",
    setup: nothing,
    acts: &[ASK_FOR_2],
    end: |status| ended(status, "Promoted"),
    serves: "2",
    refused: &[],
};

/// A slow revision, by evidence.
pub const ROLLBACK: Story = Story {
    name: "rollback",
    setup: |mut lab| {
        lab.behave("2", Behavior::Slow);
        nothing(lab)
    },
    acts: &[ASK_FOR_2],
    end: rolled_back,
    serves: "1",
    refused: &[("2", reason::LATENCY_REGRESSION)],
};

/// A third revision while the second is analyzed.
pub const SUPERSEDED: Story = Story {
    name: "superseded",
    setup: nothing,
    acts: &[
        ASK_FOR_2,
        Act {
            when: |status| in_state(status, RolloutState::Analyzing),
            patch: || ask("3"),
        },
    ],
    end: |status| ended(status, "Promoted"),
    serves: "3",
    refused: &[],
};

/// Back to the old revision while the new one rolls over the fleet.
pub const REVERTED: Story = Story {
    name: "reverted",
    setup: nothing,
    acts: &[
        ASK_FOR_2,
        Act {
            when: |status| in_state(status, RolloutState::Promoting),
            patch: || ask("1"),
        },
    ],
    end: |status| ended(status, "Cancelled"),
    serves: "1",
    refused: &[],
};

/// A revision that was refused before.
pub const REFUSED: Story = Story {
    name: "refused",
    setup: |mut lab| {
        Box::pin(async move {
            lab.behave("2", Behavior::Slow);
            lab.ask_for("2").await;
            lab.until_state(RolloutState::RolledBack).await;
            lab.ask_for("1").await;
            lab.until(60, "rest", |status| status.phase == "Stable")
                .await;
            lab.rest().await;
            lab
        })
    },
    acts: &[ASK_FOR_2],
    end: rolled_back,
    serves: "1",
    refused: &[("2", reason::LATENCY_REGRESSION)],
};

/// A revision that is wrong on the labelled set.
pub const GATE_FAILED: Story = Story {
    name: "gate failed",
    setup: |mut lab| {
        Box::pin(async move {
            lab.behave("2", Behavior::Wrong);
            let dataset = json!({"image": "registry/data@sha256:d"});
            let objectives = json!([
                {"name": "latency", "type": "Latency"},
                {"name": "gate", "type": "Accuracy", "accuracy": {"dataset": dataset, "minimum": "90%"}},
            ]);
            lab.edit("/rollout/analysis/objectives", objectives).await;
            lab.rest().await;
            lab
        })
    },
    acts: &[ASK_FOR_2],
    end: rolled_back,
    serves: "1",
    refused: &[("2", reason::GATE_FAILED)],
};
