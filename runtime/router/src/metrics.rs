//! Every metric of the router. Labels are bounded: arms, status codes and names from enums.

use std::time::Duration;

use hyper::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use smallfleet_runtime_core::Arm;
use smallfleet_runtime_core::route::Instruction;

use crate::engine::own::OwnEngine;
use crate::plane::Plane;

/// Bounds of the latency histogram, seconds.
const BUCKETS: [f64; 16] = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0,
];

/// How the router stands with the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Not configured.
    Off,
    /// No answer.
    Disconnected,
    /// The last check-in was answered.
    CheckedIn,
    /// A stream is open.
    Streaming,
}

const SESSION_STATES: [(SessionState, &str); 4] = [
    (SessionState::Off, "off"),
    (SessionState::Disconnected, "disconnected"),
    (SessionState::CheckedIn, "checked_in"),
    (SessionState::Streaming, "streaming"),
];

const ROUTE_KINDS: [&str; 4] = ["none", "grant", "withdraw", "cut"];

/// The registry of a router process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    broken: IntCounterVec,
    fallbacks: IntCounterVec,
    refused: IntCounterVec,
    working: IntGaugeVec,
    waiting: IntGaugeVec,
    route: IntGaugeVec,
    share: Gauge,
    lease: Gauge,
    open_units: IntGauge,
    candidate_ready: IntGauge,
    engine_ready: IntGauge,
    engine_restarts: IntGauge,
    session: IntGaugeVec,
}

impl Metrics {
    /// Fails only when two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let new = Maker(&registry);
        let metrics = Self {
            requests: new.counters(
                "requests_total",
                "Answers begun, by arm and status code",
                &["arm", "code"],
            )?,
            seconds: new.seconds(
                "request_seconds",
                "Time to the last byte of complete answers, by arm",
                &["arm"],
            )?,
            broken: new.counters(
                "broken_answers_total",
                "Answers that ended before their last byte, by arm",
                &["arm"],
            )?,
            fallbacks: new.counters(
                "fallbacks_total",
                "Requests that the other arm answered, by the arm that failed and why",
                &["arm", "reason"],
            )?,
            refused: new.counters(
                "refused_total",
                "Requests refused before an arm was chosen, by reason",
                &["reason"],
            )?,
            working: new.gauges("working", "Requests that an arm works on", &["arm"])?,
            waiting: new.gauges("waiting", "Requests that wait for an arm", &["arm"])?,
            route: new.gauges(
                "route",
                "1 for the kind of the route that is held",
                &["kind"],
            )?,
            share: new.fraction(
                "candidate_share",
                "Share of the candidate at the coin; 0 without a live lease",
            )?,
            lease: new.fraction("lease_seconds", "Time left of the route's lease")?,
            open_units: new.gauge("open_units", "Units that wait for maturity")?,
            candidate_ready: new
                .gauge("candidate_ready", "1 while the candidate's engine is ready")?,
            engine_ready: new.gauge("engine_ready", "1 while the own engine is ready")?,
            engine_restarts: new.gauge("engine_restarts", "Engine processes seen, less one")?,
            session: new.gauges(
                "session",
                "1 for the state of the session with the operator",
                &["state"],
            )?,
            registry,
        };
        metrics.session(SessionState::Off);
        Ok(metrics)
    }

    /// An answer has begun.
    pub fn began(&self, arm: Arm, status: StatusCode) {
        self.requests
            .with_label_values(&[arm.name(), status.as_str()])
            .inc();
    }

    /// An answer is complete.
    pub fn answered(&self, arm: Arm, time: Duration) {
        self.seconds
            .with_label_values(&[arm.name()])
            .observe(time.as_secs_f64());
    }

    /// An answer broke off.
    pub fn broken(&self, arm: Arm) {
        self.broken.with_label_values(&[arm.name()]).inc();
    }

    /// The other arm answers.
    pub fn fell_back(&self, from: Arm, reason: &str) {
        self.fallbacks
            .with_label_values(&[from.name(), reason])
            .inc();
    }

    /// No arm was asked.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// The session's state changed.
    pub fn session(&self, state: SessionState) {
        for (known, name) in SESSION_STATES {
            self.session
                .with_label_values(&[name])
                .set(i64::from(known == state));
        }
    }

    /// The text that Prometheus reads. Gauges show the moment of the call.
    pub fn render(&self, plane: &Plane, own: &OwnEngine) -> Result<Vec<u8>, prometheus::Error> {
        for arm in [Arm::Stable, Arm::Candidate] {
            let queue = plane.queue(arm);
            self.working
                .with_label_values(&[arm.name()])
                .set(integer(queue.working()));
            self.waiting
                .with_label_values(&[arm.name()])
                .set(integer(queue.waiting()));
        }
        self.show_route(plane);
        self.open_units.set(integer(plane.open_units()));
        let candidate = plane.candidate();
        self.candidate_ready.set(i64::from(
            candidate.is_some_and(|candidate| candidate.ready()),
        ));
        self.engine_ready.set(i64::from(own.ready()));
        self.engine_restarts.set(i64::from(own.now().restarts));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn show_route(&self, plane: &Plane) {
        let route = plane.route();
        let kind = route
            .as_ref()
            .map_or("none", |route| route.instruction.name());
        for known in ROUTE_KINDS {
            self.route
                .with_label_values(&[known])
                .set(i64::from(known == kind));
        }
        let left = route
            .as_ref()
            .map_or(Duration::ZERO, |route| route.lease_left);
        let share = match route.map(|route| route.instruction) {
            Some(Instruction::Grant(grant)) if !left.is_zero() => {
                f64::from(grant.permille) / 1000.0
            }
            _ => 0.0,
        };
        self.share.set(share);
        self.lease.set(left.as_secs_f64());
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Makes metrics and registers them at once.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn register<M: Collector + Clone + 'static>(
        &self,
        metric: Result<M, prometheus::Error>,
    ) -> Result<M, prometheus::Error> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(full(name), help), labels))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(full(name), help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(full(name), help))
    }

    /// A gauge that is not a whole number.
    fn fraction(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::new(full(name), help))
    }

    fn seconds(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(full(name), help).buckets(BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }
}

fn full(name: &str) -> String {
    format!("smallfleet_router_{name}")
}
