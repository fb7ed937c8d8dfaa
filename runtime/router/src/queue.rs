//! An arm's own bounded queue. A shared one would hide the candidate's slowness behind stable's.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that an arm works on, and those that wait for it, first come first served.
#[derive(Debug)]
pub struct ArmQueue {
    slots: Arc<Semaphore>,
    places: Semaphore,
    slots_max: usize,
    places_max: usize,
}

/// The queue of an arm is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl ArmQueue {
    /// `slots` requests are worked on, `places` wait.
    #[must_use]
    pub fn new(slots: NonZeroUsize, places: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots.get())),
            places: Semaphore::new(places),
            slots_max: slots.get(),
            places_max: places,
        }
    }

    /// Waits for a slot; refuses at once when too many wait already. Giving up is dropping the future.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, Full> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let _place = self.places.try_acquire().map_err(|_| Full)?;
        // Semaphores of this type are never closed.
        self.slots.clone().acquire_owned().await.map_err(|_| Full)
    }

    /// Requests that are worked on.
    #[must_use]
    pub fn working(&self) -> usize {
        self.slots_max - self.slots.available_permits()
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places_max - self.places.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_fits_is_refused_at_once() {
        let queue = ArmQueue::new(NonZeroUsize::MIN, 1);
        let first = queue.enter().await.unwrap();
        let second = queue.enter();
        tokio::pin!(second);
        assert!(futures_poll(&mut second).is_none());
        assert_eq!((queue.working(), queue.waiting()), (1, 1));
        assert_eq!(queue.enter().await.unwrap_err(), Full);
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!((queue.working(), queue.waiting()), (0, 0));
    }

    /// Polls once.
    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
