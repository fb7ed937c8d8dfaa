//! The engine thread's work on a generator. Answers take turns, one step each, so that a long one holds up nobody; the next
//! request begins when there is memory for its prompt and its longest answer, first come first served.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::mpsc;

use super::answer::{AnswerAtWork, Next};
use super::{Budget, Event, GenerationJob, MAX_TOKENS_DEFAULT, Refusal, Usage};
use crate::metrics::{Metrics, Stage};
use crate::model::{Generator, ModelError, Step, StopText, TextStream};
use crate::work::WorkError;
use crate::work::progress::Progress;

/// A request that waits for memory.
struct Waiting {
    job: GenerationJob,
    prompt: Vec<u32>,
    max_tokens: usize,
}

pub struct Worker<'a> {
    generator: Generator,
    budget: Budget,
    metrics: &'a Metrics,
    progress: &'a Progress,
    waiting: VecDeque<Waiting>,
    at_work: Vec<AnswerAtWork>,
}

impl<'a> Worker<'a> {
    pub fn new(
        generator: Generator,
        budget: Budget,
        metrics: &'a Metrics,
        progress: &'a Progress,
    ) -> Self {
        Self {
            generator,
            budget,
            metrics,
            progress,
            waiting: VecDeque::new(),
            at_work: Vec::new(),
        }
    }

    /// Until no sender is left.
    pub fn work(mut self, mut jobs: mpsc::Receiver<GenerationJob>) {
        loop {
            if self.waiting.is_empty() && self.at_work.is_empty() {
                let Some(job) = jobs.blocking_recv() else {
                    return;
                };
                self.take(job);
            }
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            self.drop_abandoned();
            self.begin_waiting();
            self.step_all();
        }
    }

    /// Reads a request's prompt, and refuses what can never be answered.
    fn take(&mut self, job: GenerationJob) {
        if job.events.is_closed() {
            return;
        }
        let began = Instant::now();
        let read = self.read(&job);
        self.metrics.observe(Stage::Tokenize, began.elapsed());
        match read {
            Ok((prompt, max_tokens)) => self.waiting.push_back(Waiting {
                job,
                prompt,
                max_tokens,
            }),
            // The client may have left meanwhile.
            Err(refusal) => drop(job.events.try_send(Event::Refused(refusal))),
        }
    }

    fn read(&self, job: &GenerationJob) -> Result<(Vec<u32>, usize), Refusal> {
        let tokens = self.generator.read(&job.prompt)?;
        let prompt = tokens.len();
        let most = self.generator.context_tokens().min(self.budget.tokens);
        let room = most.saturating_sub(prompt);
        let wanted = job.max_tokens.unwrap_or(room.clamp(1, MAX_TOKENS_DEFAULT));
        if wanted > room {
            return Err(Refusal::TooLong {
                prompt,
                wanted,
                most,
            });
        }
        Ok((tokens, wanted))
    }

    /// Ends the work of clients that left, and of those whose deadline has passed.
    fn drop_abandoned(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|waiting| {
            let job = &waiting.job;
            !is_over(&job.events, job.deadline, now)
        });
        for index in (0..self.at_work.len()).rev() {
            let answer = &self.at_work[index];
            if is_over(&answer.events, answer.deadline, now) {
                self.remove(index);
            }
        }
    }

    fn begin_waiting(&mut self) {
        while let Some(next) = self.waiting.front() {
            if !self.budget.take(next.prompt.len() + next.max_tokens) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            let reserved = next.prompt.len() + next.max_tokens;
            if let Err((events, error)) = self.begin(next) {
                self.budget.give_back(reserved);
                fail(&events, &error);
            }
        }
    }

    fn begin(&mut self, next: Waiting) -> Result<(), (mpsc::Sender<Event>, ModelError)> {
        let Waiting {
            job,
            prompt,
            max_tokens,
        } = next;
        self.metrics.observe(Stage::Queue, job.queued_at.elapsed());
        let usage = Usage {
            prompt_tokens: prompt.len(),
            completion_tokens: 0,
        };
        let generation = self
            .generator
            .begin(prompt, max_tokens, &job.settings, rand::random());
        let generation = match generation {
            Ok(generation) => generation,
            Err(error) => return Err((job.events, error)),
        };
        self.at_work.push(AnswerAtWork {
            generation,
            stream: TextStream::default(),
            stop: StopText::new(job.stop),
            usage,
            max_tokens,
            queued_at: job.queued_at,
            deadline: job.deadline,
            events: job.events,
            spoke: false,
        });
        Ok(())
    }

    /// One step of every answer; each looks at its client and its deadline first.
    fn step_all(&mut self) {
        for index in (0..self.at_work.len()).rev() {
            let answer = &self.at_work[index];
            let over = is_over(&answer.events, answer.deadline, Instant::now());
            if over || self.step(index) == Next::Ended {
                self.remove(index);
            }
        }
    }

    fn step(&mut self, index: usize) -> Next {
        let answer = &mut self.at_work[index];
        self.progress.begin_run();
        let began = Instant::now();
        let step = self.generator.step(&mut answer.generation);
        self.metrics.observe(Stage::Run, began.elapsed());
        self.progress.end_run();
        let spoke = answer.spoke;
        let next = match step {
            Ok(Step::Read) => Ok(Next::GoesOn),
            Ok(Step::End) => Ok(answer.ended()),
            Ok(Step::Token(token)) => self
                .generator
                .text(&mut answer.stream, token)
                .map(|text| answer.token(&text)),
            Err(error) => Err(error),
        };
        if !spoke && answer.spoke {
            self.metrics
                .observe(Stage::FirstToken, answer.queued_at.elapsed());
        }
        next.unwrap_or_else(|error| {
            fail(&answer.events, &error);
            Next::Ended
        })
    }

    /// Gives the memory of an answer back.
    fn remove(&mut self, index: usize) {
        let answer = self.at_work.swap_remove(index);
        self.budget.give_back(answer.reserved());
        self.metrics
            .count_tokens(answer.usage.prompt_tokens, answer.usage.completion_tokens);
    }
}

/// Whether nobody waits for the answer any more; whoever waits is told that it is late.
fn is_over(events: &mpsc::Sender<Event>, deadline: Instant, now: Instant) -> bool {
    let late = deadline <= now;
    if late {
        let _ = events.try_send(Event::Late);
    }
    late || events.is_closed()
}

fn fail(events: &mpsc::Sender<Event>, error: &ModelError) {
    tracing::error!(%error, "the model failed");
    let _ = events.try_send(Event::Failed(WorkError::Model(error.to_string())));
}
