//! Whose fault it is (`rollout.md` 5): what the API server itself refuses.

use smallfleet_crds::names::role;
use smallfleet_crds::reason;
use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use smallfleet_fake::lab::Lab;
use smallfleet_fake::server::{Fault, Refusal};
use smallfleet_fake::story::{Ending, PROMOTION, on_paused_clock};

fn is_blocked(status: &SmallModelStatus) -> bool {
    let rollout = status.rollout.as_ref();
    let blocked = rollout.and_then(|rollout| rollout.blocked.as_ref());
    blocked.is_some_and(|blocked| blocked.reason == reason::POD_REFUSED)
}

/// Candidates are refused so for two minutes of a promotion, which ends as without.
fn refused_for_a_while(refusal: fn(&str) -> Refusal, says: &str) {
    let resting = PROMOTION.resting();
    let sound = PROMOTION.tell(&resting, Fault::None);
    on_paused_clock(async {
        let mut lab = Lab::from_snapshot(&resting);
        lab.start_operator(Fault::None);
        lab.refuse_candidates(Some(refusal));
        lab.second().await;
        lab.ask_for("2").await;
        lab.until(60, "block", is_blocked).await;
        let before = lab.creations();
        lab.seconds(120).await;
        assert!((3..=5).contains(&(lab.creations() - before)), "every 30 s");
        let rollout = lab.rollout();
        assert_eq!(rollout.state, RolloutState::Preparing, "{lab:?}");
        let blocked = rollout.blocked.expect("it is blocked still");
        assert_eq!(blocked.reason, reason::POD_REFUSED);
        assert!(blocked.message.contains(says), "{}", blocked.message);
        assert_eq!(lab.verdicts()[&lab.hash("2")], "", "no verdict");
        assert!(lab.status().refused.is_empty());
        assert_eq!(lab.pods(role::CANDIDATE), []);
        lab.refuse_candidates(None);
        lab.until(400, "promotion", PROMOTION.end).await;
        lab.rest().await;
        assert_eq!(Ending::of(&lab), sound.ending);
    });
}

#[test]
fn a_quota_blocks_and_refuses_no_revision() {
    let says = "exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2";
    refused_for_a_while(
        |pod| {
            Refusal::forbidden(format!(
                "pods \"{pod}\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2"
            ))
        },
        says,
    );
}

/// A maximum is answered as a quota is; a default limit below what the pod requests makes the pod invalid.
#[test]
fn a_limit_range_blocks_and_refuses_no_revision() {
    refused_for_a_while(
        |pod| {
            Refusal::invalid(format!(
                "Pod \"{pod}\" is invalid: spec.containers[0].resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit of 500m"
            ))
        },
        "must be less than or equal to cpu limit of 500m",
    );
}
