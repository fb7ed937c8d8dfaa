use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use tokio::time::{Duration, timeout};

use super::client::EngineClient;

/// Most bytes of an answer to a readiness check.
const BODY_MAX: usize = 4_096;

/// Asks an engine whether it is ready. The error says why not, for people.
pub(super) async fn ready(client: &Arc<EngineClient>, limit: Duration) -> Result<(), String> {
    timeout(limit, ask(client)).await.unwrap_or_else(|_| {
        Err(format!(
            "{} gives no answer to /readyz within {limit:?}",
            client.address()
        ))
    })
}

async fn ask(client: &Arc<EngineClient>) -> Result<(), String> {
    let request = Request::get("/readyz")
        .header(hyper::header::HOST, client.address().to_string())
        .body(Full::new(Bytes::new()))
        .expect("a fixed path and an address make a request");
    let (response, connection) = client
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    if body.is_ok() {
        connection.give_back();
    }
    if status.is_success() {
        Ok(())
    } else {
        Err(format!(
            "{} answers /readyz with {status}",
            client.address()
        ))
    }
}
