//! The life of a router: start, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{HeaderValue, InvalidHeaderValue};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::engine::candidate;
use crate::engine::own::{Follower, OwnEngine};
use crate::front::{Front, listen};
use crate::metrics::Metrics;
use crate::plane::Plane;
use crate::session::{Dialer, Identity, Session};

/// Beyond the longest request, for the last bytes to leave.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// For the session's last report.
const SESSION_END: Duration = Duration::from_secs(3);

/// Why a router cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose a free address with {variable}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What sets it.
        variable: &'static str,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// NODE_NAME goes into a header.
    #[error("the node name {0:?} cannot be sent in a header")]
    Node(String, #[source] InvalidHeaderValue),
    /// Two metrics have one name.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A router that serves.
#[derive(Debug)]
pub struct Router {
    front: SocketAddr,
    admin: SocketAddr,
    config: Config,
    plane: Arc<Plane>,
    own: OwnEngine,
    draining: Arc<AtomicBool>,
    closing: CancellationToken,
    ending: CancellationToken,
    serving: JoinHandle<()>,
    session: Option<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

/// Runs a router until `shutdown` is done and it has drained.
///
/// Needs a tokio runtime with time and I/O.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let router = Router::start(config).await?;
    shutdown.await;
    router.drain().await;
    Ok(())
}

impl Router {
    /// Binds its addresses and starts.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let node = HeaderValue::from_str(&config.pod.node);
        let node = node.map_err(|error| StartError::Node(config.pod.node.clone(), error))?;
        let listener = bind(config.front_listen, "SMALLFLEET_FRONT_LISTEN").await?;
        let admin_listener = bind(config.admin_listen, "SMALLFLEET_ADMIN_LISTEN").await?;
        let (front_address, admin_address) = (
            local(&listener, config.front_listen),
            local(&admin_listener, config.admin_listen),
        );
        let metrics = Arc::new(Metrics::new()?);
        let instance: [u8; 16] = rand::random();
        let plane = Arc::new(Plane::new(instance, config.limits));
        let (follower, own) = Follower::new(
            config.run_dir.clone(),
            &config.pod,
            &config.limits,
            config.timing,
        );
        let draining = Arc::new(AtomicBool::new(false));
        let (closing, ending) = (CancellationToken::new(), CancellationToken::new());
        let front = Arc::new(Front::new(
            plane.clone(),
            own.clone(),
            metrics.clone(),
            node,
            draining.clone(),
        ));
        let admin = admin::routes(Admin {
            plane: plane.clone(),
            own: own.clone(),
            metrics: metrics.clone(),
            draining: draining.clone(),
        });
        let session = session(&config, instance, &plane, &own, &metrics);
        let session = session.map(|session| tokio::spawn(session.run(ending.clone())));
        info!(front = %front_address, admin = %admin_address, role = ?config.role, "router");
        Ok(Self {
            front: front_address,
            admin: admin_address,
            helpers: helpers(&plane, follower, admin_listener, admin, &config),
            serving: tokio::spawn(listen::serve(
                listener,
                front,
                config.timing.connection_age,
                closing.clone(),
            )),
            config,
            plane,
            own,
            draining,
            closing,
            ending,
            session,
        })
    }

    /// Where applications call.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.front
    }

    /// Where health checks and metrics are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The shared state.
    #[must_use]
    pub fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    /// The own engine.
    #[must_use]
    pub fn own(&self) -> &OwnEngine {
        &self.own
    }

    /// Says not ready, still accepts for a while, then closes politely, finishes what runs and sends the last counts.
    pub async fn drain(self) {
        info!("draining");
        self.draining.store(true, Ordering::Relaxed);
        sleep(self.config.timing.drain_accept).await;
        self.closing.cancel();
        let limit = self.config.limits.deadline() + DRAIN_MARGIN;
        let abort = self.serving.abort_handle();
        if timeout(limit, self.serving).await.is_err() {
            warn!("connections were still open at the end");
            abort.abort();
        }
        self.ending.cancel();
        if let Some(session) = self.session
            && timeout(SESSION_END, session).await.is_err()
        {
            warn!("the session did not end in time");
        }
        for helper in self.helpers {
            helper.abort();
        }
        info!("drained");
    }
}

/// Tasks that run beside serving until the process ends.
fn helpers(
    plane: &Arc<Plane>,
    follower: Follower,
    admin_listener: TcpListener,
    admin: axum::Router,
    config: &Config,
) -> Vec<JoinHandle<()>> {
    let house = plane.clone();
    let candidates = plane.watch_candidate();
    vec![
        tokio::spawn(async move { house.keep_house().await }),
        tokio::spawn(follower.run()),
        tokio::spawn(candidate::check_readiness(
            candidates,
            config.timing.readiness,
        )),
        tokio::spawn(async move {
            if let Err(error) = axum::serve(admin_listener, admin).await {
                warn!(%error, "health checks and metrics ended");
            }
        }),
    ]
}

fn session(
    config: &Config,
    instance: [u8; 16],
    plane: &Arc<Plane>,
    own: &OwnEngine,
    metrics: &Arc<Metrics>,
) -> Option<Session> {
    let session_dir = config.session_dir.clone()?;
    Some(Session {
        identity: Identity {
            instance: instance.iter().map(|byte| format!("{byte:02x}")).collect(),
            role: config.role,
            pod: config.pod.clone(),
        },
        dialer: Dialer {
            session_dir,
            token_file: config.token_file.clone(),
        },
        plane: plane.clone(),
        own: own.clone(),
        metrics: metrics.clone(),
        timing: config.timing,
    })
}

async fn bind(address: SocketAddr, variable: &'static str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen {
        address,
        variable,
        source,
    })
}

/// The real port where 0 was asked for.
fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
