//! What the operator relies on in an API server: a table of cases that the fake and the real one have to pass alike.

mod apply;
mod deletes;
mod reads;
mod subresource;
mod throttling;
mod updates;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use smallfleet_crds::SmallModel;

/// Where a case runs.
#[derive(Clone)]
pub struct Bench {
    client: Client,
    /// A client whose requests the server sheds, as soon as there are many of them.
    throttled: Client,
    namespace: String,
    serial: std::sync::Arc<AtomicU32>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Bench({})", self.namespace)
    }
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: fn(Bench) -> BoxFuture<'static, Result<()>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

macro_rules! case {
    ($module:ident::$name:ident) => {
        Case {
            name: stringify!($name),
            run: |bench| Box::pin($module::$name(bench)),
        }
    };
}

/// All cases.
pub const CASES: [Case; 27] = [
    case!(updates::a_name_is_taken_once),
    case!(updates::a_replace_from_an_old_version_conflicts),
    case!(updates::a_replace_of_another_uid_conflicts),
    case!(updates::a_replace_without_a_change_is_no_write),
    case!(updates::an_own_definition_is_replaced_with_a_version_only),
    case!(updates::a_merge_patch_adds_and_removes),
    case!(updates::a_merge_patch_of_another_uid_is_refused),
    case!(apply::an_apply_creates_and_says_who_owns_what),
    case!(apply::the_same_apply_again_is_no_write),
    case!(apply::what_is_not_applied_any_more_goes),
    case!(apply::a_field_of_another_manager_conflicts_unless_forced),
    case!(apply::a_field_of_two_managers_stays_until_both_drop_it),
    case!(apply::an_unforced_apply_over_a_posted_object_conflicts),
    case!(apply::an_apply_of_a_uid_that_is_not_there_conflicts),
    case!(apply::an_apply_of_another_uid_is_refused),
    case!(apply::an_apply_from_an_old_version_conflicts),
    case!(apply::lists_of_a_template_are_merged_by_their_keys),
    case!(apply::ports_of_a_service_are_merged_by_their_keys),
    case!(subresource::status_and_spec_are_written_apart),
    case!(subresource::the_generation_counts_changes_of_spec_alone),
    case!(subresource::a_status_loses_what_is_not_applied_any_more),
    case!(deletes::a_deletion_of_another_uid_conflicts),
    case!(deletes::dependents_go_with_their_owner),
    case!(reads::a_list_selects_by_label),
    case!(reads::a_watch_tells_changes_in_order),
    case!(reads::a_watch_from_too_long_ago_is_gone_and_a_quiet_one_has_bookmarks),
    case!(throttling::what_is_too_much_is_told_to_come_back),
];

/// Longest wait for what the server does in the background.
const BACKGROUND: Duration = Duration::from_secs(60);

impl Bench {
    #[must_use]
    pub fn new(client: Client, throttled: Client, namespace: &str) -> Self {
        Self {
            client,
            throttled,
            namespace: namespace.to_owned(),
            serial: std::sync::Arc::default(),
        }
    }

    /// A name that no other case uses.
    fn name(&self) -> String {
        format!("case-{}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    fn config_maps(&self) -> Api<DynamicObject> {
        self.all::<ConfigMap>()
    }

    fn models(&self) -> Api<DynamicObject> {
        self.all::<SmallModel>()
    }

    fn with_spec<K: Resource<DynamicType = ()>>(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        })
    }

    fn config_map(&self, name: &str, data: &Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace},
            "data": data,
        })
    }

    fn model(&self, name: &str, tag: &str) -> Value {
        let image = format!("registry.example.com/m@sha256:{}", tag.repeat(64));
        let spec = json!({"task": "TextClassification", "model": {"image": image}});
        self.with_spec::<SmallModel>(name, &spec)
    }
}

fn object(value: Value) -> Result<DynamicObject> {
    serde_json::from_value(value).context("an object")
}

async fn apply(
    api: &Api<DynamicObject>,
    manager: &str,
    force: bool,
    wish: &Value,
) -> kube::Result<DynamicObject> {
    let name = wish["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &params(manager, force), &Patch::Apply(wish))
        .await
}

async fn apply_status(
    api: &Api<DynamicObject>,
    manager: &str,
    wish: &Value,
) -> kube::Result<DynamicObject> {
    let name = wish["metadata"]["name"].as_str().unwrap_or_default();
    api.patch_status(name, &params(manager, true), &Patch::Apply(wish))
        .await
}

fn params(manager: &str, force: bool) -> PatchParams {
    let params = PatchParams::apply(manager);
    if force { params.force() } else { params }
}

/// The call is refused with one of these codes; the error's text.
fn refused<T: std::fmt::Debug>(outcome: kube::Result<T>, codes: &[u16]) -> Result<String> {
    match outcome {
        Err(kube::Error::Api(status)) if codes.contains(&status.code) => Ok(status.message),
        other => bail!("expected one of {codes:?}, not {other:?}"),
    }
}

fn version(object: &DynamicObject) -> String {
    object.resource_version().unwrap_or_default()
}

fn generation(object: &DynamicObject) -> i64 {
    object.metadata.generation.unwrap_or(0)
}

/// Same resourceVersion: nothing was written.
fn unwritten(before: &DynamicObject, after: &DynamicObject) -> Result<()> {
    let (before, after) = (version(before), version(after));
    ensure!(before == after, "it was written: {before} became {after}");
    Ok(())
}
