//! Exposed time: how long at least one router had a grant with traffic, on the monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

/// A stopwatch that is told, again and again, until when it may run at most: nobody may be there to stop it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exposure {
    total: Duration,
    /// Last time that was accounted for, and until when the stopwatch runs by itself.
    running: Option<(Instant, Instant)>,
}

impl Exposure {
    /// Goes on after what others have measured.
    pub(super) fn after(total: Duration) -> Self {
        Self {
            total,
            running: None,
        }
    }

    /// Accounts for the time until now and runs on, at most until `until`, or not at all.
    pub(super) fn update(&mut self, now: Instant, until: Option<Instant>) {
        if let Some((since, end)) = self.running {
            self.total += end.min(now).saturating_duration_since(since);
        }
        self.running = until.map(|until| (now, until));
    }

    pub(super) const fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    #[test]
    fn runs_only_while_told_to() {
        let (at, mut exposure) = (clock(), Exposure::default());
        exposure.update(at(0), Some(at(10)));
        exposure.update(at(3), Some(at(13)));
        exposure.update(at(5), None);
        exposure.update(at(100), None);
        assert_eq!(exposure.total(), Duration::from_secs(5));
    }

    #[test]
    fn a_lease_that_nobody_looked_at_ends_the_time_by_itself() {
        let (at, mut exposure) = (clock(), Exposure::default());
        exposure.update(at(0), Some(at(10)));
        exposure.update(at(300), None);
        assert_eq!(exposure.total(), Duration::from_secs(10));
    }
}
