//! No rollout: the stable revision is installed, or kept as it should be.

use smallfleet_crds::reason;

use crate::action::Action;
use crate::constants::PATIENCE_TICK;
use crate::desired::Desired;
use crate::draft::{Cx, Draft, Trouble};
use crate::problem::{self, Blame};
use crate::revision::Verdict;
use crate::rollout::begin;
use crate::{install, objects};

pub(crate) fn advance(cx: &Cx<'_>, desired: &Desired<'_>, stable: &str, draft: &mut Draft) {
    let installed = cx.verdict(stable) == Some(Verdict::Stable);
    if desired.hash == stable {
        objects::ensure_revision(cx, desired, draft);
        objects::daemon_set(cx, stable, draft);
        if !installed {
            installing(cx, stable, draft);
        }
    } else if installed || cx.revision(stable).is_none() {
        objects::restore_daemon_set(cx, draft);
        begin::next(cx, desired, stable, draft);
    } else {
        // It never served everywhere, so there is nothing to protect.
        objects::label(cx, stable, Verdict::Superseded, draft);
        install::install(cx, desired, draft);
    }
}

/// Waits until every chosen Ready node serves; only then the revision is one to come back to.
fn installing(cx: &Cx<'_>, stable: &str, draft: &mut Draft) {
    if cx.fleet.converged_to(stable) && cx.fleet.ready().next().is_some() {
        if let Some(object) = cx.revision(stable) {
            draft.act(Action::LabelRevision {
                name: object.name.clone(),
                uid: object.uid.clone(),
                verdict: Verdict::Stable,
            });
        }
        return;
    }
    draft.look_again(PATIENCE_TICK);
    draft.trouble = trouble(cx, stable);
}

/// The first typed problem of a pod of this revision. It stalls at once when nothing but an edit helps, else when time is over.
pub(crate) fn trouble(cx: &Cx<'_>, revision: &str) -> Option<Trouble> {
    let late = cx.in_state() >= cx.candidate_ready_limit();
    let pods = cx.fleet.serving().flat_map(|site| &site.stable);
    let not_ready = pods.filter(|pod| pod.revision == revision && !pod.ready);
    let problem = not_ready
        .filter_map(|pod| Some((pod, problem::diagnose(pod, cx.fleet.router(pod))?)))
        .next();
    match problem {
        Some((pod, problem)) => Some(Trouble {
            stalled: late || problem.blame == Blame::Spec,
            message: format!("on node {}: {}", pod.node, problem.message),
            reason: problem.reason,
        }),
        None if late && cx.fleet.serving().next().is_some() => Some(Trouble {
            reason: reason::NOT_READY_IN_TIME.to_owned(),
            message: format!(
                "revision {revision} is not ready after candidateReadySeconds; it is tried further"
            ),
            stalled: true,
        }),
        None => None,
    }
}
