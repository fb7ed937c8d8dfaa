//! The bounded queue before the model: so many requests at work, so many waiting, and a plain no to the next.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Nobody may wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug, Clone)]
pub struct Admission {
    /// At work or waiting.
    places: Arc<Semaphore>,
    /// At work. First come, first served.
    turns: Arc<Semaphore>,
    queued: usize,
    concurrent: usize,
}

/// A place in the queue; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

/// The right to be worked on; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _place: Place,
    _turn: OwnedSemaphorePermit,
}

impl Admission {
    pub fn new(concurrent: NonZeroUsize, queued: usize) -> Self {
        let concurrent = concurrent.get().min(Semaphore::MAX_PERMITS / 2);
        let queued = queued.min(Semaphore::MAX_PERMITS / 2);
        Self {
            places: Arc::new(Semaphore::new(concurrent + queued)),
            turns: Arc::new(Semaphore::new(concurrent)),
            queued,
            concurrent,
        }
    }

    /// Takes a place, or says at once that there is none.
    pub fn enter(&self) -> Result<Place, Full> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Full)?;
        Ok(Place {
            _place: place,
            turns: Arc::clone(&self.turns),
        })
    }

    /// Requests that wait for their turn.
    pub fn waiting(&self) -> usize {
        let inside = self.concurrent + self.queued - self.places.available_permits();
        inside.saturating_sub(self.concurrent - self.turns.available_permits())
    }
}

impl Place {
    pub async fn turn(self) -> Turn {
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Turn {
            _place: self,
            _turn: turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(NonZeroUsize::MIN, 1)
    }

    #[tokio::test]
    async fn one_works_one_waits_the_next_is_refused() {
        let admission = admission();
        let working = admission.enter().unwrap().turn().await;
        let waiting = admission.enter().unwrap();
        assert_eq!(admission.enter().err(), Some(Full));
        assert_eq!(admission.waiting(), 1);
        drop(working);
        let _turn = waiting.turn().await;
        assert_eq!(admission.waiting(), 0);
        assert!(admission.enter().is_ok());
    }

    #[tokio::test]
    async fn whoever_leaves_the_queue_frees_the_place() {
        let admission = admission();
        let _working = admission.enter().unwrap().turn().await;
        let mut waiting = Box::pin(admission.enter().unwrap().turn());
        let woken = std::task::Waker::noop();
        assert!(
            waiting
                .as_mut()
                .poll(&mut std::task::Context::from_waker(woken))
                .is_pending()
        );
        drop(waiting);
        assert!(admission.enter().is_ok());
    }
}
