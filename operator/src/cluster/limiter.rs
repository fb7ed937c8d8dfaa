//! Rate limit of calls, as arithmetic: how long the next call has to wait.

use std::time::{Duration, Instant};

/// A token bucket in the form of one instant: when the next call would be due if calls came evenly (GCRA).
#[derive(Debug)]
pub struct Limiter {
    interval: Duration,
    burst: u32,
    due: Option<Instant>,
}

impl Limiter {
    /// `per_second` calls for ever, and up to `burst` at once. Both at least 1.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            burst: burst.max(1),
            due: None,
        }
    }

    /// Takes a turn at `now`; the caller waits this long before it calls.
    pub fn reserve(&mut self, now: Instant) -> Duration {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + self.interval);
        let ahead = due.saturating_duration_since(now);
        ahead.saturating_sub(self.interval * (self.burst - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_calls_come_evenly() {
        let mut limiter = Limiter::new(10, 3);
        let start = Instant::now();
        let waits: Vec<_> = (0..5).map(|_| limiter.reserve(start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn what_was_not_used_does_not_grow_beyond_the_burst() {
        let mut limiter = Limiter::new(10, 2);
        let start = Instant::now();
        limiter.reserve(start);
        let later = start + Duration::from_secs(60);
        let waits: Vec<_> = (0..3).map(|_| limiter.reserve(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100]);
    }
}
