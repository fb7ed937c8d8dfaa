//! An API server that keeps one Lease and refuses outdated writes.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;

/// The Lease as the API server has it.
#[derive(Clone, Debug, Default)]
pub struct Server(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
pub struct Kept {
    pub lease: Option<Lease>,
    /// When the Lease was written last.
    pub written: Option<Instant>,
    /// Writes that are carried out but answered with an error.
    pub lost_answers: u32,
    pub conflicts: u32,
}

/// How one replica reaches the API server.
#[derive(Clone, Copy, Debug, Default)]
pub enum Link {
    #[default]
    Works,
    Fails,
    Hangs,
    /// Requests get there at once, answers come back after this long.
    Slow(Duration),
}

pub type SharedLink = Arc<Mutex<Link>>;

impl Server {
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    pub fn lease(&self) -> Lease {
        self.kept().lease.clone().unwrap()
    }

    pub fn election(&self, identity: &str) -> (Election, watch::Receiver<Standing>) {
        self.election_over(&SharedLink::default(), identity)
    }

    pub fn election_over(
        &self,
        link: &SharedLink,
        identity: &str,
    ) -> (Election, watch::Receiver<Standing>) {
        let (server, link) = (self.clone(), Arc::clone(link));
        let answer = move |request: Request<Body>| {
            let (server, link) = (server.clone(), *link.lock().unwrap());
            async move { Ok::<_, std::convert::Infallible>(server.answer(request, link).await) }
        };
        let client = Client::new(tower::service_fn(answer), "smallfleet");
        let address = format!("{identity}:9443");
        let leases = Api::namespaced(client, "smallfleet");
        Election::new(leases, identity.to_owned(), address)
    }

    async fn answer(&self, request: Request<Body>, link: Link) -> Response<Body> {
        let (status, answer) = match link {
            Link::Works => self.carry_out(request).await,
            Link::Fails => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Link::Hangs => std::future::pending().await,
            Link::Slow(time) => {
                let answer = self.carry_out(request).await;
                sleep(time).await;
                answer
            }
        };
        let bytes = serde_json::to_vec(&answer).unwrap();
        let response = Response::builder().status(status);
        response.body(Body::from(bytes)).unwrap()
    }

    async fn carry_out(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        if parts.method != Method::GET {
            return self.write(serde_json::from_slice(&bytes).unwrap());
        }
        match &self.kept().lease {
            Some(lease) => (StatusCode::OK, json!(lease)),
            None => refusal(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn write(&self, mut wish: Lease) -> (StatusCode, Value) {
        let mut kept = self.kept();
        let version = kept
            .lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if wish.metadata.resource_version != version {
            kept.conflicts += 1;
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        wish.metadata.resource_version = Some(next.to_string());
        kept.lease = Some(wish.clone());
        kept.written = Some(Instant::now());
        if kept.lost_answers > 0 {
            kept.lost_answers -= 1;
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        (StatusCode::OK, json!(wish))
    }
}

fn refusal(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    let body = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code});
    (status, body)
}
