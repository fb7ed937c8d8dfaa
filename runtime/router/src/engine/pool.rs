use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use rand::RngExt;
use tokio::time::{Duration, Instant};

/// An idle connection is not used again after this. Below the engine's own limit, so that the router closes first.
const IDLE: Duration = Duration::from_secs(15);
/// A connection lives for a random time within these bounds, so that no arm keeps a better set of connections.
const AGE_SECONDS: std::ops::Range<u64> = 60..120;

/// Idle connections to one engine, the last used on top.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection that has proven the engine's key.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    retire: Instant,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>) -> Self {
        let age = Duration::from_secs(rand::rng().random_range(AGE_SECONDS));
        Self {
            sender,
            retire: Instant::now() + age,
        }
    }
}

impl Pool {
    pub(super) fn new(idle_max: usize) -> Self {
        Self {
            idle: Mutex::new(Vec::with_capacity(idle_max)),
            idle_max,
        }
    }

    /// An idle connection that can take a request; the others on the way are closed.
    pub(super) async fn take(&self) -> Option<Connection> {
        while let Some(idle) = self.pop() {
            let now = Instant::now();
            let mut connection = idle.connection;
            let fresh = now < connection.retire && now < idle.since + IDLE;
            if fresh && connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to its end.
    pub(super) fn put(&self, connection: Connection) {
        let now = Instant::now();
        if connection.sender.is_closed() || now >= connection.retire {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle {
                connection,
                since: now,
            });
        }
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn pop(&self) -> Option<Idle> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
