//! The printer columns of the CRD.

use jiff::Timestamp;
use kube::ResourceExt;
use smallfleet_crds::SmallModel;

use crate::table::Table;
use crate::words;

/// Names of the columns, as the CRD has them.
pub const HEADER: [&str; 9] = [
    "NAME",
    "TASK",
    "READY",
    "STABLE",
    "CANDIDATE",
    "STEP",
    "EVIDENCE",
    "PHASE",
    "AGE",
];

/// Rows of several models.
#[must_use]
pub fn table(models: &[SmallModel], with_namespace: bool, now: Timestamp) -> String {
    let mut table = empty(with_namespace);
    for model in models {
        table.push(row(model, with_namespace, now));
    }
    table.render()
}

/// The columns without rows.
#[must_use]
pub fn empty(with_namespace: bool) -> Table {
    let namespace: &[&str] = if with_namespace { &["NAMESPACE"] } else { &[] };
    Table::new(&[namespace, &HEADER].concat())
}

/// One cell a column.
#[must_use]
pub fn row(model: &SmallModel, with_namespace: bool, now: Timestamp) -> Vec<String> {
    let status = model.status.clone().unwrap_or_default();
    let created = model.metadata.creation_timestamp.as_ref();
    let cells = [
        model.name_any(),
        format!("{:?}", model.spec.task),
        status.display.ready,
        status
            .stable
            .map(|stable| stable.revision)
            .unwrap_or_default(),
        status.display.candidate,
        status.display.step,
        status.display.evidence,
        status.phase,
        created
            .map(|created| words::age(created.0, now))
            .unwrap_or_default(),
    ];
    let namespace = with_namespace.then(|| model.namespace().unwrap_or_default());
    namespace.into_iter().chain(cells).collect()
}
