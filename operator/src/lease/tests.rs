//! The election, step by step.

mod server;
mod takeover;

use self::server::Server;
use super::*;

fn epoch(standing: &watch::Receiver<Standing>) -> u64 {
    match *standing.borrow() {
        Standing::Leading { epoch } => epoch,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_leads_and_the_second_knows_where() {
    let server = Server::default();
    let (mut first, standing) = server.election("a");
    first.step(None).await.unwrap();
    assert!(epoch(&standing) > 0);
    let (mut second, standing) = server.election("b");
    assert!(second.step(None).await.is_none());
    let leader_address = Some("a:9443".to_owned());
    assert_eq!(*standing.borrow(), Standing::StandBy { leader_address });
}

#[tokio::test]
async fn a_restarted_container_leads_again_at_once_with_a_higher_epoch() {
    let server = Server::default();
    let (mut before, standing) = server.election("a");
    before.step(None).await.unwrap();
    let first = epoch(&standing);
    let (mut after, standing) = server.election("a");
    after.step(None).await.unwrap();
    assert!(epoch(&standing) > first);
}

#[tokio::test]
async fn a_renewal_keeps_the_epoch() {
    let server = Server::default();
    let (mut election, standing) = server.election("a");
    let held = election.step(None).await;
    let first = epoch(&standing);
    election.step(held).await.unwrap();
    assert_eq!(epoch(&standing), first);
    assert_eq!(epoch_of(&server.lease()), first);
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once() {
    let server = Server::default();
    let (election, standing) = server.election("a");
    let stop = CancellationToken::new();
    stop.cancel();
    election.run(stop, || {}).await;
    let first = epoch(&standing);
    assert_eq!(holder_of(&server.lease()), "");
    let (mut next, standing) = server.election("b");
    next.step(None).await.unwrap();
    assert!(epoch(&standing) > first);
}

#[tokio::test]
async fn who_lost_the_lease_to_another_stops() {
    let server = Server::default();
    let (mut election, standing) = server.election("a");
    let held = election.step(None).await;
    let (other, _) = server.election("b");
    let mut taken = other.held_by_us(&server.lease(), 99_999_999);
    taken.metadata.resource_version = Some("99".to_owned());
    server.kept().lease = Some(taken);
    assert!(election.step(held).await.is_none());
    assert_eq!(*standing.borrow(), Standing::Lost);
}

/// The API server wrote the renewal, and its answer was lost: the next one conflicts with ourselves.
#[tokio::test]
async fn a_renewal_whose_answer_was_lost_is_no_loss() {
    let server = Server::default();
    let (mut election, standing) = server.election("a");
    let held = election.step(None).await;
    server.kept().lost_answers = 1;
    let held = election.step(held).await;
    assert!(held.is_some());
    let held = election.step(held).await;
    assert!(held.is_some());
    let first = epoch(&standing);
    election.step(held).await.unwrap();
    assert_eq!(epoch(&standing), first);
}

/// Routers refuse a lower epoch than they have seen: a Lease that somebody deleted must not begin at 1 again.
#[test]
fn the_epoch_rises_over_a_lease_that_was_deleted_or_restored() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let first = next_epoch(None, at(1_800_000_000));
    let second = next_epoch(Some(first), at(1_800_000_010));
    assert!(second > first);
    assert!(next_epoch(None, at(1_800_000_200)) > second);
    assert!(next_epoch(Some(3), at(1_800_000_200)) > second);
}
