//! `version`: of this program, of the operator, and of the API that the server has.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::args::Connection;
use crate::cluster::Cluster;
use crate::error::{CliError, Request};
use crate::output;
use crate::words;

/// Labels that the chart gives the operator's Deployment.
const OPERATOR_SELECTOR: &str =
    "app.kubernetes.io/name=smallfleet,app.kubernetes.io/component=operator";
const VERSION_LABEL: &str = "app.kubernetes.io/version";
const CRD: &str = "smallmodels.smallfleet.dev";

/// Prints the versions. What the user may not see is said to be so, and is no error.
pub async fn run(connection: &Connection) -> Result<(), CliError> {
    output::text(&format!("client:   {}\n", env!("CARGO_PKG_VERSION")))?;
    let cluster = Cluster::connect(connection).await?;
    output::text(&format!("operator: {}\n", operator(&cluster).await?))?;
    output::text(&format!("API:      {}\n", api(&cluster).await?))
}

async fn operator(cluster: &Cluster) -> Result<String, CliError> {
    let deployments: Api<Deployment> = Api::all(cluster.client.clone());
    let found = deployments
        .list(&ListParams::default().labels(OPERATOR_SELECTOR))
        .await;
    let found = match found {
        Ok(found) => found.items,
        Err(error) => return unknown(cluster, error, "list Deployments"),
    };
    let described: Vec<_> = found.iter().map(describe).collect();
    match described.is_empty() {
        true => Ok("not installed by the chart".to_owned()),
        false => Ok(words::list(&described, 3)),
    }
}

fn describe(deployment: &Deployment) -> String {
    let version = deployment
        .labels()
        .get(VERSION_LABEL)
        .map_or("unknown", String::as_str);
    let namespace = deployment.namespace().unwrap_or_default();
    let ready = deployment
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    format!("{version} (namespace {namespace}, {ready} of {wanted} replicas ready)")
}

async fn api(cluster: &Cluster) -> Result<String, CliError> {
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    match crds.get_opt(CRD).await {
        Ok(Some(crd)) => {
            let served = crd.spec.versions.iter().filter(|version| version.served);
            let served: Vec<_> = served.map(|version| version.name.clone()).collect();
            Ok(format!("smallfleet.dev {}", words::list(&served, 5)))
        }
        Ok(None) => Err(CliError::CrdMissing),
        Err(error) => unknown(cluster, error, "read the CRD"),
    }
}

fn unknown(cluster: &Cluster, error: kube::Error, right: &str) -> Result<String, CliError> {
    let request = Request {
        server: &cluster.server,
        verb: "get",
        namespace: None,
        name: None,
    };
    match CliError::of(error, &request) {
        CliError::Forbidden { .. } => Ok(format!("unknown (you may not {right})")),
        other => Err(other),
    }
}
