//! Two SmallModels on the same nodes, both in a rollout: at most one candidate a node (I9). The monitor of each counts over both.

use smallfleet_crds::reason;
use smallfleet_crds::status::SmallModelStatus;
use smallfleet_fake::lab::{Lab, MODEL};
use smallfleet_fake::server::Fault;
use smallfleet_fake::story::{ask, on_paused_clock};

const MODELS: [&str; 2] = [MODEL, "search"];
const LIMIT_SECONDS: usize = 600;

/// What was seen of two rollouts at the same time.
#[derive(Debug, Default)]
struct Seen {
    /// One waited for the other's candidate to go.
    waited: bool,
    /// Both had nodes.
    together: bool,
}

/// Runs until it holds of both. The leader is lost after so many seconds.
async fn until_both(
    lab: &mut Lab,
    lost_after_seconds: Option<usize>,
    holds: fn(&SmallModelStatus) -> bool,
) -> Seen {
    let mut seen = Seen::default();
    for second in 0..LIMIT_SECONDS {
        let both = MODELS.map(|model| lab.status_of(model));
        if both.iter().all(holds) {
            return seen;
        }
        seen.waited |= both.iter().any(waits_for_other);
        seen.together |= both.iter().all(has_nodes);
        if lost_after_seconds == Some(second) {
            lab.operators[0].connection.cut();
        }
        lab.second().await;
    }
    panic!("not both within {LIMIT_SECONDS} s: {lab:?}");
}

fn has_nodes(status: &SmallModelStatus) -> bool {
    let rollout = status.rollout.as_ref();
    rollout.is_some_and(|rollout| !rollout.wave.is_empty())
}

fn waits_for_other(status: &SmallModelStatus) -> bool {
    let rollout = status.rollout.as_ref();
    let blocked = rollout.and_then(|rollout| rollout.blocked.as_ref());
    blocked.is_some_and(|blocked| blocked.reason == reason::OTHER_CANDIDATE)
}

fn is_promoted(status: &SmallModelStatus) -> bool {
    let last = status.last_rollout.as_ref();
    status.rollout.is_none() && last.is_some_and(|last| last.outcome == "Promoted")
}

/// Both are asked for another revision at once, and both get it.
fn both_promoted(nodes: usize, lost_after_seconds: usize) -> Seen {
    on_paused_clock(async {
        let mut lab = Lab::of_models(nodes, &MODELS);
        lab.start_operator(Fault::None);
        until_both(&mut lab, None, |status| status.phase == "Stable").await;
        lab.rest().await;
        for model in MODELS {
            lab.patch_model(model, &ask("2")).await;
        }
        let seen = until_both(&mut lab, Some(lost_after_seconds), is_promoted).await;
        lab.rest().await;
        assert_eq!(lab.serving(), [lab.hash("2")].into());
        seen
    })
}

/// When the first leader is lost.
const LOST_AFTER_SECONDS: [usize; 5] = [0, 3, 6, 9, 12];

#[test]
fn two_models_on_one_node_wait_for_each_other_and_are_promoted() {
    for lost_after_seconds in LOST_AFTER_SECONDS {
        let seen = both_promoted(1, lost_after_seconds);
        assert!(seen.waited, "{lost_after_seconds}: {seen:?}");
    }
}

#[test]
fn two_models_on_three_nodes_roll_at_the_same_time() {
    for lost_after_seconds in LOST_AFTER_SECONDS {
        let seen = both_promoted(3, lost_after_seconds);
        assert!(seen.together, "{lost_after_seconds}: {seen:?}");
    }
}
