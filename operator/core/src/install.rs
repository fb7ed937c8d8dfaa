//! The first revision, and the way back from a lost status.

use smallfleet_crds::reason;
use smallfleet_crds::status::{Refused, RevisionRef};

use crate::constants::REFUSED_MAX;
use crate::desired::Desired;
use crate::draft::{Cx, Draft};
use crate::objects;
use crate::revision::{RevisionObject, Verdict};
use crate::rollout::begin;

/// No stable revision in status: it was lost, or there never was one.
pub(crate) fn begin(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    if let Some(stable) = lost_stable(cx) {
        draft.note(
            reason::STATUS_REBUILT,
            format!(
                "status was lost: revision {} serves, as the DaemonSet and the verdict labels say",
                stable.revision
            ),
        );
        draft.status.stable = Some(stable);
        draft.status.refused = lost_refusals(cx);
        return;
    }
    install(cx, desired, draft);
}

/// Makes a revision the first one: after the gate where the user asked for a minimum, else at once.
pub(crate) fn install(cx: &Cx<'_>, desired: &Desired<'_>, draft: &mut Draft) {
    objects::ensure_revision(cx, desired, draft);
    let has_minimum = |gate: &smallfleet_analysis::gate::GateSettings| gate.minimum.is_some();
    if desired.gate().as_ref().is_some_and(has_minimum) {
        begin::first(cx, desired, draft);
    } else {
        draft.note(
            reason::INSTALLING,
            format!(
                "revision {} is installed on every chosen node",
                desired.hash
            ),
        );
        draft.status.stable = Some(desired.reference());
    }
}

/// What the DaemonSet serves; where that was refused (a way back was cut short), the newest revision that was ever promoted.
fn lost_stable(cx: &Cx<'_>) -> Option<RevisionRef> {
    let live = objects::live_daemon_set(cx).filter(|live| !live.deleting);
    let in_template = live.filter(|live| cx.verdict(&live.revision) != Some(Verdict::Refused));
    if let Some(live) = in_template {
        let object = cx.revision(&live.revision);
        return Some(RevisionRef {
            revision: live.revision.clone(),
            digest: object.map_or_else(String::new, |object| object.revision.digest().to_owned()),
        });
    }
    let promoted = with_verdict(cx, Verdict::Stable);
    promoted
        .max_by_key(|object| object.number)
        .map(|object| RevisionRef {
            revision: object.hash.clone(),
            digest: object.revision.digest().to_owned(),
        })
}

fn with_verdict<'a>(cx: &Cx<'a>, verdict: Verdict) -> impl Iterator<Item = &'a RevisionObject> {
    let objects = cx.world.revisions.iter();
    objects.filter(move |object| object.verdict == Some(verdict))
}

fn lost_refusals(cx: &Cx<'_>) -> Vec<Refused> {
    let mut objects: Vec<_> = with_verdict(cx, Verdict::Refused).collect();
    objects.sort_by_key(|object| std::cmp::Reverse(object.number));
    let refusal = |object: &RevisionObject| Refused {
        revision: object.hash.clone(),
        reason: reason::REFUSED_BEFORE.to_owned(),
        effect: "it was refused before status was lost; the reason is not known any more"
            .to_owned(),
        ..Refused::default()
    };
    objects.into_iter().take(REFUSED_MAX).map(refusal).collect()
}
