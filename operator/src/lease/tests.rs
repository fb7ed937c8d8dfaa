//! The election against an API server that keeps one Lease and refuses outdated writes.

use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// The Lease as the API server has it.
#[derive(Clone, Debug, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    /// Writes that are carried out but answered with an error.
    lost_answers: Arc<Mutex<u32>>,
}

impl Server {
    fn leases(&self) -> Api<Lease> {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        };
        Api::namespaced(
            Client::new(tower::service_fn(answer), "smallfleet"),
            "smallfleet",
        )
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let (status, answer) = match parts.method {
            Method::GET => match self.kept() {
                Some(lease) => (StatusCode::OK, json!(lease)),
                None => (StatusCode::NOT_FOUND, refusal(404, "NotFound")),
            },
            _ => self.write(serde_json::from_slice(&bytes).unwrap()),
        };
        let bytes = serde_json::to_vec(&answer).unwrap();
        let response = Response::builder().status(status);
        response.body(Body::from(bytes)).unwrap()
    }

    fn write(&self, mut wish: Lease) -> (StatusCode, Value) {
        let mut kept = self.lease.lock().unwrap();
        let version = kept
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if wish.metadata.resource_version != version {
            return (StatusCode::CONFLICT, refusal(409, "Conflict"));
        }
        let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        wish.metadata.resource_version = Some(next.to_string());
        *kept = Some(wish.clone());
        let mut lost = self.lost_answers.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                refusal(503, "ServiceUnavailable"),
            );
        }
        (StatusCode::OK, json!(wish))
    }

    fn kept(&self) -> Option<Lease> {
        self.lease.lock().unwrap().clone()
    }

    fn election(&self, identity: &str) -> (Election, watch::Receiver<Standing>) {
        let address = format!("{identity}:9443");
        Election::new(self.leases(), identity.to_owned(), address)
    }
}

fn refusal(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code})
}

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
    assert_eq!(epoch_of(&server.kept().unwrap()), first);
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once() {
    let server = Server::default();
    let (election, standing) = server.election("a");
    let stop = CancellationToken::new();
    stop.cancel();
    election.run(stop, || {}).await;
    let first = epoch(&standing);
    assert_eq!(holder_of(&server.kept().unwrap()), "");
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
    let mut taken = other.held_by_us(&server.kept().unwrap(), 99_999_999);
    taken.metadata.resource_version = Some("99".to_owned());
    *server.lease.lock().unwrap() = Some(taken);
    assert!(election.step(held).await.is_none());
    assert_eq!(*standing.borrow(), Standing::Lost);
}

/// The API server wrote the renewal, and its answer was lost: the next one conflicts with ourselves.
#[tokio::test]
async fn a_renewal_whose_answer_was_lost_is_no_loss() {
    let server = Server::default();
    let (mut election, standing) = server.election("a");
    let held = election.step(None).await;
    *server.lost_answers.lock().unwrap() = 1;
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
