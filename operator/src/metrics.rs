//! Every metric of the operator, typed. Labels are of bounded cardinality: kinds, classes, reasons of ours, and SmallModels.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use smallfleet_core::world::{RouteKind, World};
use smallfleet_crds::status::SmallModelStatus;

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
        let new = Maker(&registry);
        let model = |more: &[&'static str]| [&MODEL, more].concat();
        Ok(Self {
            reconcile_seconds: new.seconds("reconcile_seconds", "Time of one reconcile.")?,
            reconcile_errors: new.counters(
                "reconcile_errors_total",
                "Failed reconciles by class of error.",
                "class",
            )?,
            actions: new.counters("actions_total", "Actions carried out by kind.", "kind")?,
            events: new.counters("events_total", "Events of SmallModels by reason.", "reason")?,
            leading: new.gauge("leading", "1 on the replica that leads.")?,
            leader_epoch: new.gauge("leader_epoch", "Epoch of this replica as leader.")?,
            routers: new.gauges("routers", "Routers that checked in, by SmallModel.", &MODEL)?,
            routes: new.gauges(
                "routes_granted",
                "Routers that acknowledged a granted route.",
                &MODEL,
            )?,
            nodes: new.gauges(
                "nodes",
                "Nodes of a SmallModel by state.",
                &model(&["state"]),
            )?,
            evidence: new.fractions(
                "evidence_log",
                "Natural logarithm of the evidence of an objective; kind harm or pass.",
                &model(&["objective", "kind"]),
            )?,
            units: new.gauges(
                "rollout_units",
                "Counted units of the rollout in progress.",
                &model(&["objective", "arm"]),
            )?,
            cut_seconds: new.seconds_each(
                "cut_seconds",
                "From the decision to cut to the last acknowledgement.",
                &MODEL,
            )?,
            registry,
        })
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
        if let Some(status) = &world.model.status {
            self.says(namespace, name, status);
        }
    }

    /// What the status of a model says.
    fn says(&self, namespace: &str, name: &str, status: &SmallModelStatus) {
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

    /// A model is gone, and its series with it.
    pub fn forget(&self, (namespace, name): &ModelKey) {
        let model = [("namespace", namespace.as_str()), ("smallmodel", name)];
        remove(&self.routers, &model);
        remove(&self.routes, &model);
        remove(&self.nodes, &model);
        remove(&self.evidence, &model);
        remove(&self.units, &model);
        remove(&self.cut_seconds, &model);
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

/// Removes the series that have all of these labels.
fn remove<T: MetricVecBuilder>(series: &MetricVec<T>, labels: &[(&str, &str)]) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let pairs = metric.get_label().iter();
            let all: HashMap<&str, &str> = pairs.map(|pair| (pair.name(), pair.value())).collect();
            if labels
                .iter()
                .all(|(name, value)| all.get(name) == Some(value))
            {
                // It fails only where another task has removed it meanwhile.
                let _ = series.remove(&all);
            }
        }
    }
}

/// Bounds of the histograms, seconds.
const BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

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
        label: &str,
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// Gauges that are not whole numbers.
    fn fractions(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.register(Histogram::with_opts(options))
    }

    fn seconds_each(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }
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

    #[test]
    fn the_series_of_a_model_go_with_it() {
        let metrics = Metrics::new().unwrap();
        let status: SmallModelStatus = serde_json::from_value(serde_json::json!({
            "analysis": {"objectives": [{"name": "latency"}]}
        }))
        .unwrap();
        let before = metrics.text();
        metrics.says("shop", "intent", &status);
        metrics.cut(&("shop".into(), "intent".into()), Duration::from_millis(3));
        metrics.says("shop", "other", &status);
        metrics.forget(&("shop".into(), "other".into()));
        for name in ["nodes", "evidence_log", "rollout_units", "cut_seconds"] {
            let series = format!("smallfleet_{name}");
            assert!(metrics.text().contains(&series), "{series}");
        }
        assert!(!metrics.text().contains("other"));
        metrics.forget(&("shop".into(), "intent".into()));
        assert_eq!(metrics.text(), before);
    }
}
