//! RolledBack: at rest, until spec asks for something else or someone retries.

use super::edits;
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::objects;

pub(super) fn step(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    let rollout = draft.rollout().clone();
    let rejected = !cx.is_refused(&rollout.to);
    let edited = desired.hash != rollout.to || (rejected && edits::settings_changed(cx, &rollout));
    if edited {
        // The next plan starts from rest: with the new revision, or with nothing to do.
        draft.status.rollout = None;
        return;
    }
    if let Some(stable) = &cx.persisted.stable {
        objects::daemon_set(cx, &stable.revision, draft);
    }
}
