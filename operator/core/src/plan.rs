//! The driver: reads the world once, makes at most one transition, tidies up, and says what is to be written.

use crate::action::Plan;
use crate::constants::{EVIDENCE_TICK, PATIENCE_TICK};
use crate::draft::{Cx, Draft};
use crate::world::World;
use crate::{install, objects, rest, rollout, wave};

/// What is to be done for one SmallModel, and when to look again. The same world gives the same plan.
#[must_use]
pub fn plan(world: &World) -> Plan {
    if world.model.metadata.deletion_timestamp.is_some() {
        // Owner references clean up; the operator withdraws the routes.
        return Plan::default();
    }
    let cx = Cx::new(world);
    let mut draft = Draft::new(&cx);
    advance(&cx, &mut draft);
    if world.leader.resuming {
        // That time passes, or that a router has nothing to report, wakes nobody.
        draft.look_again(EVIDENCE_TICK);
    }
    wave::create_missing(&cx, &mut draft);
    wave::announce_block(&cx, &mut draft);
    objects::tidy(&cx, &mut draft);
    draft.finish(&cx)
}

fn advance(cx: &Cx<'_>, draft: &mut Draft) {
    if cx.conflict.is_some() {
        // A stranger's object carries no label of ours, so no watch tells when it goes.
        draft.look_again(PATIENCE_TICK);
    }
    let desired = match &cx.desired {
        Ok(desired) if cx.conflict.is_none() => desired,
        // Nothing is raised or applied; a rollback stays armed, and what served goes on serving.
        Ok(_) | Err(_) => return rollout::hold(cx, draft),
    };
    objects::front(cx, desired, draft);
    if cx.persisted.rollout.is_none() {
        rollout::answer(cx, draft);
    }
    draft.status.target = Some(desired.reference());
    match (&cx.persisted.stable, &cx.persisted.rollout) {
        (_, Some(_)) => rollout::advance(cx, desired, draft),
        (Some(stable), None) => rest::advance(cx, desired, &stable.revision, draft),
        (None, None) => install::begin(cx, desired, draft),
    }
}
