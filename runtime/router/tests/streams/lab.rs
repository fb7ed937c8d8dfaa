//! A front with two engines and a route by which every unit is the candidate's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use smallfleet_engine::{EngineState, Phase};
use smallfleet_router::engine::candidate;
use smallfleet_router::engine::own::Follower;
use smallfleet_router::front::{Front, listen};
use smallfleet_router::metrics::Metrics;
use smallfleet_router::plane::Plane;
use smallfleet_router::{Limits, Pod, Timing};
use smallfleet_runtime_core::lease::Echo;
use smallfleet_runtime_core::route::{Candidate, Freeze, Grant, Instruction, Route, Signal};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Answer};
use crate::engine::{Engine, Script};

const ROLLOUT: &str = "0123456789ab";
/// Far above what an idle machine needs for a short answer.
const THRESHOLD: Duration = Duration::from_millis(500);
const ERRORS_MATURITY: Duration = Duration::from_secs(3);

/// Counts of matured units.
#[derive(Debug)]
pub struct Counts {
    pub candidate_errors: u64,
    pub candidate_slow: u64,
    pub fallbacks: u64,
}

pub struct Lab {
    plane: Arc<Plane>,
    front: SocketAddr,
    _run_dir: TempDir,
}

impl Lab {
    pub async fn start(stable: Script, candidate: Script, signal: Signal) -> Self {
        Self::with_age(stable, candidate, signal, Timing::default().connection_age).await
    }

    /// Connections to the front live at least `age`.
    pub async fn with_age(
        stable: Script,
        candidate: Script,
        signal: Signal,
        age: Duration,
    ) -> Self {
        let (stable, candidate) = (Engine::start(stable).await, Engine::start(candidate).await);
        let limits = Limits {
            max_concurrent_requests: std::num::NonZeroUsize::new(4).unwrap(),
            max_queued_requests: 4,
            max_request_seconds: 20,
        };
        let run_dir = tempfile::tempdir().unwrap();
        write_state(&stable, &run_dir);
        let plane = Arc::new(Plane::new([1; 16], limits));
        let (follower, own) = Follower::new(
            run_dir.path().to_owned(),
            &pod(&stable),
            &limits,
            Timing::default(),
        );
        tokio::spawn(follower.run());
        own.watch().wait_for(|own| own.ready()).await.unwrap();
        let front = Front::new(
            plane.clone(),
            own,
            Arc::new(Metrics::new().unwrap()),
            HeaderValue::from_static("node"),
            Arc::default(),
        );
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(listen::serve(
            listener,
            Arc::new(front),
            age,
            CancellationToken::new(),
        ));
        let lab = Self {
            plane,
            front: address,
            _run_dir: run_dir,
        };
        lab.grant(&candidate, signal).await;
        lab
    }

    /// Every unit goes to the candidate, and is counted from the first.
    async fn grant(&self, candidate: &Engine, signal: Signal) {
        let grant = Grant {
            permille: 1000,
            candidate: Candidate {
                revision: "new".into(),
                address: candidate.address,
                fingerprint: candidate.fingerprint,
            },
            overrides: Vec::new(),
            freeze: Some(Arc::new(Freeze {
                index: 0,
                thresholds_us: vec![u64::try_from(THRESHOLD.as_micros()).unwrap()],
                rhos_permille: vec![1000],
            })),
            lease: Duration::from_secs(10),
            burn_in_units: 0,
            errors_maturity: ERRORS_MATURITY,
            signal,
        };
        let route = Route {
            rollout_id: ROLLOUT.into(),
            sequence: 1,
            leader_epoch: 1,
            instruction: Instruction::Grant(Arc::new(grant)),
        };
        self.plane.stream_started();
        self.plane.keep_alive_sent(1);
        self.plane.take_route(route).unwrap();
        self.plane.echoed(&Echo {
            nonce: 1,
            leader_epoch: 1,
            rollout_id: ROLLOUT,
            sequence: 1,
        });
        let interval = Duration::from_millis(50);
        tokio::spawn(candidate::check_readiness(
            self.plane.watch_candidate(),
            interval,
        ));
        while self.plane.routed_candidate().is_none() {
            tokio::time::sleep(interval).await;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.front
    }

    pub async fn post(&self, path: &str) -> Answer {
        client::post(self.front, path).await
    }

    /// Waits until so many units of the candidate have matured.
    pub async fn counts(&self, units: u64) -> Counts {
        loop {
            let report = self.plane.report();
            let epoch = &report.epochs[0];
            if epoch.errors.units.candidate == units && epoch.latency.units.candidate == units {
                return Counts {
                    candidate_errors: epoch.errors.events.candidate,
                    candidate_slow: epoch.latency.candidate[0],
                    fallbacks: epoch.totals.fallbacks,
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn write_state(engine: &Engine, run_dir: &TempDir) {
    let fingerprint = engine.fingerprint.iter();
    EngineState {
        state: Phase::Ready,
        fingerprint: fingerprint.map(|byte| format!("{byte:02x}")).collect(),
        instance: "0123456789abcdef".into(),
        node_class: "amd64-avx2".into(),
        failure: None,
    }
    .write(run_dir.path())
    .unwrap();
}

fn pod(engine: &Engine) -> Pod {
    Pod {
        name: String::new(),
        namespace: String::new(),
        uid: String::new(),
        ip: engine.address.ip(),
        engine_port: engine.address.port(),
        node: "node".into(),
        model_name: "chat".into(),
        revision: "old".into(),
    }
}
