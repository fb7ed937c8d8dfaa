//! Accepts connections, and lets them end when they are old or the process must.
//!
//! A client that connected while its own node had no Ready pod would stay with another node for as long as it keeps its connection
//! alive; so no connection is kept for ever.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::serve::Front;
use super::stall::StallLimit;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for a request's head, and for an idle connection.
const HEAD: Duration = Duration::from_secs(60);
/// How long a client may leave its answer unread.
const STALL: Duration = Duration::from_secs(30);
/// Bytes that are read ahead, which bounds a request's head too.
const BUFFER_MAX: usize = 64 * 1024;
/// Pause after the kernel refuses a connection, as when files run out.
const REFUSED: Duration = Duration::from_millis(50);

/// Accepts until `closing`, then closes politely; ends when the last connection has ended. A connection ends with the first answer
/// after a random time from `age` to twice that, and the answer's head says so: no request is lost to it.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    age: Duration,
    closing: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((stream, place)) = accepted {
            let retire = Instant::now() + age.mul_f64(rand::rng().random_range(1.0..2.0));
            connections.spawn(connection(
                stream,
                place,
                front.clone(),
                retire,
                closing.clone(),
            ));
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            warn!(%error, "a connection was not accepted");
            sleep(REFUSED).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    front: Arc<Front>,
    retire: Instant,
    closing: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection ended before it began");
        return;
    }
    let io = TokioIo::new(StallLimit::new(stream, STALL));
    let service = service_fn(|request| {
        let front = front.clone();
        async move {
            let mut answer = front.answer(request).await;
            if Instant::now() >= retire {
                let headers = answer.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
    drop(place);
}
