//! How the operator talks to the API server: one client with a rate limit, a time limit a call and metrics, and what its errors mean.

pub mod error;
pub mod events;
pub mod gate;
pub mod limiter;
pub mod request;

use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

use gate::{Gate, GateLayer};

/// Time for a connection to the API server to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client behind a gate.
///
/// # Errors
/// When the TLS configuration is unusable.
pub fn client(mut config: Config, gate: Arc<Gate>) -> Result<Client, kube::Error> {
    // Retries are decided where it is known what is retried: backoff per SmallModel and per watch.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&GateLayer::new(gate))
        .build())
}
