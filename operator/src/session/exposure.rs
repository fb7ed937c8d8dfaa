//! Exposed time: how long at least one router had a grant with traffic, on the monotonic clock.

use std::time::{Duration, Instant};

/// A stopwatch that is told, again and again, whether it should run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exposure {
    total: Duration,
    running_since: Option<Instant>,
}

impl Exposure {
    /// Accounts for the time until now and goes on running, or not.
    pub(super) fn update(&mut self, now: Instant, running: bool) {
        if let Some(since) = self.running_since {
            self.total += now.saturating_duration_since(since);
        }
        self.running_since = running.then_some(now);
    }

    pub(super) const fn total(&self) -> Duration {
        self.total
    }

    /// The total so far was taken over by somebody else.
    pub(super) fn taken(&mut self) {
        self.total = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_only_while_told_to() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut exposure = Exposure::default();
        exposure.update(at(0), true);
        exposure.update(at(3), true);
        exposure.update(at(5), false);
        exposure.update(at(100), false);
        assert_eq!(exposure.total(), Duration::from_secs(5));
        exposure.taken();
        exposure.update(at(101), true);
        exposure.update(at(103), true);
        assert_eq!(exposure.total(), Duration::from_secs(2));
    }
}
