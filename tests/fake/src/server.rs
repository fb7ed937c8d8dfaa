//! A Kubernetes API server in memory, as far as the operator can tell it from a real one.
//!
//! Knows the kinds of `kinds` and nothing of schemas, defaults or permissions: it refuses an object for what is in it only where a test
//! says so.

mod apply;
mod connection;
mod fields;
mod garbage;
mod http;
pub mod kinds;
mod managers;
mod refusal;
mod schema;
mod selector;
mod store;
mod watch;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use connection::{Connection, Fault};
pub use refusal::Refusal;
pub use store::{Key, Store};

/// A write that was carried out.
#[derive(Debug)]
pub struct Written<'a> {
    /// The connection's name.
    pub by: &'a str,
    pub key: &'a Key,
    pub before: Option<&'a Value>,
    pub after: Option<&'a Value>,
    /// Through the status subresource.
    pub status: bool,
    pub store: &'a Store,
}

type Witness = Box<dyn FnMut(&Written<'_>) + Send>;
type Admission = Box<dyn Fn(&Key, &Value) -> Result<(), Refusal> + Send>;

/// The server; clones are the same one.
#[derive(Clone)]
pub struct FakeServer {
    store: Arc<Mutex<Store>>,
    changes: Arc<tokio::sync::Notify>,
    /// Ends every watch.
    watches: Arc<Mutex<CancellationToken>>,
    witness: Arc<Mutex<Option<Witness>>>,
    admission: Arc<Mutex<Option<Admission>>>,
    clock: Arc<dyn Fn() -> String + Send + Sync>,
}

impl std::fmt::Debug for FakeServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FakeServer")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeServer {
    /// Goes on from a snapshot. `clock` is this server's time of day, RFC 3339.
    #[must_use]
    pub fn new(store: Store, clock: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            changes: Arc::default(),
            watches: Arc::default(),
            store: Arc::new(Mutex::new(store)),
            witness: Arc::default(),
            admission: Arc::default(),
            clock: Arc::new(clock),
        }
    }

    /// Called at every write through a connection, before its answer.
    pub fn witness(&self, witness: impl FnMut(&Written<'_>) + Send + 'static) {
        *lock(&self.witness) = Some(Box::new(witness));
    }

    /// What may be created from now on, as quotas and other admission say.
    pub fn admit(&self, admission: impl Fn(&Key, &Value) -> Result<(), Refusal> + Send + 'static) {
        *lock(&self.admission) = Some(Box::new(admission));
    }

    /// A client whose requests go over this connection.
    #[must_use]
    pub fn client(&self, connection: &Connection) -> Client {
        let (server, connection) = (self.clone(), connection.clone());
        let answer = move |request| {
            let (server, connection) = (server.clone(), connection.clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(&connection, request).await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    /// What is stored now.
    #[must_use]
    pub fn snapshot(&self) -> Store {
        lock(&self.store).clone()
    }

    /// Reads the store.
    pub fn look<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&lock(&self.store))
    }

    /// Changes the store as other components of the cluster do: without a connection, unseen by the witness.
    pub fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let outcome = change(&mut lock(&self.store));
        self.announce();
        outcome
    }

    /// The server restarts and has no history: watches end, and one from before now is gone (410).
    pub fn restart(&self) {
        lock(&self.store).compact();
        std::mem::take(&mut *lock(&self.watches)).cancel();
    }

    /// The server's time of day.
    #[must_use]
    pub fn now(&self) -> String {
        (self.clock)()
    }

    /// Wakes the watches in the order in which they came: a test is the same every time.
    fn announce(&self) {
        self.changes.notify_waiters();
    }
}
