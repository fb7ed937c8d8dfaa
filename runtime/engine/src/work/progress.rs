use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when the thread has been in one run of the model: tells a stuck engine from a busy one.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    /// Milliseconds after `started`, plus 1; 0 when no run is under way.
    run_began: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            run_began: AtomicU64::new(0),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    pub(super) fn begin_run(&self) {
        self.run_began.store(self.millis() + 1, Ordering::Relaxed);
    }

    pub(super) fn end_run(&self) {
        self.run_began.store(0, Ordering::Relaxed);
    }

    /// How long the current run has taken so far; zero when none is under way.
    pub fn current_run(&self) -> Duration {
        match self.run_began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_millis((self.millis() + 1).saturating_sub(began)),
        }
    }
}
