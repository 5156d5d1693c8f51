//! Marks of tasks under way, in memory that outlives the process: should it crash, the next one can say whose
//! tasks it had.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

const NONE: u32 = 0;
const QUEUED: u32 = 1;
const RUNNING: u32 = 2;

/// One task. All zero is none.
#[derive(Debug, Default)]
#[repr(C)]
pub struct TaskMark {
    state: AtomicU32,
    /// The runtime's number.
    runtime: AtomicU32,
    trace: [AtomicU64; 2],
    request_id: AtomicU64,
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    pub running: bool,
    pub runtime: u32,
    pub trace: u128,
    pub request_id: u64,
}

impl TaskMark {
    /// Runs on: event loop.
    fn queue(&self, runtime: u32, trace: u128, request_id: u64) {
        self.runtime.store(runtime, Ordering::Relaxed);
        self.trace[0].store((trace >> 64) as u64, Ordering::Relaxed);
        self.trace[1].store(trace as u64, Ordering::Relaxed);
        self.request_id.store(request_id, Ordering::Relaxed);
        self.state.store(QUEUED, Ordering::Release);
    }

    /// What it says. Runs on: any process that has the memory.
    pub fn read(&self) -> Option<Marked> {
        let state = self.state.load(Ordering::Acquire);
        (state != NONE).then(|| Marked {
            running: state == RUNNING,
            runtime: self.runtime.load(Ordering::Relaxed),
            trace: u128::from(self.trace[0].load(Ordering::Relaxed)) << 64
                | u128::from(self.trace[1].load(Ordering::Relaxed)),
            request_id: self.request_id.load(Ordering::Relaxed),
        })
    }
}

/// The marks of the process's slots, as far as there is room; none before they are given.
#[derive(Debug, Default)]
pub struct Marks {
    marks: OnceLock<&'static [TaskMark]>,
}

impl Marks {
    /// From now on tasks are marked here. Once. Runs on: event loop.
    pub fn give(&self, marks: &'static [TaskMark]) {
        let _ = self.marks.set(marks);
    }

    fn of(&self, slot: u32) -> Option<&TaskMark> {
        self.marks.get()?.get(slot as usize)
    }

    /// Runs on: event loop.
    pub(crate) fn queued(&self, slot: u32, runtime: u32, trace: u128, request_id: u64) {
        if let Some(mark) = self.of(slot) {
            mark.queue(runtime, trace, request_id);
        }
    }

    /// Runs on: the poller that made the task RUNNING.
    pub(crate) fn running(&self, slot: u32) {
        if let Some(mark) = self.of(slot) {
            mark.state.store(RUNNING, Ordering::Relaxed);
        }
    }

    /// Runs on: event loop.
    pub(crate) fn over(&self, slot: u32) {
        if let Some(mark) = self.of(slot) {
            mark.state.store(NONE, Ordering::Relaxed);
        }
    }
}
