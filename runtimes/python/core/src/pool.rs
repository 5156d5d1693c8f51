//! The threads of `def` handlers. One thread polls the host, without the GIL, and never runs a
//! handler: so events for handlers that wait always find somebody. The others work.
//!
//! Of those that work at most one stands in line for the GIL. It gets it as soon as the one that
//! has it blocks; waking more would only make them wait. A worker that has the GIL takes the next
//! request without letting go of it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nffi_abi as abi;
use pyo3::Python;

use crate::{flusher::Flusher, host::Host, http, runtime::Shared};

/// An NFFI_CALL or an NFFI_HTTP on its way to a worker.
pub struct Call(pub abi::nffi_event);

// SAFETY: its data is the host's and stays until the task ends.
unsafe impl Send for Call {}

#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
    work: Condvar,
    news: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The handler is a web app: it takes NFFI_HTTP, and no NFFI_CALL.
    is_app: bool,
    calls: VecDeque<Call>,
    /// Workers that wait for work.
    idle: usize,
    /// One was woken, and has not got the GIL yet.
    standby: bool,
    stopping: bool,
    workers: usize,
    /// Tasks whose handlers wait: for pieces (NFFI_READABLE), or for room (NFFI_WRITABLE).
    watched: HashMap<(u64, u32), Watch>,
}

/// Several threads may work on one request. Each counts for itself, so that none takes an event
/// away from another.
#[derive(Default)]
struct Watch {
    threads: usize,
    events: u64,
}

impl State {
    /// True where somebody waits for it.
    fn happened(&mut self, task: u64, kind: u32) -> bool {
        let watch = self.watched.get_mut(&(task, kind));
        watch.is_some_and(|watch| {
            watch.events += 1;
            true
        })
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(shared: Arc<Shared>, workers: usize, grace: Duration, is_app: bool) -> io::Result<()> {
        {
            let mut state = shared.pool.lock();
            (state.workers, state.is_app) = (workers, is_app);
        }
        if is_app {
            Flusher::start(Arc::clone(&shared))?;
        }
        let poll = move || {
            let mut events = Vec::new();
            while !shared.pool.lock().stopping {
                shared.host.poll(&mut events, -1);
                shared.pool.hand_out(&shared.host, &mut events);
            }
            shared.pool.wait_for_workers(grace);
            shared.flusher.stop();
            shared.flush();
            shared.host.close();
        };
        thread::Builder::new().name("nffi:py-poll".into()).spawn(poll).map(drop)
    }

    /// Runs on: the polling thread; a worker that has the GIL.
    fn hand_out(&self, host: &Host, events: &mut Vec<abi::nffi_event>) {
        let mut state = self.lock();
        let mut news = false;
        for event in events.drain(..) {
            match event.kind {
                abi::NFFI_CALL if state.is_app => http::refuse(host, event.task, http::NO_MESSAGES),
                abi::NFFI_HTTP if !state.is_app => http::refuse(host, event.task, http::NO_HTTP),
                abi::NFFI_CALL | abi::NFFI_HTTP => state.calls.push_back(Call(event)),
                abi::NFFI_STOP => {
                    state.stopping = true;
                    self.work.notify_all();
                    news = true;
                }
                // Who waits has to be told, whatever for.
                abi::NFFI_CANCEL => {
                    for kind in [abi::NFFI_READABLE, abi::NFFI_WRITABLE] {
                        news |= state.happened(event.task, kind);
                    }
                }
                kind => news |= state.happened(event.task, kind),
            }
        }
        self.call_standby(&mut state);
        if news {
            self.news.notify_all();
        }
    }

    fn call_standby(&self, state: &mut State) {
        if !state.calls.is_empty() && !state.standby && state.idle > 0 {
            state.standby = true;
            self.work.notify_one();
        }
    }

    /// Requests that wait for a worker.
    pub fn backlog(&self) -> usize {
        self.lock().calls.len()
    }

    /// Runs on: workers, which have the GIL.
    pub fn next(&self, py: Python<'_>, host: &Host) -> Option<Call> {
        let mut events = Vec::new();
        loop {
            {
                let mut state = self.lock();
                if let Some(call) = state.calls.pop_front() {
                    self.call_standby(&mut state);
                    return Some(call);
                }
                if state.stopping {
                    return None;
                }
            }
            // A look at the host costs less than the polling thread's way, and than the GIL.
            if host.poll(&mut events, 0) > 0 {
                self.hand_out(host, &mut events);
                continue;
            }
            let was_woken = py.detach(|| self.wait_for_work());
            if was_woken {
                self.lock().standby = false;
            }
        }
    }

    /// Runs on: workers, without the GIL. True for the one that `standby` is about.
    fn wait_for_work(&self) -> bool {
        let mut state = self.lock();
        let mut woken = false;
        while state.calls.is_empty() && !state.stopping {
            if woken {
                // Another one took it meanwhile.
                state.standby = false;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            woken = true;
        }
        woken
    }

    pub fn worker_done(&self) {
        self.lock().workers -= 1;
        self.ended.notify_all();
    }

    /// Runs on: the polling thread, without the GIL.
    fn wait_for_workers(&self, grace: Duration) {
        let running = |state: &mut State| state.workers > 0;
        drop(self.ended.wait_timeout_while(self.lock(), grace, running));
    }

    /// How many events of this kind there were, for `wait`. Each watch is to be followed by an
    /// `unwatch`. Runs on: any thread of the program.
    pub fn watch(&self, task: u64, kind: u32) -> u64 {
        let mut state = self.lock();
        let watch = state.watched.entry((task, kind)).or_default();
        watch.threads += 1;
        watch.events
    }

    pub fn unwatch(&self, task: u64, kind: u32) {
        if let Entry::Occupied(mut watch) = self.lock().watched.entry((task, kind)) {
            watch.get_mut().threads -= 1;
            if watch.get().threads == 0 {
                watch.remove();
            }
        }
    }

    /// Waits for more than the `seen` events, and says how many there are; None at STOP. Runs on:
    /// threads that watch, without the GIL.
    pub fn wait(&self, task: u64, kind: u32, seen: u64) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if let Some(watch) = state.watched.get(&(task, kind))
                && watch.events > seen
            {
                return Some(watch.events);
            }
            if state.stopping {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
