//! Prints a story that a newcomer can follow: what happens, the real commands, the figures.

use std::fmt::Display;
use std::time::Instant;

/// Numbers the chapters and keeps the time.
#[derive(Debug)]
pub struct Story {
    start: Instant,
    chapter: u32,
}

impl Default for Story {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            chapter: 0,
        }
    }
}

impl Story {
    /// Begins a chapter.
    pub fn chapter(&mut self, title: impl Display) {
        self.chapter += 1;
        println!(
            "\n[{:>4} s] {}. {title}",
            self.start.elapsed().as_secs(),
            self.chapter
        );
    }

    /// A sentence of explanation.
    #[allow(clippy::unused_self)]
    pub fn say(&self, text: impl Display) {
        println!("  {text}");
    }

    /// A figure of the result.
    #[allow(clippy::unused_self)]
    pub fn figure(&self, name: impl Display, value: impl Display) {
        println!("  {name:.<44} {value}");
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}
