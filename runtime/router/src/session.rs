//! The session with the operator: check-ins always, a stream when told. Serving never depends on any of it.

mod dial;
mod link;
mod stream;
mod wire;

use std::sync::Arc;

use smallfleet_protocol::timing::CHECK_IN_SECONDS_MAX;
use smallfleet_protocol::v1::Hello;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::dial::Dialer;
use self::dial::SessionError;
use self::link::Answer;
use self::stream::StreamEnd;
pub use self::wire::Identity;
use crate::config::{Role, Timing};
use crate::engine::own::OwnEngine;
use crate::metrics::{Metrics, SessionState};
use crate::plane::Plane;

/// Redirects in a row before the router waits.
const REDIRECTS_MAX: u32 = 3;

/// Keeps the operator informed and takes its routes.
#[derive(Debug)]
pub struct Session {
    /// Who this router is.
    pub identity: Identity,
    /// Where the operator is and how to prove oneself.
    pub dialer: Dialer,
    /// Takes the routes, gives the counts.
    pub plane: Arc<Plane>,
    /// What is told about the own engine.
    pub own: OwnEngine,
    /// Shows the session's state.
    pub metrics: Arc<Metrics>,
    /// Intervals.
    pub timing: Timing,
}

/// What to do after a check-in.
enum Next {
    /// The leader is elsewhere.
    Redirect(String),
    /// Wait for this long, or for news of the engine.
    Wait(Duration),
    /// The process ends.
    Stop,
}

impl Session {
    /// Runs until `stop`; then sends a last report if a stream is open.
    pub async fn run(self, stop: CancellationToken) {
        let mut leader: Option<String> = None;
        let (mut failures, mut redirects) = (0, 0);
        let mut news = self.own.watch();
        loop {
            let began = Instant::now();
            news.mark_unchanged();
            let next = tokio::select! {
                () = stop.cancelled() => return,
                answer = self.check_in(leader.as_deref()) => match answer {
                    Ok((answer, link)) => {
                        failures = 0;
                        self.follow(answer, link, &stop).await
                    }
                    Err(error) => {
                        failures += 1;
                        leader = None;
                        self.metrics.session(SessionState::Disconnected);
                        warn!(%error, "the operator was not reached; serving goes on");
                        Next::Wait(self.backoff(failures))
                    }
                },
            };
            let wait = match next {
                Next::Stop => return,
                Next::Redirect(address) if redirects < REDIRECTS_MAX && !address.is_empty() => {
                    redirects += 1;
                    leader = Some(address);
                    continue;
                }
                Next::Redirect(_) => {
                    failures += 1;
                    leader = None;
                    self.backoff(failures)
                }
                Next::Wait(wait) => wait,
            };
            redirects = 0;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
                _ = news.changed() => {
                    info!("checking in at once: the engine's state changed");
                    sleep_until(began + self.timing.check_in_min).await;
                }
            }
        }
    }

    async fn check_in(&self, leader: Option<&str>) -> Result<(Answer, link::Link), SessionError> {
        let mut link = self.dialer.dial(leader)?;
        let answer = link.check_in(self.hello()).await?;
        Ok((answer, link))
    }

    fn hello(&self) -> Hello {
        wire::hello(&self.identity, &self.own.now(), self.plane.last_cut())
    }

    async fn follow(&self, answer: Answer, mut link: link::Link, stop: &CancellationToken) -> Next {
        match answer {
            Answer::NotLeader(address) => Next::Redirect(address),
            Answer::Welcome(welcome) if welcome.stream => {
                let end = self.stream(&mut link, stop).await;
                self.metrics.session(SessionState::Disconnected);
                match end {
                    Ok(StreamEnd::Stopped) => Next::Stop,
                    Ok(StreamEnd::Redirected(address)) => Next::Redirect(address),
                    Ok(StreamEnd::Closed(why)) => {
                        info!(why, "the stream ended");
                        Next::Wait(self.jitter())
                    }
                    Err(error) => {
                        warn!(%error, "the stream broke; serving goes on");
                        Next::Wait(self.jitter())
                    }
                }
            }
            Answer::Welcome(welcome) => {
                self.metrics.session(SessionState::CheckedIn);
                let seconds = welcome.next_check_in_seconds.clamp(1, CHECK_IN_SECONDS_MAX);
                Next::Wait(Duration::from_secs(seconds.into()).mul_f64(random(0.9, 1.1)))
            }
        }
    }

    /// Spread over the routers of a wave, and short: the rollout waits for this one.
    fn jitter(&self) -> Duration {
        self.timing.reconnect_jitter.mul_f64(random(0.1, 1.0))
    }

    fn backoff(&self, failures: u32) -> Duration {
        if self.is_waited_for() {
            return self.jitter();
        }
        backoff(self.timing, failures).mul_f64(random(0.5, 1.0))
    }

    /// The lease of a held route runs, and a new leader grants none before it has heard the candidate.
    fn is_waited_for(&self) -> bool {
        self.identity.role == Role::Candidate || self.plane.holds_route()
    }
}

/// Doubles with every failure in a row.
fn backoff(timing: Timing, failures: u32) -> Duration {
    let doubled = timing.reconnect_jitter * 2_u32.pow(failures.min(10));
    doubled.min(timing.backoff_max)
}

fn random(low: f64, high: f64) -> f64 {
    low + (high - low) * rand::random::<f64>()
}
