//! Sends the answers of a pool's threads several at a time: to wake nginx for each costs more than
//! many an app does. Only while so much is left to do that Python has no time to miss the clients
//! which wait.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    host::Answer,
    runtime::{MOST_DELAY, Shared},
};

/// Requests that have to wait for a thread before answers wait for others.
const BACKLOG: usize = 16;

/// The thread that sends what waits, when its time is up: those that answer may be in an app then.
#[derive(Default)]
pub struct Flusher {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    due: bool,
    stopping: bool,
}

impl Flusher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(shared: Arc<Shared>) -> io::Result<()> {
        let run = move || {
            while shared.flusher.wait() {
                shared.flush();
            }
        };
        thread::Builder::new().name("nffi:py-flush".into()).spawn(run).map(drop)
    }

    /// Until something waits, and then for as long as it may. False: the runtime stops. Runs on: the
    /// flusher's thread.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.due && !state.stopping;
        let mut state = self.news.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if !state.stopping {
            let wait = self.news.wait_timeout_while(state, MOST_DELAY, |state| !state.stopping);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.due = false;
        !state.stopping
    }

    fn call(&self) {
        self.lock().due = true;
        self.news.notify_one();
    }

    /// Whoever stops it flushes for the last time.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
    }
}

impl Shared {
    /// Sends an answer, now or soon. Runs on: a pool's threads.
    pub fn reply_soon(&self, answer: Answer) {
        if self.pool.backlog() < BACKLOG {
            self.reply_with_others(answer);
        } else if self.later(answer) {
            self.flusher.call();
        }
    }
}
