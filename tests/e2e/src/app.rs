//! Load pods: an application on every node that asks a SmallModel's Service.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::fleet::{Fleet, is_ready};
use crate::load::{Page, Record, STATS_PORT};
use crate::shell::Shell;

/// Load on one SmallModel from every node.
#[derive(Clone, Debug)]
pub struct App {
    pub model: String,
    pub fleet: Fleet,
    pub image: String,
    /// Image with `requests.jsonl`, mounted as a volume.
    pub requests: String,
    /// Asked instead of the Service's name, which takes DNS: the Service's address.
    pub address: Option<String>,
    /// Requests a second from each node.
    pub rate: f64,
    /// Tokens of each chat answer; `None`: the model is a classifier.
    pub chat_tokens: Option<u32>,
}

impl App {
    /// The manifest: a DaemonSet of load pods.
    #[must_use]
    pub fn manifest(&self) -> serde_json::Value {
        let name = self.name();
        let by_name = format!("{}.{}.svc", self.model, self.fleet.namespace);
        let host = self.address.as_ref().unwrap_or(&by_name);
        let mut environment = vec![
            json!({"name": "LOAD_REQUESTS", "value": "/requests/requests.jsonl"}),
            json!({"name": "LOAD_RATE", "value": self.rate.to_string()}),
            json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        ];
        let path = match self.chat_tokens {
            None => "v1/classify",
            Some(tokens) => {
                environment.push(json!({"name": "LOAD_CHAT_TOKENS", "value": tokens.to_string()}));
                "v1/chat/completions"
            }
        };
        environment.push(json!({"name": "LOAD_URL", "value": format!("http://{host}/{path}")}));
        let container = json!({
            "name": "app",
            "image": self.image,
            "env": environment,
            // More than it takes: it must not stand still where pods that start take all the rest.
            "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/records?from=100000000", "port": STATS_PORT}, "periodSeconds": 1},
            "volumeMounts": [{"name": "requests", "mountPath": "/requests", "readOnly": true}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": self.fleet.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "terminationGracePeriodSeconds": 1,
                        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                        "containers": [container],
                        "volumes": [{"name": "requests", "image": {"reference": self.requests}}],
                    },
                },
            },
        })
    }

    fn name(&self) -> String {
        format!("{}-app", self.model)
    }

    /// Starts the load and waits until each of `nodes` pods is ready.
    ///
    /// # Errors
    /// When the pods do not become ready within a minute.
    pub async fn start(&self, shell: &Shell, nodes: usize) -> Result<()> {
        shell.run_with_input("kubectl apply -f -", &self.manifest().to_string())?;
        let limit = Instant::now() + Duration::from_secs(60);
        while self
            .pods()
            .await?
            .iter()
            .filter(|pod| is_ready(pod))
            .count()
            < nodes
        {
            if Instant::now() > limit {
                bail!(
                    "the load pods of {} are not ready within a minute",
                    self.model
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Ends the load.
    ///
    /// # Errors
    /// When the DaemonSet cannot be deleted.
    pub fn stop(&self, shell: &Shell) -> Result<()> {
        let line = format!(
            "kubectl delete daemonset -n {} {} --ignore-not-found",
            self.fleet.namespace,
            self.name()
        );
        shell.run(&line).map(drop)
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = self.fleet.pods();
        Ok(api
            .list(&ListParams::default().labels(&format!("app={}", self.name())))
            .await?
            .items)
    }

    /// Addresses of the load pods: with them the records are read without an API server.
    ///
    /// # Errors
    /// When the API server does not answer or a load pod has none yet.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        let address = |pod: &Pod| {
            let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            ip.with_context(|| format!("{} has no address", pod.name_any()))
        };
        self.pods().await?.iter().map(address).collect()
    }

    /// All records so far, of all nodes: by node of the load pod.
    ///
    /// # Errors
    /// When the API server or a load pod does not answer.
    pub async fn records(&self) -> Result<BTreeMap<String, Vec<Record>>> {
        Self::records_at(&self.addresses().await?).await
    }

    /// All records so far of the load pods at these addresses: by their nodes.
    ///
    /// # Errors
    /// When a load pod does not answer.
    pub async fn records_at(addresses: &[String]) -> Result<BTreeMap<String, Vec<Record>>> {
        let mut all = BTreeMap::new();
        for ip in addresses {
            let page = fetch(&format!("http://{ip}:{STATS_PORT}/records?from=0")).await?;
            all.insert(page.node, page.records);
        }
        Ok(all)
    }

    /// How many requests of the load pods at these addresses have ended so far: by their nodes.
    ///
    /// # Errors
    /// When a load pod does not answer.
    pub async fn ended_at(addresses: &[String]) -> Result<BTreeMap<String, usize>> {
        let mut all = BTreeMap::new();
        for ip in addresses {
            // From beyond the last one: the records themselves are not sent.
            let page = fetch(&format!(
                "http://{ip}:{STATS_PORT}/records?from={}",
                usize::MAX
            ))
            .await?;
            all.insert(page.node, page.next);
        }
        Ok(all)
    }

    /// Waits until each node has been answered by its own pod alone for some time, and returns the records of that time. At first
    /// another node may answer: a node's proxy learns of a ready pod a moment after the API server does.
    ///
    /// # Errors
    /// When that does not happen within a minute; the error says who answered whom.
    pub async fn answered_by_own_node(
        &self,
        time: Duration,
    ) -> Result<BTreeMap<String, Vec<Record>>> {
        let limit = Instant::now() + Duration::from_secs(60);
        let mut from = now_milliseconds();
        loop {
            tokio::time::sleep(time).await;
            let mut recent = self.records().await?;
            recent
                .values_mut()
                .for_each(|records| records.retain(|record| record.sent_milliseconds >= from));
            let own = |(node, records): (&String, &Vec<Record>)| {
                !records.is_empty() && records.iter().all(|record| record.node == *node)
            };
            if recent.iter().all(own) {
                return Ok(recent);
            }
            if Instant::now() > limit {
                bail!("nodes are answered by others: {:?}", answered_by(&recent));
            }
            from = now_milliseconds();
        }
    }

    /// All records so far in one list, in the order of their sending.
    ///
    /// # Errors
    /// When a load pod does not answer.
    pub async fn all_records(&self) -> Result<Vec<Record>> {
        let mut all: Vec<Record> = self.records().await?.into_values().flatten().collect();
        all.sort_by_key(|record| record.sent_milliseconds);
        Ok(all)
    }
}

async fn fetch(url: &str) -> Result<Page> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .get(url.parse()?)
        .await
        .with_context(|| format!("GET {url}"))?;
    let body = response.into_body().collect().await?.to_bytes();
    serde_json::from_slice(&body).with_context(|| format!("answer of {url}"))
}

/// How many answers of each node the load pod of a node got.
#[must_use]
pub fn answered_by(
    records: &BTreeMap<String, Vec<Record>>,
) -> BTreeMap<&str, BTreeMap<&str, usize>> {
    let mut by: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (node, records) in records {
        for record in records {
            *by.entry(node).or_default().entry(&record.node).or_default() += 1;
        }
    }
    by
}

/// Now, milliseconds since the Unix epoch.
#[must_use]
pub fn now_milliseconds() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// An answer, as far as a test of limits looks at it.
#[derive(Clone, Debug)]
pub struct Brief {
    pub status: u16,
    pub retry_after: Option<String>,
}

/// Asks for the class of one text many times at the same moment, each time over a connection of its own.
///
/// # Errors
/// When a request gets no answer at all.
pub async fn at_once(url: &str, text: &str, requests: usize) -> Result<Vec<Brief>> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = Bytes::from(json!({"text": text}).to_string());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..requests {
        let request = Request::post(url)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        asked.spawn(client.request(request));
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let answer = answer?.context("a request got no answer")?;
        let retry_after = answer.headers().get("retry-after");
        answers.push(Brief {
            status: answer.status().as_u16(),
            retry_after: retry_after.and_then(|value| Some(value.to_str().ok()?.to_owned())),
        });
        answer.into_body().collect().await?;
    }
    Ok(answers)
}

/// Records without a good answer.
#[must_use]
pub fn failed(records: &[Record]) -> Vec<&Record> {
    records.iter().filter(|record| !record.good()).collect()
}

/// How many good answers each (arm, revision) gave.
#[must_use]
pub fn by_arm(records: &[Record]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for record in records.iter().filter(|record| record.good()) {
        *counts
            .entry((record.arm.clone(), record.revision.clone()))
            .or_default() += 1;
    }
    counts
}
