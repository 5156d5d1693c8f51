//! Bodies that come piece by piece: a function wants the whole. No thread waits for one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nffi_abi::{nffi_event, nffi_task};

use crate::host::{Host, Piece};

/// A task whose body is not complete.
struct Waiting {
    event: Event,
    body: Vec<u8>,
}

/// An event that may go to another thread: what it points to is the host's, and nobody changes it.
pub struct Event(pub nffi_event);

// SAFETY: the host hands tasks to any thread; what an event points to stays until the task is ended.
unsafe impl Send for Event {}

#[derive(Default)]
pub struct Gather(Mutex<HashMap<nffi_task, Waiting>>);

/// A task with its whole body.
pub type Whole = (Event, Vec<u8>);

impl Gather {
    fn waiting(&self) -> MutexGuard<'_, HashMap<nffi_task, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with a task, whose body so far is `body`. The whole, if it is complete.
    pub fn begin(&self, host: Host, event: nffi_event, body: Vec<u8>) -> Option<Whole> {
        let task = event.task;
        self.waiting().insert(task, Waiting { event: Event(event), body });
        // CANCEL may have come before.
        if host.cancelled(task) {
            self.drop_task(host, task);
            return None;
        }
        self.go_on(host, task)
    }

    /// READABLE, or the beginning.
    pub fn go_on(&self, host: Host, task: nffi_task) -> Option<Whole> {
        let mut all = self.waiting();
        let waiting = all.get_mut(&task)?;
        loop {
            match host.read(task, &mut waiting.body) {
                Piece::Bytes => {}
                Piece::Later => return None,
                Piece::End => return all.remove(&task).map(|waiting| (waiting.event, waiting.body)),
                Piece::Gone => {
                    all.remove(&task);
                    drop(all);
                    host.reply(task, 1, b"nobody waits for it any more");
                    return None;
                }
            }
        }
    }

    /// CANCEL: a task that is not one of these is none of its business.
    pub fn drop_task(&self, host: Host, task: nffi_task) {
        if self.waiting().remove(&task).is_some() {
            host.reply(task, 1, b"nobody waits for it any more");
        }
    }

    /// STOP.
    pub fn drop_all(&self, host: Host) {
        let tasks: Vec<nffi_task> = self.waiting().drain().map(|(task, _)| task).collect();
        for task in tasks {
            host.reply(task, 1, b"the runtime has stopped before the request was complete");
        }
    }
}
