//! How the fleet rolls after the verdict: `spec.rollout.update`. The monitor holds I1 in every second of it.

use serde_json::{Value, json};
use smallfleet_crds::names::role;
use smallfleet_crds::status::RolloutState;
use smallfleet_fake::lab::Lab;
use smallfleet_fake::story::on_paused_clock;

/// Most nodes without a Ready stable pod, and with two pods, while a promotion rolls over four.
fn promoted(update: Value) -> (usize, usize) {
    on_paused_clock(async {
        let mut lab = Lab::at_rest(4).await;
        lab.edit("/rollout/update", update).await;
        lab.rest().await;
        lab.ask_for("2").await;
        lab.until_state(RolloutState::Promoting).await;
        let (mut without, mut twice) = (0, 0);
        while lab.status().rollout.is_some() {
            lab.second().await;
            without = without.max(4 - lab.serving_nodes().len());
            twice = twice.max(lab.pods(role::STABLE).len().saturating_sub(4));
        }
        lab.rest().await;
        assert_eq!(lab.serving(), [lab.hash("2")].into());
        (without, twice)
    })
}

#[test]
fn a_promotion_with_max_unavailable_takes_so_many_nodes_at_a_time() {
    assert_eq!(promoted(json!({"maxUnavailable": 2})), (2, 0));
    assert_eq!(promoted(json!({"maxUnavailable": "25%"})), (1, 0));
}

#[test]
fn a_promotion_with_max_surge_takes_no_node_away() {
    assert_eq!(promoted(json!({"maxSurge": 2})), (0, 2));
    assert_eq!(promoted(json!({})), (0, 1));
}
