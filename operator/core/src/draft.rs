//! What a plan knows and what it puts together.

use std::time::Duration;

use smallfleet_crds::status::{RolloutStatus, SmallModelStatus};
use smallfleet_crds::{FlagState, SmallModelSpec};

use crate::action::{Action, Event, Plan};
use crate::desired::Desired;
use crate::fleet::Fleet;
use crate::render::Owner;
use crate::revision::{RevisionObject, Verdict};
use crate::status;
use crate::validate::InvalidSpec;
use crate::world::{OwnCut, Slot, World};

/// Everything that the steps of a plan read.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub world: &'a World,
    pub owner: Owner,
    /// Status as persisted: what may be acted on.
    pub persisted: SmallModelStatus,
    pub fleet: Fleet<'a>,
    pub desired: Result<Desired<'a>, InvalidSpec>,
    /// An object of another owner stands under a name that we need.
    pub conflict: Option<String>,
}

impl<'a> Cx<'a> {
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            owner: Owner::of(&world.model),
            persisted: world.model.status.clone().unwrap_or_default(),
            fleet: Fleet::new(world, &world.model.spec.placement),
            desired: Desired::read(world),
            conflict: conflict(world),
        }
    }

    pub fn spec(&self) -> &'a SmallModelSpec {
        &self.world.model.spec
    }

    pub fn flag_enabled(&self) -> bool {
        self.spec().feature_flag.state == FlagState::Enabled
    }

    /// Nothing may be raised: the user paused, the leader has not heard enough, or spec cannot be followed.
    pub fn held(&self) -> bool {
        self.spec().rollout.paused
            || self.world.leader.resuming
            || self.desired.is_err()
            || self.conflict.is_some()
    }

    pub fn revision(&self, hash: &str) -> Option<&'a RevisionObject> {
        self.world
            .revisions
            .iter()
            .find(|object| object.hash == hash)
    }

    pub fn verdict(&self, hash: &str) -> Option<Verdict> {
        self.revision(hash).and_then(|object| object.verdict)
    }

    /// Refused by status, or by its label where status was lost.
    pub fn is_refused(&self, hash: &str) -> bool {
        let in_status = |refused: &smallfleet_crds::status::Refused| refused.revision == hash;
        self.persisted.refused.iter().any(in_status) || self.verdict(hash) == Some(Verdict::Refused)
    }

    /// Since this leader saw the rollout in its present state, or the model at rest.
    pub fn in_state(&self) -> Duration {
        self.world.clock.in_state
    }

    pub fn candidate_ready_limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec().rollout.candidate_ready_seconds))
    }
}

fn conflict(world: &World) -> Option<String> {
    let foreign = [
        foreign(&world.daemon_set),
        foreign(&world.service),
        foreign(&world.session_config),
        foreign(&world.evidence),
        world.stranger.as_deref(),
    ];
    foreign.into_iter().flatten().next().map(str::to_owned)
}

fn foreign<T>(slot: &Slot<T>) -> Option<&str> {
    match slot {
        Slot::Foreign(text) => Some(text),
        Slot::Absent | Slot::Ours(_) => None,
    }
}

/// Why something that should serve does not, for the conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub reason: String,
    pub message: String,
    /// It will not go away by itself.
    pub stalled: bool,
}

/// A plan in the making. Actions stand in groups, so that the order of `rollout.md` I3 cannot be missed.
#[derive(Debug)]
pub(crate) struct Draft {
    /// What is to be persisted.
    pub status: SmallModelStatus,
    pub trouble: Option<Trouble>,
    /// The wave's missing candidates are to be created, if the rollout still goes on when the plan is made.
    pub wants_candidates: bool,
    cut: Option<OwnCut>,
    first: Vec<Action>,
    act: Vec<Action>,
    events: Vec<Event>,
    requeue: Option<Duration>,
}

impl Draft {
    pub fn new(cx: &Cx<'_>) -> Self {
        Self {
            status: cx.persisted.clone(),
            trouble: None,
            wants_candidates: false,
            cut: None,
            first: Vec::new(),
            act: Vec::new(),
            events: Vec::new(),
            requeue: None,
        }
    }

    /// Before anything else: nothing that fails may keep the traffic.
    pub fn cut(&mut self, cut: OwnCut) {
        self.cut = Some(cut);
    }

    /// Before status is written: verdict labels, evidence, revisions.
    pub fn first(&mut self, action: Action) {
        self.first.push(action);
    }

    /// The evidence to be stored: one write a plan, the last says most.
    pub fn save_evidence(&mut self, action: Action) {
        self.first
            .retain(|before| !matches!(before, Action::SaveEvidence { .. }));
        self.first(action);
    }

    /// After status is written: only what the *persisted* status allows already.
    pub fn act(&mut self, action: Action) {
        self.act.push(action);
    }

    pub fn note(&mut self, reason: &'static str, message: String) {
        self.events.push(Event {
            warning: false,
            reason,
            message,
        });
    }

    pub fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push(Event {
            warning: true,
            reason,
            message,
        });
    }

    /// Look again after at most this long.
    pub fn look_again(&mut self, after: Duration) {
        self.requeue = Some(self.requeue.map_or(after, |before| before.min(after)));
    }

    pub fn rollout(&mut self) -> &mut RolloutStatus {
        self.status
            .rollout
            .as_mut()
            .expect("the states of a rollout are entered with a rollout in status only")
    }

    /// Raised with every change of a route.
    pub fn next_sequence(&mut self) {
        self.rollout().sequence += 1;
    }

    pub fn finish(mut self, cx: &Cx<'_>) -> Plan {
        status::assemble(cx, &mut self);
        let cut = self.cut.take().map(|cut| Action::Cut(Box::new(cut)));
        let mut actions: Vec<_> = cut.into_iter().chain(self.first.drain(..)).collect();
        match status::due(cx, &self.status) {
            status::Due::Now => actions.push(Action::PersistStatus(Box::new(self.status.clone()))),
            status::Due::In(wait) => self.look_again(wait),
            status::Due::Never => {}
        }
        // Status says it, so people are told: an action that fails must not swallow the event, which no later plan repeats.
        actions.extend(self.events.drain(..).map(Action::Emit));
        actions.append(&mut self.act);
        Plan {
            actions,
            requeue: self.requeue,
        }
    }
}
