//! The requests that the engine thread works on: which texts are left, and what is known of the answers.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::oneshot;

use super::batch::{self, Pending};
use super::worker::{Answer, Job};
use crate::model::{Prediction, Tokens};
use crate::work::WorkError;

/// One request at work.
struct Active {
    tokens: Vec<Tokens>,
    predictions: Vec<Option<Prediction>>,
    missing: usize,
    deadline: Instant,
    answer: oneshot::Sender<Result<Answer, WorkError>>,
}

impl Active {
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.deadline <= now
    }
}

#[derive(Default)]
pub struct Desk {
    active: BTreeMap<u64, Active>,
    pending: Vec<Pending>,
    next_request: u64,
    last_served: u64,
}

impl Desk {
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a job whose texts are tokenised. It must have at least one text.
    pub fn take(&mut self, job: Job, tokens: Vec<Tokens>) {
        // Numbers begin with 1: 0 is "none yet" in `last_served`.
        self.next_request += 1;
        let request = self.next_request;
        self.pending
            .extend(tokens.iter().enumerate().map(|(text, it)| Pending {
                request,
                text,
                tokens: it.ids.len(),
            }));
        let active = Active {
            predictions: vec![None; tokens.len()],
            missing: tokens.len(),
            tokens,
            deadline: job.deadline,
            answer: job.answer,
        };
        self.active.insert(request, active);
    }

    /// Forgets the work of clients that left or whose deadline has passed.
    pub fn drop_abandoned(&mut self, now: Instant) {
        self.active.retain(|_, active| !active.is_abandoned(now));
        self.pending
            .retain(|it| self.active.contains_key(&it.request));
    }

    pub fn next_batch(&mut self, max_texts: usize) -> Vec<Pending> {
        let batch = batch::next(&mut self.pending, self.last_served, max_texts);
        if let Some(first) = batch.first() {
            self.last_served = first.request;
        }
        batch
    }

    pub fn tokens(&self, text: &Pending) -> &Tokens {
        &self
            .active
            .get(&text.request)
            .expect("a pending text belongs to an active request")
            .tokens[text.text]
    }

    /// Books the result of a batch and answers the requests that are complete.
    pub fn book(&mut self, batch: &[Pending], predictions: Vec<Prediction>) {
        for (text, prediction) in batch.iter().zip(predictions) {
            let active = self
                .active
                .get_mut(&text.request)
                .expect("a running text belongs to an active request");
            if active.predictions[text.text].replace(prediction).is_none() {
                active.missing -= 1;
            }
            if active.missing == 0
                && let Some(done) = self.active.remove(&text.request)
            {
                answer(done);
            }
        }
    }

    /// Answers all requests of a failed batch with the failure.
    pub fn fail(&mut self, batch: &[Pending], message: &str) {
        for text in batch {
            if let Some(failed) = self.active.remove(&text.request) {
                // The client may have left meanwhile.
                let _ = failed
                    .answer
                    .send(Err(WorkError::Model(message.to_owned())));
            }
        }
        self.pending
            .retain(|it| self.active.contains_key(&it.request));
    }
}

fn answer(done: Active) {
    let answer = Answer {
        truncated: done.tokens.iter().any(|tokens| tokens.truncated),
        predictions: done.predictions.into_iter().flatten().collect(),
    };
    // The client may have left meanwhile.
    let _ = done.answer.send(Ok(answer));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Received = oneshot::Receiver<Result<Answer, WorkError>>;

    fn job(desk: &mut Desk, lengths: &[usize], deadline: Instant) -> Received {
        let (answer, received) = oneshot::channel();
        let tokens = lengths
            .iter()
            .map(|&length| Tokens {
                ids: vec![1; length],
                truncated: false,
            })
            .collect();
        desk.take(
            Job {
                texts: Vec::new(),
                deadline,
                answer,
                queued_at: Instant::now(),
            },
            tokens,
        );
        received
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn prediction(best: usize) -> Prediction {
        Prediction {
            probabilities: vec![0.0; best + 1],
            best,
        }
    }

    #[test]
    fn a_request_is_answered_when_its_last_text_is_done_in_the_order_of_its_texts() {
        let mut desk = Desk::default();
        let mut received = job(&mut desk, &[10, 100], later());
        let first = desk.next_batch(8);
        assert_eq!(desk.tokens(&first[0]).ids.len(), 10);
        desk.book(&first, vec![prediction(7)]);
        assert!(received.try_recv().is_err());
        let second = desk.next_batch(8);
        desk.book(&second, vec![prediction(3)]);
        let answer = received.try_recv().unwrap().unwrap();
        assert_eq!(answer.predictions, [prediction(7), prediction(3)]);
        assert!(desk.is_empty());
    }

    #[test]
    fn work_of_clients_that_left_or_ran_out_of_time_is_not_done() {
        let mut desk = Desk::default();
        let left = job(&mut desk, &[10; 64], later());
        let _late = job(&mut desk, &[10], Instant::now());
        let mut kept = job(&mut desk, &[10], later());
        drop(left);
        desk.drop_abandoned(Instant::now());
        let batch = desk.next_batch(8);
        assert_eq!(batch.len(), 1);
        desk.book(&batch, vec![prediction(0)]);
        assert!(kept.try_recv().unwrap().is_ok());
    }

    #[test]
    fn a_failed_batch_fails_its_requests_and_no_others() {
        let mut desk = Desk::default();
        let mut failed = job(&mut desk, &[10; 9], later());
        let batch = desk.next_batch(8);
        let mut kept = job(&mut desk, &[10], later());
        desk.fail(&batch, "out of memory");
        assert!(matches!(
            failed.try_recv().unwrap(),
            Err(WorkError::Model(_))
        ));
        let batch = desk.next_batch(8);
        assert_eq!(batch.len(), 1);
        desk.book(&batch, vec![prediction(0)]);
        assert!(kept.try_recv().unwrap().is_ok());
    }
}
