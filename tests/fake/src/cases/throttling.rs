//! A server that sheds load.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use axum::http::{Request, Response, StatusCode, header};
use futures::future::join_all;
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::Bench;

/// A real server lets a few through, so many come at once.
const AT_ONCE: usize = 50;
/// A real server takes a moment to know whom to shed.
const ROUNDS: usize = 20;

pub(super) async fn what_is_too_much_is_told_to_come_back(bench: Bench) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/configmaps", bench.namespace);
    for _ in 0..ROUNDS {
        let requests = (0..AT_ONCE).map(|_| async {
            let request = Request::get(&path).body(Body::empty())?;
            anyhow::Ok(bench.throttled.send(request).await?)
        });
        for answer in join_all(requests).await {
            let answer = answer?;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                return check(answer).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("no request was shed")
}

async fn check(answer: Response<Body>) -> Result<()> {
    let after = answer.headers().get(header::RETRY_AFTER).cloned();
    ensure!(after.is_some_and(|seconds| seconds == "1"), "Retry-After");
    let body = answer.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    ensure!(
        text == "Too many requests, please try again later.\n",
        "{text}"
    );
    Ok(())
}
