//! The stream of a router in the wave: keep-alives and counts up, routes and echoes down.

use smallfleet_protocol::v1::{
    self, OperatorMessage, RouterMessage, operator_message, router_message,
};
use smallfleet_runtime_core::lease::{Echo, Refusal};
use smallfleet_runtime_core::route::{Instruction, Route};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::warn;

use super::Session;
use super::dial::SessionError;
use super::link::Link;
use super::wire;
use crate::metrics::SessionState;

/// Messages that wait for the network. Beyond it they are left out: counts are cumulative, and a lease that is not
/// renewed ends by itself.
const OUTGOING_MAX: usize = 32;
/// How long a last report may take at the end of the process.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a stream ended in peace.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The process ends.
    Stopped,
    /// The leader is elsewhere.
    Redirected(String),
    /// Check in again.
    Closed(&'static str),
}

/// An open stream.
struct Open<'a> {
    session: &'a Session,
    outgoing: mpsc::Sender<RouterMessage>,
    nonce: u64,
    /// The candidate still answers requests of a route that was lost: told again when it does not.
    ack_again: Option<v1::RouteAck>,
}

impl Session {
    pub(super) async fn stream(
        &self,
        link: &mut Link,
        stop: &CancellationToken,
    ) -> Result<StreamEnd, SessionError> {
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let mut open = Open {
            session: self,
            outgoing,
            nonce: rand::random::<u64>() >> 1,
            ack_again: None,
        };
        self.plane.stream_started();
        open.send(router_message::Message::Hello(self.hello()));
        let mut incoming = link.open(messages).await?;
        self.metrics.session(SessionState::Streaming);
        let end = open.run(&mut incoming, stop).await;
        match end {
            Ok(StreamEnd::Stopped) => {
                open.say_farewell(incoming).await;
                Ok(StreamEnd::Stopped)
            }
            Ok(end) => Ok(end),
            Err(status) => Err(link.refused(status)),
        }
    }
}

impl Open<'_> {
    async fn run(
        &mut self,
        incoming: &mut Streaming<OperatorMessage>,
        stop: &CancellationToken,
    ) -> Result<StreamEnd, tonic::Status> {
        let timing = self.session.timing;
        let mut keep_alives = interval(timing.keep_alive);
        let mut reports = interval(timing.report);
        keep_alives.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut engine = self.session.own.watch();
        let mut in_flight = self.session.plane.watch_candidate_in_flight();
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = incoming.message() => {
                    heard = Instant::now();
                    let Some(message) = message? else {
                        return Ok(StreamEnd::Closed("the operator closed it"));
                    };
                    if let Some(end) = message.message.and_then(|message| self.take(message)) {
                        return Ok(end);
                    }
                }
                _ = keep_alives.tick() => self.keep_alive(),
                _ = reports.tick() => self.report(),
                _ = engine.changed() => self.send(router_message::Message::Hello(self.session.hello())),
                _ = in_flight.changed() => self.acknowledge_again(*in_flight.borrow_and_update()),
                () = sleep_until(heard + timing.stream_silence) => {
                    return Ok(StreamEnd::Closed("the operator is silent"));
                }
                () = stop.cancelled() => return Ok(StreamEnd::Stopped),
            }
        }
    }

    fn take(&mut self, message: operator_message::Message) -> Option<StreamEnd> {
        use operator_message::Message;
        match message {
            Message::Welcome(welcome) if welcome.stream => None,
            Message::Welcome(_) => Some(StreamEnd::Closed("no longer needed")),
            Message::NotLeader(other) => Some(StreamEnd::Redirected(other.address)),
            Message::Route(route) => {
                self.take_route(route);
                None
            }
            Message::Lease(lease) => {
                self.session.plane.echoed(&Echo {
                    nonce: lease.nonce,
                    leader_epoch: lease.leader_epoch,
                    rollout_id: &lease.rollout_id,
                    sequence: lease.sequence,
                });
                None
            }
            Message::Stored(stored) => {
                self.session.plane.stored(&stored.ids);
                None
            }
        }
    }

    fn take_route(&mut self, route: v1::Route) {
        let route = match wire::route(route) {
            Ok(route) => route,
            Err(error) => {
                // The lease follows the operator's sequence, so what is held ends by itself.
                warn!(%error, "a route was not understood");
                return;
            }
        };
        match self.session.plane.take_route(route.clone()) {
            Ok(_) => self.acknowledge(&route),
            // A leader that does not know of the cut learns it here.
            Err(Refusal::Finished) => self.acknowledge(&Route {
                instruction: Instruction::Cut,
                ..route
            }),
            Err(Refusal::LowerLeaderEpoch { .. } | Refusal::LowerSequence { .. }) => {}
        }
    }

    fn acknowledge(&mut self, route: &Route) {
        let in_flight = *self.session.plane.watch_candidate_in_flight().borrow();
        let ack = wire::ack(route, in_flight);
        let lost = !matches!(route.instruction, Instruction::Grant(_));
        self.ack_again = (lost && in_flight > 0).then(|| ack.clone());
        self.send(router_message::Message::Ack(ack));
    }

    fn acknowledge_again(&mut self, in_flight: u32) {
        if in_flight > 0 {
            return;
        }
        if let Some(ack) = self.ack_again.take() {
            self.send(router_message::Message::Ack(v1::RouteAck {
                candidate_in_flight: 0,
                ..ack
            }));
        }
    }

    fn keep_alive(&mut self) {
        self.nonce += 1;
        self.session.plane.keep_alive_sent(self.nonce);
        let nonce = self.nonce;
        self.send(router_message::Message::KeepAlive(v1::KeepAlive { nonce }));
    }

    fn report(&mut self) {
        if self.session.plane.must_report() {
            self.send(router_message::Message::Report(self.counts()));
        }
    }

    fn counts(&self) -> v1::Report {
        let plane = &self.session.plane;
        wire::report(plane.report(), plane.candidate().as_deref())
    }

    fn send(&self, message: router_message::Message) {
        let message = Some(message);
        if self.outgoing.try_send(RouterMessage { message }).is_err() {
            warn!("the network is slow: a message to the operator was left out");
        }
    }

    /// The last counts, then the end of our side; the operator has read them when it ends its side.
    async fn say_farewell(self, mut incoming: Streaming<OperatorMessage>) {
        let plane = &self.session.plane;
        if plane.must_report() {
            plane.settle();
            self.send(router_message::Message::Report(self.counts()));
        }
        drop(self);
        let read = async { while let Ok(Some(_)) = incoming.message().await {} };
        if timeout(FAREWELL, read).await.is_err() {
            warn!("the operator did not confirm the last report in time");
        }
    }
}
