//! The table of API server cases against the real server that KUBECONFIG names (`make conformance`). No operator may run there:
//! some cases write the status of SmallModels.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use axum::http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;

use smallfleet_fake::cases::{Bench, CASES};

/// The definition, as the chart installs it.
async fn define(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = smallfleet_crds::crd();
    let params = PatchParams::apply("smallfleet-fake").force();
    let name = definition.name_any();
    api.patch(&name, &params, &Patch::Apply(&definition))
        .await
        .unwrap();
    let established = kube::runtime::conditions::is_crd_established();
    kube::runtime::wait::await_condition(api, &name, established)
        .await
        .unwrap();
}

/// The chart brings its own definition, and helm adopts none.
async fn undefine(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = smallfleet_crds::crd().name_any();
    let deleted = api.delete(&name, &DeleteParams::default()).await.unwrap();
    if let Some(definition) = deleted.left() {
        let uid = definition.uid().unwrap();
        let gone = kube::runtime::conditions::is_deleted(&uid);
        kube::runtime::wait::await_condition(api, &name, gone)
            .await
            .unwrap();
    }
}

/// Whose requests the server sheds.
const SHED: &str = "smallfleet-shed";

/// One place at the server for the user [`SHED`], and no waiting; a client that speaks as this user.
async fn shed(client: &Client) -> Client {
    let level = json!({
        "metadata": {"name": SHED},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    });
    let schema = json!({
        "metadata": {"name": SHED},
        "spec": {
            "priorityLevelConfiguration": {"name": SHED},
            "matchingPrecedence": 2,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": SHED}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            }],
        },
    });
    let params = PostParams::default();
    let levels: Api<PriorityLevelConfiguration> = Api::all(client.clone());
    let level = serde_json::from_value(level).unwrap();
    levels.create(&params, &level).await.unwrap();
    let schemas: Api<FlowSchema> = Api::all(client.clone());
    let schema = serde_json::from_value(schema).unwrap();
    schemas.create(&params, &schema).await.unwrap();
    let mut config = Config::infer().await.unwrap();
    // The case looks at the answer that a client heeds by itself.
    config.default_retry = false;
    let speaks_as = HeaderName::from_static("impersonate-user");
    config
        .headers
        .push((speaks_as, HeaderValue::from_static(SHED)));
    Client::try_from(config).unwrap()
}

async fn shed_no_more(client: &Client) {
    let params = DeleteParams::default();
    let schemas: Api<FlowSchema> = Api::all(client.clone());
    schemas.delete(SHED, &params).await.unwrap();
    let levels: Api<PriorityLevelConfiguration> = Api::all(client.clone());
    levels.delete(SHED, &params).await.unwrap();
}

#[tokio::test]
async fn the_real_server_passes_the_table() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    define(&client).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.generate_name = Some("smallfleet-fake-".to_owned());
    let namespace = namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let bench = Bench::new(client.clone(), shed(&client).await, &namespace.name_any());
    let mut failed = Vec::new();
    for case in CASES {
        match (case.run)(bench.clone()).await {
            Ok(()) => println!("passed: {}", case.name),
            Err(error) => failed.push(format!("{}: {error:#}", case.name)),
        }
    }
    namespaces
        .delete(&namespace.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    shed_no_more(&client).await;
    undefine(&client).await;
    assert!(failed.is_empty(), "{failed:#?}");
    println!("{} cases passed on the real server", CASES.len());
}
