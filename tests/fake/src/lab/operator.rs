//! One operator process: everything that `main` builds, on a connection of its own.

use std::cell::Cell;
use std::sync::Arc;

use smallfleet_core::world::Defaults;
use smallfleet_operator::admin::Progress;
use smallfleet_operator::apply::Applier;
use smallfleet_operator::caches::{Caches, WAKE_CAPACITY};
use smallfleet_operator::controller::{self, Context};
use smallfleet_operator::metrics::Metrics;
use smallfleet_operator::observe::{Client_, Observer};
use smallfleet_operator::session::Hub;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::server::{Connection, FakeServer, Fault};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The same bits in the same order after every [`same_bits_again`].
fn random() -> u128 {
    let calls = CALLS.get() + 1;
    CALLS.set(calls);
    u128::from(calls).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// So that a run differs from another one by its fault alone. Snapshots of later epochs have bits of their own.
pub(super) fn same_bits_again(epoch: u64) {
    CALLS.set(epoch * 1_000_000);
}

/// A leader.
#[derive(Debug)]
pub struct Operator {
    pub connection: Connection,
    pub hub: Hub,
    pub caches: Caches,
    pub epoch: u64,
    task: JoinHandle<()>,
}

impl Operator {
    /// Starts as the elected leader of this epoch.
    pub fn start(server: &FakeServer, epoch: u64, fault: Fault, defaults: &Defaults) -> Self {
        let connection = Connection::new(&format!("operator-{epoch}"), fault);
        let client = server.client(&connection);
        let (wake, wakes) = mpsc::channel(WAKE_CAPACITY);
        let hub = Hub::new(wake.clone());
        let caches = Caches::start(&client, &wake);
        let metrics = Metrics::new().expect("metrics have distinct names");
        let (kept, leading, defaults) = (caches.clone(), hub.clone(), defaults.clone());
        let lead = async move {
            kept.ready().await;
            leading.lead(epoch);
            let observer = Observer {
                client: Client_(client.clone()),
                caches: kept,
                hub: leading.clone(),
                defaults,
                random,
                epoch,
                since: Instant::now(),
            };
            let name = format!("operator-{epoch}");
            let applier = Applier::new(client.clone(), leading.clone(), name, metrics.clone());
            let context = Context::new(observer, applier, leading, metrics, Progress::default());
            controller::run(client, Arc::new(context), wakes, CancellationToken::new()).await;
        };
        Self {
            connection,
            hub,
            caches,
            epoch,
            task: tokio::spawn(lead),
        }
    }

    /// The process is gone.
    pub fn end(self) {
        self.task.abort();
    }
}
