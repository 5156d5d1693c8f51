//! Libraries of another ABI than nffi's, whose functions a host provides itself: it has `adopt_foreign`
//! of [`crate::dispatch`] make the runtime, calls the library's own init, and makes the library's
//! functions of the three below. Tasks, queues and answers are those of every other runtime.
//!
//! What such an ABI lacks is made up for here: pollers take one task at a time and see no control
//! events; nobody says `stopped`; a request is asked for by its task's handle.

use std::{
    ffi::c_char,
    mem::MaybeUninit,
    sync::atomic::{AtomicUsize, Ordering},
};

use nffi_abi as abi;

use crate::{host::Host, registry, slot::Answer};

/// What a runtime has whose library is of another ABI.
#[derive(Debug)]
pub struct Foreign {
    /// Threads inside [`Host::next_task`].
    pollers: AtomicUsize,
    gone: fn(),
}

impl Foreign {
    pub(crate) fn new(gone: fn()) -> Self {
        Self { pollers: AtomicUsize::new(0), gone }
    }
}

/// With the runtime, so after the last thread that remembered it: see [`registry::remember`].
impl Drop for Foreign {
    fn drop(&mut self) {
        (self.gone)();
    }
}

impl Host {
    /// The next task of a queue, for which it waits; `None` once no more will come. After that the
    /// last one to leave has said `stopped` for all. Runs on: runtime thread.
    pub fn next_task(&self, queue: u64) -> Option<u64> {
        self.registry
            .with(queue, |runtime| {
                let foreign = runtime.foreign.as_ref()?;
                foreign.pollers.fetch_add(1, Ordering::Relaxed);
                let task = loop {
                    let mut events = [MaybeUninit::uninit()];
                    if runtime.queue.poll(&self.table, &mut events, None) == 0 {
                        continue;
                    }
                    // SAFETY: poll has written as many events as it says.
                    let event = unsafe { events[0].assume_init() };
                    match event.kind {
                        abi::NFFI_CALL => break Some(event.task),
                        abi::NFFI_STOP => break None,
                        _ => {}
                    }
                };
                if foreign.pollers.fetch_sub(1, Ordering::AcqRel) == 1 && task.is_none() {
                    self.stopped(queue);
                }
                task
            })
            .flatten()
    }

    /// The request of a running task: valid until the task ends, and NULL where it is none. `None`
    /// where there is no such task. Runs on: runtime thread.
    pub fn request(&self, task: u64) -> Option<(*const c_char, usize)> {
        match self.enter(task) {
            // SAFETY: inside the section.
            Ok(entered) => Some(unsafe { entered.slot.request_data() }),
            Err(_) => {
                self.bad("get_req", task);
                None
            }
        }
    }

    /// Ends a task with the answer that `answer` makes; it is not called where there is no such
    /// task (any more): what it would take over may be gone as well. Runs on: runtime thread.
    pub fn respond(&self, task: u64, answer: impl FnOnce() -> Answer) {
        let Ok(entered) = self.enter(task) else {
            self.bad("respond", task);
            return;
        };
        let queue = u64::from(entered.slot.runtime()) + 1;
        if registry::current() != queue {
            // A thread that never polls counts as one of the runtime's from its first answer on.
            self.registry.with(queue, |_| ());
        }
        let answer = answer();
        self.end(entered, answer);
    }
}
