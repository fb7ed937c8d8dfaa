//! What happens to a request: decide, ask an arm, fall back to the other, stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, StatusCode};
use smallfleet_runtime_core::Arm;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::answer::{AnswerBody, Open, Reply, Streaming};
use super::headers;
use super::refusal::Refusal;
use super::request::{BodyBudget, Kept, Protocol};
use crate::config::Limits;
use crate::engine::EngineError;
use crate::engine::candidate::Candidate;
use crate::engine::own::OwnEngine;
use crate::metrics::Metrics;
use crate::plane::{Choice, Plane, Unit};

/// Answers requests.
#[derive(Debug)]
pub struct Front {
    plane: Arc<Plane>,
    own: OwnEngine,
    metrics: Arc<Metrics>,
    node: HeaderValue,
    draining: Arc<AtomicBool>,
    bodies: BodyBudget,
}

/// Why an arm gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("its queue is full")]
    QueueFull,
    #[error("it did not begin to answer in time")]
    TooSlow,
    #[error("its route was lost")]
    Unrouted,
    #[error("it is not ready")]
    NotReady,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Engine(#[from] EngineError),
}

impl Failed {
    /// The failure's name in metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooSlow => "too_slow",
            Self::Unrouted => "unrouted",
            Self::NotReady => "not_ready",
            Self::Status(_) => "status",
            Self::Engine(error) => error.reason(),
        }
    }

    /// What the client is told when no other arm can answer.
    fn refusal(&self, arm: Arm, limits: &Limits) -> Refusal {
        match self {
            Self::QueueFull => Refusal::QueueFull(arm),
            Self::TooSlow => Refusal::Deadline(limits.max_request_seconds),
            Self::Unrouted | Self::NotReady | Self::Status(_) | Self::Engine(_) => {
                Refusal::NoEngine
            }
        }
    }
}

/// A request on its way.
struct Asked {
    kept: Kept,
    protocol: Protocol,
    since: Instant,
    deadline: Instant,
}

impl Front {
    /// `node` is told in every answer. While `draining`, every answer asks its client for another connection: one that is idle
    /// when the process ends may be closed just as a request is written to it.
    #[must_use]
    pub fn new(
        plane: Arc<Plane>,
        own: OwnEngine,
        metrics: Arc<Metrics>,
        node: HeaderValue,
        draining: Arc<AtomicBool>,
    ) -> Self {
        Self {
            plane,
            own,
            metrics,
            node,
            draining,
            bodies: BodyBudget::default(),
        }
    }

    /// Answers a request. Dropping the future frees everything that the request held.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let protocol = Protocol::of(request.uri());
        let (parts, body) = request.into_parts();
        let limits = self.plane.limits();
        let kept = match Kept::read(parts, body, limits, &self.bodies).await {
            Ok(kept) => kept,
            Err(refusal) => {
                self.metrics.refused(refusal.name());
                return self.refuse(refusal, Arm::Stable, protocol, false);
            }
        };
        let since = Instant::now();
        let asked = Asked {
            kept,
            protocol,
            since,
            deadline: since + limits.deadline(),
        };
        match self
            .plane
            .choose(asked.kept.headers(), asked.kept.is_unit())
        {
            Choice::Stable(unit) => self.stable_first(&asked, unit).await,
            Choice::Candidate(candidate, unit) => {
                self.candidate_first(&asked, candidate, unit).await
            }
        }
    }

    async fn candidate_first(
        &self,
        asked: &Asked,
        candidate: Option<Arc<Candidate>>,
        unit: Option<Unit>,
    ) -> Response<AnswerBody> {
        let limit = asked.since + self.plane.limits().rescue();
        let failed = match candidate {
            None => Failed::NotReady,
            Some(candidate) => match self.ask_candidate(asked, &candidate, limit).await {
                Ok(reply) if rescuable(reply.head.status()) => Failed::Status(reply.head.status()),
                Ok(reply) => return self.deliver(asked, Arm::Candidate, reply, unit, false),
                Err(failed) => failed,
            },
        };
        self.note_fallback(Arm::Candidate, &failed);
        if let Some(unit) = unit {
            unit.fell_back();
        }
        match self.ask_stable(asked).await {
            Ok(reply) => self.deliver(asked, Arm::Stable, reply, None, true),
            Err(failed) => self.refuse(
                failed.refusal(Arm::Stable, self.plane.limits()),
                Arm::Stable,
                asked.protocol,
                true,
            ),
        }
    }

    async fn stable_first(&self, asked: &Asked, unit: Option<Unit>) -> Response<AnswerBody> {
        let failed = match self.ask_stable(asked).await {
            Ok(reply) => {
                // Equal paths: what is given up as too slow at the candidate counts as too slow here, though it is delivered.
                let in_time = Instant::now() <= asked.since + self.plane.limits().rescue();
                let unit = unit.filter(|_| in_time);
                return self.deliver(asked, Arm::Stable, reply, unit, false);
            }
            Err(failed) => failed,
        };
        // Stable's unit ends badly here, whoever answers it.
        drop(unit);
        let gone = matches!(failed, Failed::NotReady | Failed::Engine(_));
        if gone && let Some(candidate) = self.plane.routed_candidate() {
            self.note_fallback(Arm::Stable, &failed);
            if let Ok(reply) = self.ask_candidate(asked, &candidate, asked.deadline).await {
                return self.deliver(asked, Arm::Candidate, reply, None, true);
            }
        }
        let refusal = failed.refusal(Arm::Stable, self.plane.limits());
        self.refuse(refusal, Arm::Stable, asked.protocol, false)
    }

    async fn ask_stable(&self, asked: &Asked) -> Result<Reply, Failed> {
        let ask = async {
            let slot = self.plane.queue(Arm::Stable).enter().await;
            let slot = slot.map_err(|_| Failed::QueueFull)?;
            let client = self.own.client().ok_or(Failed::NotReady)?;
            let (head, lent) = client.send(asked.kept.to_engine()).await?;
            Ok(Reply {
                head,
                lent,
                slot,
                at_candidate: None,
            })
        };
        let reply = timeout_at(asked.deadline, ask)
            .await
            .unwrap_or(Err(Failed::TooSlow));
        if matches!(reply, Err(Failed::Engine(_))) {
            self.own.doubt();
        }
        reply
    }

    /// Ends with an error as soon as the candidate's route is lost.
    async fn ask_candidate(
        &self,
        asked: &Asked,
        candidate: &Arc<Candidate>,
        limit: Instant,
    ) -> Result<Reply, Failed> {
        let at_candidate = self.plane.at_candidate();
        let ask = async {
            let slot = self.plane.queue(Arm::Candidate).enter().await;
            let slot = slot.map_err(|_| Failed::QueueFull)?;
            let (head, lent) = candidate.client.send(asked.kept.to_engine()).await?;
            Ok((head, lent, slot))
        };
        let (head, lent, slot) = tokio::select! {
            biased;
            () = self.plane.unrouted(candidate) => Err(Failed::Unrouted),
            answer = timeout_at(limit, ask) => answer.unwrap_or(Err(Failed::TooSlow)),
        }?;
        let at_candidate = Some(at_candidate);
        Ok(Reply {
            head,
            lent,
            slot,
            at_candidate,
        })
    }

    fn note_fallback(&self, from: Arm, failed: &Failed) {
        self.metrics.fell_back(from, failed.reason());
        debug!(arm = from.name(), %failed, "the other arm answers");
    }

    fn deliver(
        &self,
        asked: &Asked,
        arm: Arm,
        reply: Reply,
        unit: Option<Unit>,
        fallback: bool,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = reply.head.into_parts();
        self.metrics.began(arm, parts.status);
        headers::clean_response(&mut parts.headers);
        let open = Open {
            arm,
            unit,
            since: asked.since,
            good: parts.status < StatusCode::BAD_REQUEST,
            lent: reply.lent,
            slot: reply.slot,
            at_candidate: reply.at_candidate,
            metrics: self.metrics.clone(),
        };
        let body = AnswerBody::Stream(Box::new(Streaming::new(body, asked.deadline, open)));
        let mut response = Response::from_parts(parts, body);
        self.sign(&mut response, arm, fallback);
        response
    }

    fn refuse(
        &self,
        refusal: Refusal,
        arm: Arm,
        protocol: Protocol,
        fallback: bool,
    ) -> Response<AnswerBody> {
        self.metrics.began(arm, refusal.status());
        let mut response = refusal
            .response(protocol)
            .map(|body| AnswerBody::Whole(Full::new(body)));
        self.sign(&mut response, arm, fallback);
        if refusal == Refusal::NoEngine {
            // The Service names the other nodes' pods by now or soon: over a kept connection the client would come back here.
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn sign(&self, response: &mut Response<AnswerBody>, arm: Arm, fallback: bool) {
        let headers = response.headers_mut();
        headers.insert(headers::ARM, HeaderValue::from_static(arm.name()));
        headers.insert(headers::NODE, self.node.clone());
        if self.draining.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if fallback {
            headers.insert(headers::FALLBACK, HeaderValue::from_static("true"));
        }
    }
}

/// Answers of the candidate that stable gives instead: its own failures, not the client's.
fn rescuable(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
