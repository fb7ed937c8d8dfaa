//! Every metric of the operator, typed. Labels are of bounded cardinality: kinds, classes, reasons of ours, and SmallModels.

use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use smallfleet_core::world::{RouteKind, World};

use crate::error::Class;
use crate::session::ModelKey;

/// Handles of all metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: Histogram,
    reconcile_errors: IntCounterVec,
    actions: IntCounterVec,
    events: IntCounterVec,
    leading: IntGauge,
    leader_epoch: IntGauge,
    routers: IntGaugeVec,
    routes: IntGaugeVec,
    nodes: IntGaugeVec,
    evidence: GaugeVec,
    units: IntGaugeVec,
    cut_seconds: HistogramVec,
}

const MODEL: [&str; 2] = ["namespace", "smallmodel"];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("smallfleet".to_owned()), None)?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels)
        };
        let of_model = |more: &[&'static str]| {
            MODEL
                .iter()
                .copied()
                .chain(more.iter().copied())
                .collect::<Vec<_>>()
        };
        let metrics = Self {
            reconcile_seconds: Histogram::with_opts(
                HistogramOpts::new("reconcile_seconds", "Time of one reconcile.")
                    .buckets(buckets()),
            )?,
            reconcile_errors: counters(
                "reconcile_errors_total",
                "Failed reconciles by class of error.",
                &["class"],
            )?,
            actions: counters("actions_total", "Actions carried out by kind.", &["kind"])?,
            events: counters(
                "events_total",
                "Events of SmallModels by reason.",
                &["reason"],
            )?,
            leading: IntGauge::new("leading", "1 on the replica that leads.")?,
            leader_epoch: IntGauge::new("leader_epoch", "Epoch of this replica as leader.")?,
            routers: gauges(
                "routers",
                "Routers that checked in, by SmallModel.",
                &of_model(&[]),
            )?,
            routes: gauges(
                "routes_granted",
                "Routers that acknowledged a granted route.",
                &of_model(&[]),
            )?,
            nodes: gauges(
                "nodes",
                "Nodes of a SmallModel by state.",
                &of_model(&["state"]),
            )?,
            evidence: GaugeVec::new(
                Opts::new(
                    "evidence_log",
                    "Natural logarithm of the evidence of an objective; kind harm or pass.",
                ),
                &of_model(&["objective", "kind"]),
            )?,
            units: gauges(
                "rollout_units",
                "Counted units of the rollout in progress.",
                &of_model(&["objective", "arm"]),
            )?,
            cut_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "cut_seconds",
                    "From the decision to cut to the last acknowledgement.",
                )
                .buckets(buckets()),
                &MODEL,
            )?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let Self {
            registry,
            reconcile_seconds,
            reconcile_errors,
            actions,
            events,
            leading,
            leader_epoch,
            routers,
            routes,
            nodes,
            evidence,
            units,
            cut_seconds,
        } = self;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(reconcile_errors.clone()))?;
        registry.register(Box::new(actions.clone()))?;
        registry.register(Box::new(events.clone()))?;
        registry.register(Box::new(leading.clone()))?;
        registry.register(Box::new(leader_epoch.clone()))?;
        registry.register(Box::new(routers.clone()))?;
        registry.register(Box::new(routes.clone()))?;
        registry.register(Box::new(nodes.clone()))?;
        registry.register(Box::new(evidence.clone()))?;
        registry.register(Box::new(units.clone()))?;
        registry.register(Box::new(cut_seconds.clone()))
    }

    /// One reconcile ended.
    pub fn reconciled(&self, took: Duration, error: Option<Class>) {
        self.reconcile_seconds.observe(took.as_secs_f64());
        if let Some(class) = error {
            self.reconcile_errors
                .with_label_values(&[class.as_str()])
                .inc();
        }
    }

    /// One action was carried out.
    pub fn action(&self, kind: &str) {
        self.actions.with_label_values(&[kind]).inc();
    }

    /// One event was emitted.
    pub fn event(&self, reason: &str) {
        self.events.with_label_values(&[reason]).inc();
    }

    /// This replica leads.
    pub fn leads(&self, epoch: u64) {
        self.leading.set(1);
        self.leader_epoch
            .set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    /// What a World says of its model.
    pub fn observed(&self, (namespace, name): &ModelKey, world: &World) {
        let model = [namespace.as_str(), name.as_str()];
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.routers
            .with_label_values(&model)
            .set(count(world.sessions.routers.len()));
        let granted = world.sessions.routers.values().filter(|router| {
            router
                .ack
                .as_ref()
                .is_some_and(|ack| ack.kind == RouteKind::Grant)
                && router.may_route
        });
        self.routes
            .with_label_values(&model)
            .set(count(granted.count()));
        let Some(status) = &world.model.status else {
            return;
        };
        let nodes = &status.nodes;
        for (state, number) in [
            ("desired", nodes.desired),
            ("ready", nodes.ready),
            ("wave", nodes.wave),
            ("excluded", nodes.excluded),
        ] {
            self.nodes
                .with_label_values(&[namespace, name, state])
                .set(i64::from(number));
        }
        for objective in status
            .analysis
            .iter()
            .flat_map(|analysis| &analysis.objectives)
        {
            for (kind, log) in [("harm", &objective.log_e), ("pass", &objective.log_p)] {
                let value = log.parse().unwrap_or(0.0);
                self.evidence
                    .with_label_values(&[namespace, name, &objective.name, kind])
                    .set(value);
            }
            for (arm, units) in [
                ("stable", objective.units.stable),
                ("candidate", objective.units.candidate),
            ] {
                let units = i64::try_from(units).unwrap_or(i64::MAX);
                self.units
                    .with_label_values(&[namespace, name, &objective.name, arm])
                    .set(units);
            }
        }
    }

    /// Every router of a cut acknowledged it, or its lease is over.
    pub fn cut(&self, (namespace, name): &ModelKey, took: Duration) {
        self.cut_seconds
            .with_label_values(&[namespace.as_str(), name.as_str()])
            .observe(took.as_secs_f64());
    }

    /// Prometheus text format.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

fn buckets() -> Vec<f64> {
    vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_have_names_of_their_own() {
        let metrics = Metrics::new().unwrap();
        metrics.action("create_pod");
        assert!(
            metrics
                .text()
                .contains("smallfleet_actions_total{kind=\"create_pod\"} 1")
        );
    }
}
