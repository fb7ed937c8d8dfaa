//! What the load program says about the requests that it sent. Times are wall-clock milliseconds: every node of the local cluster
//! is a namespace of one machine, so they compare.

use serde::{Deserialize, Serialize};

/// Port on which a load pod answers `GET /records?from=N`.
pub const STATS_PORT: u16 = 9090;

/// One request, from the application's view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the requests of one load pod from 0: each number has exactly one record.
    pub number: u64,
    /// Which of the known inputs it was, from 0.
    pub example: usize,
    /// When it was sent, milliseconds since the Unix epoch.
    pub sent_milliseconds: u64,
    /// Until the last byte, microseconds.
    pub latency_microseconds: u64,
    /// Until the first text of a chat answer, microseconds; 0 for anything else.
    pub first_token_microseconds: u64,
    /// 0 where no answer came.
    pub status: u16,
    pub arm: String,
    pub revision: String,
    /// Node of the pod that answered.
    pub node: String,
    /// Label of the answer; empty without a good one.
    pub label: String,
    /// The label was the expected one; the stream of a chat was whole.
    pub right: bool,
    /// Why there was no good answer; empty otherwise.
    pub error: String,
}

impl Record {
    /// A complete answer of status 200.
    #[must_use]
    pub fn good(&self) -> bool {
        self.status == 200 && self.error.is_empty()
    }

    /// When the answer was complete, milliseconds since the Unix epoch.
    #[must_use]
    pub fn done_milliseconds(&self) -> u64 {
        self.sent_milliseconds + self.latency_microseconds / 1000
    }
}

/// Answer of `GET /records?from=N`: records in the order of their completion, from index N on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// Node of the load pod.
    pub node: String,
    /// Index to ask from next.
    pub next: usize,
    pub records: Vec<Record>,
}

/// Median of some latencies, microseconds; 0 without any.
#[must_use]
pub fn median_microseconds(records: &[Record]) -> u64 {
    median(records.iter().map(|record| record.latency_microseconds))
}

/// Median time to the first token of some chat answers, microseconds; 0 without any.
#[must_use]
pub fn median_first_token_microseconds<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    median(records.map(|record| record.first_token_microseconds))
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
