//! One client's way to the server, on which a test lets things go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What goes wrong on a connection, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// The client is lost when its n-th write (from 1) is carried out: it never hears the answer.
    CrashAfterWrite(usize),
    /// The n-th write is carried out, and its answer takes this many seconds.
    StallAfterWrite { write: usize, seconds: u64 },
    /// The n-th read is answered as it was so many seconds ago.
    StallAfterRead { read: usize, seconds: u64 },
    /// The n-th write is carried out, but the answer is this error.
    LoseAnswer { write: usize, code: u16 },
    /// The n-th write is refused.
    RefuseWrite { write: usize, code: u16 },
    /// The n-th read is refused.
    RefuseRead { read: usize, code: u16 },
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Served,
    Refused(u16),
    /// Carried out and answered with an error.
    AnswerLost(u16),
    /// Carried out, and answered after so many seconds.
    Late(u64),
    /// Carried out, and the client is no more.
    LastBeforeCrash,
    /// There is no client.
    Dead,
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    happened: bool,
    reads: usize,
    writes: usize,
    log: Vec<String>,
    read_log: Vec<String>,
}

/// A client's connection; clones are the same one.
#[derive(Clone, Debug)]
pub struct Connection {
    name: String,
    state: Arc<Mutex<State>>,
    dead: Arc<watch::Sender<bool>>,
}

impl Connection {
    #[must_use]
    pub fn new(name: &str, fault: Fault) -> Self {
        Self {
            name: name.to_owned(),
            state: Arc::new(Mutex::new(State {
                fault,
                ..State::default()
            })),
            dead: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Who writes over it, for the checks of a test.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and writes so far.
    #[must_use]
    pub fn calls(&self) -> (usize, usize) {
        let state = self.state();
        (state.reads, state.writes)
    }

    /// Method and path of every write so far.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Method and path of every read so far.
    #[must_use]
    pub fn read_paths(&self) -> Vec<String> {
        self.state().read_log.clone()
    }

    /// The fault has happened.
    #[must_use]
    pub fn happened(&self) -> bool {
        self.state().happened
    }

    /// An answer is late, or was.
    #[must_use]
    pub fn stalled(&self) -> bool {
        let state = self.state();
        let stalls = matches!(
            state.fault,
            Fault::StallAfterWrite { .. } | Fault::StallAfterRead { .. }
        );
        state.happened && stalls
    }

    /// The client is gone: nothing that it still asks for is answered.
    pub fn cut(&self) {
        self.dead.send_replace(true);
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Waits until the client is gone.
    pub async fn died(&self) {
        let mut dead = self.dead.subscribe();
        // The sender lives as long as this connection.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Counts a request and says how it goes on.
    pub fn pass(&self, what: &str, is_write: bool) -> Passage {
        if self.is_dead() {
            return Passage::Dead;
        }
        let mut state = self.state();
        if is_write {
            state.writes += 1;
            state.log.push(what.to_owned());
        } else {
            state.reads += 1;
            state.read_log.push(what.to_owned());
        }
        let passage = match state.fault {
            Fault::CrashAfterWrite(n) if is_write && n == state.writes => Passage::LastBeforeCrash,
            Fault::StallAfterWrite { write, seconds } if is_write && write == state.writes => {
                Passage::Late(seconds)
            }
            Fault::StallAfterRead { read, seconds } if !is_write && read == state.reads => {
                Passage::Late(seconds)
            }
            Fault::LoseAnswer { write, code } if is_write && write == state.writes => {
                Passage::AnswerLost(code)
            }
            Fault::RefuseWrite { write, code } if is_write && write == state.writes => {
                Passage::Refused(code)
            }
            Fault::RefuseRead { read, code } if !is_write && read == state.reads => {
                Passage::Refused(code)
            }
            _ => Passage::Served,
        };
        state.happened |= passage != Passage::Served;
        passage
    }
}
