//! What is asked of the API server, and by whom.
//!
//! The API server's metrics do not tell who wrote. Flow control does: FlowSchemas of ours that match the operator's account count
//! its requests by kind, on any cluster and without an audit log. Their priority level is one that exists, so nothing is delayed.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use smallfleet_e2e::lab::SYSTEM;
use smallfleet_e2e::shell::Shell;

const ACCOUNT: &str = "smallfleet-operator";
const LEVEL: &str = "workload-high";
pub const LEASES: &str = "smallfleet-bench-leases";
pub const WRITES: &str = "smallfleet-bench-writes";
pub const READS: &str = "smallfleet-bench-reads";
const DISPATCHED: &str = "apiserver_flowcontrol_dispatched_requests_total";
const REQUESTS: &str = "apiserver_request_total";

/// The FlowSchemas that count; removed when this is dropped.
#[derive(Debug)]
pub struct Counting {
    shell: Shell,
}

impl Counting {
    /// Begins to count.
    pub fn start(shell: &Shell) -> Result<Self> {
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        let items = [
            schema(LEASES, 101, &writes, "coordination.k8s.io", "leases"),
            schema(WRITES, 102, &writes, "*", "*"),
            schema(READS, 103, &["get", "list", "watch"], "*", "*"),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        shell.run_with_input("kubectl apply -f -", &list.to_string())?;
        Ok(Self {
            shell: shell.clone(),
        })
    }

    /// Counts until now.
    pub fn read(&self) -> Result<Counts> {
        let metrics = self.shell.run("kubectl get --raw /metrics")?;
        let counts = Counts::parse(&metrics);
        ensure!(
            !counts.by_kind.is_empty(),
            "the API server has no metric {REQUESTS}"
        );
        Ok(counts)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let names = [LEASES, WRITES, READS].join(" ");
        let line = format!("kubectl delete flowschema {names} --ignore-not-found");
        if let Err(error) = self.shell.run(&line) {
            println!("FlowSchemas are left: {error:#}");
        }
    }
}

fn schema(name: &str, precedence: u32, verbs: &[&str], group: &str, resource: &str) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": LEVEL},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": SYSTEM}}],
                "resourceRules": [{
                    "verbs": verbs, "apiGroups": [group], "resources": [resource], "namespaces": ["*"], "clusterScope": true,
                }],
            }],
        },
    })
}

/// Requests so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Of the operator, by FlowSchema.
    pub by_schema: BTreeMap<String, u64>,
    /// Writes of everybody, by `VERB resource`.
    pub by_kind: BTreeMap<String, u64>,
}

impl Counts {
    fn parse(metrics: &str) -> Self {
        let mut counts = Self::default();
        for line in metrics.lines() {
            let Some((name, labels, value)) = sample(line) else {
                continue;
            };
            let label = |key| label(labels, key);
            match name {
                DISPATCHED if label("flow_schema").starts_with("smallfleet-bench-") => {
                    *counts.by_schema.entry(label("flow_schema")).or_default() += value;
                }
                REQUESTS if is_write(&label("verb")) => {
                    let kind = format!("{} {}", label("verb"), label("resource"));
                    *counts.by_kind.entry(kind).or_default() += value;
                }
                _ => {}
            }
        }
        counts
    }

    /// What came in since an earlier reading; kinds without any are left out.
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let more = now.iter().map(|(key, count)| {
                let before = then.get(key).copied().unwrap_or(0);
                (key.clone(), count.saturating_sub(before))
            });
            more.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            by_schema: difference(&self.by_schema, &earlier.by_schema),
            by_kind: difference(&self.by_kind, &earlier.by_kind),
        }
    }

    /// Requests of the operator that one of the schemas counted.
    pub fn of(&self, schema: &str) -> u64 {
        self.by_schema.get(schema).copied().unwrap_or(0)
    }
}

fn is_write(verb: &str) -> bool {
    [
        "POST",
        "PUT",
        "PATCH",
        "APPLY",
        "DELETE",
        "DELETECOLLECTION",
    ]
    .contains(&verb)
}

/// Name, labels and value of a line `name{labels} value`.
fn sample(line: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let value: f64 = value.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((name, labels, value as u64))
}

fn label(labels: &str, key: &str) -> String {
    let prefix = format!("{key}=\"");
    let found = labels
        .split("\",")
        .find_map(|part| part.strip_prefix(&prefix));
    found.map_or_else(String::new, |value| value.trim_end_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 9
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="PATCH",version="v1"} 1e+00
apiserver_flowcontrol_dispatched_requests_total{flow_schema="smallfleet-bench-leases",priority_level="workload-high"} 300
apiserver_flowcontrol_dispatched_requests_total{flow_schema="service-accounts",priority_level="workload-low"} 5
"#;

    #[test]
    fn writes_are_counted_by_kind_and_the_operators_by_schema() {
        let counts = Counts::parse(METRICS);
        assert_eq!(
            counts.by_kind,
            BTreeMap::from([("PATCH pods".to_owned(), 8)])
        );
        assert_eq!((counts.of(LEASES), counts.of(WRITES)), (300, 0));
    }

    #[test]
    fn a_difference_has_only_what_grew() {
        let earlier = Counts::parse(METRICS);
        let later = METRICS.replace(" 300", " 310");
        let since = Counts::parse(&later).since(&earlier);
        assert_eq!((since.of(LEASES), since.by_kind.len()), (10, 0));
    }
}
