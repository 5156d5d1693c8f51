//! What the threads and the calls of one runtime share, from its start to its last word.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Task, crew::Crew, host::Host, log};

/// How long calls that run at STOP may go on before they are told to give up. Whoever has called
/// is gone by then, and a terminated nginx waits for one second in all.
pub(crate) const GRACE: Duration = Duration::from_millis(700);

/// One runtime. Every thread that may touch the host, and every call that has not ended, holds an
/// `Arc` of it: with the last of them the runtime has stopped.
pub(crate) struct Life {
    pub(crate) host: Host,
    /// The most talkative level that is logged.
    pub(crate) level: log::Level,
    /// The threads of blocking handlers.
    pub(crate) crew: Crew<Task>,
    /// Of calls that wait for events of their own.
    flows: Mutex<HashMap<u64, Arc<dyn Flow>>>,
    stopping: OnceLock<Instant>,
    started: AtomicBool,
}

/// A call that wants to hear of events.
pub(crate) trait Flow: Send + Sync {
    fn readable(&self);
    fn writable(&self);
    fn cancelled(&self);
    /// Whatever it waits for will not come any more.
    fn stopping(&self);
}

impl Life {
    pub(crate) fn new(host: Host, level: log::Level, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            host,
            level,
            crew: Crew::new(threads),
            flows: Mutex::default(),
            stopping: OnceLock::new(),
            started: AtomicBool::new(false),
        })
    }

    /// The start has failed after all.
    #[cfg_attr(not(feature = "async"), allow(dead_code))]
    pub(crate) fn set_failed(&self) {
        self.started.store(false, Ordering::Release);
    }

    /// From here on the host waits for this runtime to stop.
    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    pub(crate) fn place(&self, task: u64) -> log::Place {
        log::Place { host: self.host, task, level: self.level }
    }

    /// STOP has come; true for whoever sees it first.
    pub(crate) fn begin_stop(&self) -> bool {
        if self.stopping.set(Instant::now()).is_err() {
            return false;
        }
        self.crew.stop();
        let flows: Vec<_> = self.flows().values().cloned().collect();
        for flow in flows {
            flow.stopping();
        }
        true
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get().is_some()
    }

    /// Is there a reason for the task to give up?
    pub(crate) fn cancelled(&self, task: u64) -> bool {
        self.host.cancelled(task) || self.stopping.get().is_some_and(|since| since.elapsed() > GRACE)
    }

    pub(crate) fn register(&self, task: u64, flow: Arc<dyn Flow>) {
        self.flows().insert(task, flow);
    }

    pub(crate) fn forget(&self, task: u64) {
        self.flows().remove(&task);
    }

    pub(crate) fn flow(&self, task: u64) -> Option<Arc<dyn Flow>> {
        self.flows().get(&task).cloned()
    }

    /// Every change is one step, so a panic elsewhere leaves the map whole.
    fn flows(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<dyn Flow>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        log::forget(self.host);
        // The threads of a start that has failed leave without a word.
        if *self.started.get_mut() {
            self.host.stopped();
        }
    }
}
