//! `get`: the printer columns, and a live view.

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use kube::core::{ObjectList, TypeMeta};
use kube::runtime::watcher::Event;
use smallfleet_crds::SmallModel;

use crate::args::{Connection, Format, Get};
use crate::cluster::Cluster;
use crate::columns;
use crate::error::CliError;
use crate::live;
use crate::output;

/// Runs `get`.
pub async fn run(connection: &Connection, get: &Get) -> Result<(), CliError> {
    let cluster = Cluster::connect(connection).await?;
    match (&get.name, get.watch) {
        (Some(name), true) => watch_one(&cluster, name).await,
        (None, true) => watch_all(&cluster, get.all_namespaces).await,
        (Some(name), false) => show_one(&cluster, name, get.output).await,
        (None, false) => show_all(&cluster, get).await,
    }
}

async fn show_one(cluster: &Cluster, name: &str, format: Format) -> Result<(), CliError> {
    let mut model = cluster.get(name).await?;
    model.metadata.managed_fields = None;
    match format {
        Format::Json => output::json(&model),
        Format::Text => output::text(&live::render(&model, Timestamp::now())),
    }
}

async fn show_all(cluster: &Cluster, get: &Get) -> Result<(), CliError> {
    let mut models = cluster.list(get.all_namespaces).await?;
    if get.output == Format::Json {
        for model in &mut models {
            model.metadata.managed_fields = None;
        }
        return output::json(&ObjectList {
            types: TypeMeta::list::<SmallModel>(),
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta::default(),
            items: models,
        });
    }
    if models.is_empty() {
        let place = match get.all_namespaces {
            true => "any namespace".to_owned(),
            false => format!("namespace {}", cluster.namespace),
        };
        eprintln!("There are no SmallModels in {place}.");
        return Ok(());
    }
    output::text(&columns::table(
        &models,
        get.all_namespaces,
        Timestamp::now(),
    ))
}

async fn watch_one(cluster: &Cluster, name: &str) -> Result<(), CliError> {
    cluster.get(name).await?;
    let changes = cluster.changes(Some(name), false);
    pin_mut!(changes);
    let mut shown = String::new();
    while let Some(event) = changes.next().await {
        match event? {
            Event::Apply(model) | Event::InitApply(model) => {
                let text = live::render(&model, Timestamp::now());
                if text != shown {
                    output::replace(&text, shown.is_empty())?;
                    shown = text;
                }
            }
            Event::Delete(_) => {
                return Err(CliError::Deleted {
                    name: name.to_owned(),
                });
            }
            Event::Init | Event::InitDone => {}
        }
    }
    Ok(())
}

async fn watch_all(cluster: &Cluster, everywhere: bool) -> Result<(), CliError> {
    let changes = cluster.changes(None, everywhere);
    pin_mut!(changes);
    let mut table = columns::empty(everywhere);
    let (mut header, mut listing) = (true, true);
    while let Some(event) = changes.next().await {
        match event? {
            // The rows of the first list are aligned together.
            Event::Init => listing = true,
            Event::InitDone => listing = false,
            Event::Apply(model) | Event::InitApply(model) | Event::Delete(model) => {
                table.push(columns::row(&model, everywhere, Timestamp::now()));
            }
        }
        if !listing {
            output::text(&table.drain(header))?;
            header = false;
        }
    }
    Ok(())
}
