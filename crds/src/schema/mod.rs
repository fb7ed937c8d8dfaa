//! The CustomResourceDefinition as it is installed: the derived schema, tidied for a real API server and for people.

pub(crate) mod rules;
mod tidy;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::smallmodel::SmallModel;

/// The CRD of `SmallModel`, the same that the chart installs.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = SmallModel::crd();
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|validation| validation.open_api_v3_schema.as_mut())
            .expect("a derived CRD has a schema");
        let mut json = serde_json::to_value(&*schema).expect("a schema is plain JSON");
        tidy::tidy(&mut json);
        *schema = serde_json::from_value(json).expect("tidying keeps it a schema");
    }
    crd
}
