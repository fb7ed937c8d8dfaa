//! What the load pods of one application tell, read a page at a time.

use anyhow::{Context, Result};
use smallfleet_e2e::load::{Page, Record, STATS_PORT};

use crate::ask;

/// Reads on where it stopped.
#[derive(Debug)]
pub struct Records {
    pods: Vec<(String, usize)>,
    /// Since the last [`Records::forget`].
    all: Vec<Record>,
}

impl Records {
    pub fn new(addresses: Vec<String>) -> Self {
        Self {
            pods: addresses.into_iter().map(|address| (address, 0)).collect(),
            all: Vec::new(),
        }
    }

    /// Begins anew: what was sent until now is left out.
    pub async fn forget(&mut self) -> Result<()> {
        self.read().await?;
        self.all.clear();
        Ok(())
    }

    /// Everything that was answered since the last [`Records::forget`].
    pub async fn read(&mut self) -> Result<&[Record]> {
        for (address, next) in &mut self.pods {
            let socket = format!("{address}:{STATS_PORT}").parse()?;
            let (status, body) = ask::get(socket, &format!("/records?from={next}")).await?;
            let page: Page = serde_json::from_slice(&body)
                .with_context(|| format!("answer {status} of the load pod {address}"))?;
            *next = page.next;
            self.all.extend(page.records);
        }
        Ok(&self.all)
    }
}

/// Records of one arm.
pub fn of_arm<'a>(records: &'a [Record], arm: &'a str) -> impl Iterator<Item = &'a Record> + Clone {
    records.iter().filter(move |record| record.arm == arm)
}

/// Requests without a good answer.
pub fn failed(records: &[Record]) -> usize {
    records.iter().filter(|record| !record.good()).count()
}

/// Requests that were told to come back because the queue was full (429).
pub fn queue_full(records: &[Record]) -> usize {
    records.iter().filter(|one| one.status == 429).count()
}
