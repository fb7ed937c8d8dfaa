//! Lines that tell a waiting person what is going on, with the seconds since the start.

use std::time::{Duration, Instant};

/// Prints progress lines on standard error, or keeps silent.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    start: Instant,
    silent: bool,
}

impl Progress {
    pub fn shown() -> Self {
        Self {
            start: Instant::now(),
            silent: false,
        }
    }

    pub fn silent() -> Self {
        Self {
            start: Instant::now(),
            silent: true,
        }
    }

    pub fn say(&self, line: impl AsRef<str>) {
        if !self.silent {
            let seconds = self.elapsed().as_secs_f64();
            eprintln!("[{seconds:6.1} s] {}", line.as_ref());
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
