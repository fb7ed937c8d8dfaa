//! The API server, as the kubeconfig names it.

use futures::{Stream, StreamExt};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};
use smallfleet_crds::SmallModel;

use crate::args::Connection;
use crate::error::{CliError, Request};

/// SmallModels asked for at once: one page of any fleet that people look at, bounded for the server's sake.
const PAGE_SIZE: u32 = 500;

/// A connection; nothing is sent before the first request.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// Address of the API server, for messages.
    pub server: String,
    /// Namespace of the command line, else of the context.
    pub namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Cluster({}, {})", self.server, self.namespace)
    }
}

impl Cluster {
    /// Reads the kubeconfig (or, in a pod, its service account).
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn connect(connection: &Connection) -> Result<Self, CliError> {
        let config = config(connection).await?;
        let namespace = connection.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client =
            Client::try_from(config).map_err(|error| CliError::Kubeconfig(error.to_string()))?;
        Ok(Self {
            client,
            server: server.trim_end_matches('/').to_owned(),
            namespace,
        })
    }

    /// SmallModels of the namespace.
    #[must_use]
    pub fn models(&self) -> Api<SmallModel> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A request about one SmallModel of the namespace.
    #[must_use]
    pub fn about<'a>(&'a self, verb: &'static str, name: &'a str) -> Request<'a> {
        Request {
            server: &self.server,
            verb,
            namespace: Some(&self.namespace),
            name: Some(name),
        }
    }

    /// One SmallModel.
    pub async fn get(&self, name: &str) -> Result<SmallModel, CliError> {
        let answer = self.models().get(name).await;
        answer.map_err(|error| CliError::of(error, &self.about("get", name)))
    }

    /// All SmallModels of the namespace, or of every namespace.
    pub async fn list(&self, everywhere: bool) -> Result<Vec<SmallModel>, CliError> {
        let api = self.scope(everywhere);
        let mut models = Vec::new();
        let mut page = ListParams::default().limit(PAGE_SIZE);
        loop {
            let answer = api.list(&page).await;
            let answer =
                answer.map_err(|error| CliError::of(error, &self.list_request(everywhere)))?;
            models.extend(answer.items);
            match answer.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(models),
            }
        }
    }

    /// What happens to one SmallModel (by name) or to all, the present state first. Ends at the first error.
    pub fn changes(
        &self,
        name: Option<&str>,
        everywhere: bool,
    ) -> impl Stream<Item = Result<watcher::Event<SmallModel>, CliError>> + use<> {
        let mut config = watcher::Config::default();
        if let Some(name) = name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let (cluster, name) = (self.clone(), name.map(str::to_owned));
        watcher(self.scope(everywhere), config).map(move |event| {
            let request = match &name {
                Some(name) => cluster.about("watch", name),
                None => Request {
                    verb: "watch",
                    ..cluster.list_request(everywhere)
                },
            };
            event.map_err(|error| of_watch(error, &request))
        })
    }

    fn scope(&self, everywhere: bool) -> Api<SmallModel> {
        if everywhere {
            Api::all(self.client.clone())
        } else {
            self.models()
        }
    }

    fn list_request(&self, everywhere: bool) -> Request<'_> {
        Request {
            server: &self.server,
            verb: "list",
            namespace: (!everywhere).then_some(&self.namespace),
            name: None,
        }
    }
}

/// What a broken watch means.
fn of_watch(error: watcher::Error, request: &Request<'_>) -> CliError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => CliError::of(error, request),
        watcher::Error::WatchError(status) => CliError::of_status(&status, request),
        error @ watcher::Error::NoResourceVersion => CliError::Unreadable(error.to_string()),
    }
}

async fn config(connection: &Connection) -> Result<Config, CliError> {
    let unusable = |error: kube::config::KubeconfigError| CliError::Kubeconfig(error.to_string());
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let kubeconfig = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(unusable)?,
        None => match Kubeconfig::read() {
            Ok(kubeconfig) => kubeconfig,
            // In a pod there is no kubeconfig, but a service account.
            Err(error) => return Config::incluster().map_err(|_| unusable(error)),
        },
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(unusable)
}
