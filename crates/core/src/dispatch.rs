//! The event loop's side of everything: it admits and submits tasks, cancels them, and takes
//! their answers. Owned by one thread; no locks. The owner of a task (a waiting coroutine, say)
//! is a number that the host chose; this module only hands it back.

mod back;
mod entry;
mod life;
mod streams;
#[cfg(all(test, not(loom)))]
mod tests;
mod types;

use std::collections::VecDeque;

use nffi_abi as abi;

use crate::{
    host::Host,
    http::HttpEnd,
    log::Line,
    mark::TaskMark,
    meter::{End, Meter},
    queue::monotonic_ns,
    slot::{MAX_SLOTS, Request},
    word::{self, Word},
};

pub use self::{
    entry::{Entry, State, Stats},
    types::{Mark, News, Outcome, Refusal, Submission, Times, Witness},
};

/// No one waits for this task.
pub const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
struct Task {
    owner: u32,
    request_id: u64,
    trace: u128,
    abandoned: bool,
    stream: bool,
    /// CLOCK_MONOTONIC, ns; 0 where nobody measures, or this one has been.
    submitted: u64,
    witness: Option<Box<dyn Witness>>,
}

const IDLE: Task =
    Task { owner: NOBODY, request_id: 0, trace: 0, abandoned: false, stream: false, submitted: 0, witness: None };

/// The event loop's side of the host.
pub struct Dispatch {
    host: &'static Host,
    runtimes: Vec<Entry>,
    /// By slot; as long as slots have been used.
    tasks: Vec<Task>,
    free: Vec<u32>,
    unflushed: Vec<u32>,
    slots: Vec<u32>,
    /// Log lines that drain has taken, with the marks of their tasks.
    lines: VecDeque<(Line, Mark)>,
    unended: usize,
    leaving: bool,
}

impl Dispatch {
    pub fn new(host: &'static Host) -> Self {
        Self {
            host,
            runtimes: Vec::new(),
            // Slot 0 is the bulletin's.
            tasks: vec![IDLE],
            free: Vec::new(),
            unflushed: Vec::new(),
            slots: Vec::new(),
            lines: VecDeque::new(),
            unended: 0,
            leaving: false,
        }
    }

    /// From now on tasks are measured.
    pub fn measure_from_now(&mut self) {
        self.host.table.time_from_now();
    }

    /// From now on tasks are marked, as far as there is room. Once.
    pub fn mark_from_now(&mut self, marks: &'static [TaskMark]) {
        self.host.table.marks.give(marks);
    }

    fn measures(&self) -> bool {
        self.host.table.is_timed()
    }

    /// What was measured of a runtime since the last time.
    pub fn take_meter(&mut self, number: u32) -> Option<Meter> {
        Some(std::mem::take(&mut self.runtimes.get_mut(number as usize)?.meter))
    }

    /// How an HTTP task that has ended has ended for its client. Once for each. Times as in [`HttpEnd`].
    pub fn judge(&mut self, number: u32, end: End, submitted: u64, over: &HttpEnd) {
        if self.measures()
            && let Some(entry) = self.runtimes.get_mut(number as usize)
        {
            entry.meter.ended(end, submitted, over.polled, over.over);
        }
    }

    /// An HTTP answer of a runtime's; a status of 0 where there was none.
    pub fn count_http(&mut self, number: u32, status: u16, bytes: u64) {
        if let Some(entry) = self.runtimes.get_mut(number as usize) {
            entry.meter.response_bytes += bytes;
            if let Some(count) =
                (status / 100).checked_sub(1).and_then(|class| entry.meter.http.get_mut(class as usize))
            {
                *count += 1;
            }
        }
    }

    /// A task is over for whoever waited for it. Once for each.
    fn measure(&mut self, slot_number: u32, number: u32, end: End, polled: u64, now: u64) {
        let task = &mut self.tasks[slot_number as usize];
        let submitted = std::mem::take(&mut task.submitted);
        if submitted != 0 {
            let entry = &mut self.runtimes[number as usize];
            entry.meter.ended(end, submitted, polled, now);
            if let Some(witness) = task.witness.take() {
                witness.over(&entry.runtime, end, Times { submitted, polled, over: now });
            }
        }
    }

    // ---- tasks -----------------------------------------------------------------------------

    /// When a task was polled: CLOCK_MONOTONIC, ns. `None` where it was not yet, or is over.
    pub fn polled(&self, task: u64) -> Option<u64> {
        let (slot, _, generation) = self.host.table.resolve(task)?;
        (slot.word.generation() == generation).then(|| slot.polled()).filter(|at| *at != 0)
    }

    /// Would a task of `len` bytes be taken now? Until the next submission, nothing changes a yes.
    pub fn admit(&mut self, number: u32, len: usize) -> Result<(), Refusal> {
        let leaving = self.leaving;
        let entry = self.runtimes.get_mut(number as usize).ok_or(Refusal::NoSuchRuntime)?;
        let settings = &entry.runtime.settings;
        let refusal = if leaving {
            Some(Refusal::ShuttingDown)
        } else if let Some(refusal) = entry.refusal() {
            Some(refusal)
        } else if len > settings.max_request {
            Some(Refusal::RequestTooLarge)
        } else if entry.in_flight >= settings.tasks
            || (self.free.is_empty() && self.tasks.len() >= MAX_SLOTS)
            || !entry.runtime.queue.has_room(&self.host.table)
        {
            Some(Refusal::QueueFull)
        } else {
            None
        };
        match refusal {
            Some(refusal) => {
                entry.stats.rejected += 1;
                entry.meter.rejected += 1;
                Err(refusal)
            }
            None => Ok(()),
        }
    }

    /// Puts a task on its runtime's queue; [`admit`](Self::admit) has just said yes. Pollers are
    /// woken by the next [`flush`](Self::flush).
    pub fn submit(&mut self, number: u32, submission: Submission) -> u64 {
        let slot_number = self.take_slot();
        let cast = submission.owner == NOBODY;
        let mut flags = 0;
        if cast {
            flags |= abi::NFFI_CAST;
        }
        let streamed = submission.pieces.is_some() || submission.http.is_some();
        if streamed {
            flags |= abi::NFFI_PIECES;
        }
        if submission.more {
            flags |= abi::NFFI_MORE;
        }
        self.tasks[slot_number as usize] = Task {
            owner: submission.owner,
            request_id: submission.request_id,
            trace: submission.trace,
            abandoned: false,
            stream: streamed,
            submitted: match submission.submitted {
                _ if !self.measures() => 0,
                0 => monotonic_ns(),
                known => known,
            },
            witness: submission.witness,
        };
        self.host.table.marks.queued(slot_number, number, submission.trace, submission.request_id);

        let Some(slot) = self.host.table.get(slot_number) else { return 0 };
        let request = Request { data: submission.data, deadline: submission.deadline, flags };
        // SAFETY: take_slot gave a FREE slot, and no one has its handle yet.
        unsafe { slot.fill(number, request, submission.pieces, submission.http) };
        let task = word::handle(slot.word.generation(), slot_number);
        slot.word.queue();

        let entry = &mut self.runtimes[number as usize];
        entry.in_flight += 1;
        entry.meter.request_bytes += submission.bytes;
        if cast {
            entry.stats.casts += 1;
        } else {
            entry.stats.calls += 1;
        }
        self.unended += 1;
        entry.runtime.queue.push(task);
        self.mark(number);
        task
    }

    fn take_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.tasks.len() as u32;
        self.tasks.push(IDLE);
        self.host.table.grow_to(slot);
        slot
    }

    /// The caller has gone. A task that is still queued is never delivered; a running one gets
    /// CANCEL, and its answer will be dropped. Dead handles are ignored.
    pub fn cancel(&mut self, task: u64) {
        self.cancel_as(task, End::Cancelled);
    }

    /// The same where it ends for its caller like that.
    pub fn cancel_as(&mut self, task: u64, end: End) {
        let Some((slot, slot_number, generation)) = self.host.table.resolve(task) else { return };
        let number = slot.runtime();
        match slot.word.cancel(generation) {
            Err(word::Dead) => {}
            Ok(true) => {
                self.count_cancelled(slot_number, number, end, 0);
                self.runtimes[number as usize].runtime.queue.gone_stale();
                // SAFETY: cancelled while QUEUED.
                drop(unsafe { slot.empty() });
                self.retire(slot_number, !Word::worn_out(generation), number);
            }
            Ok(false) => {
                let state = &mut self.tasks[slot_number as usize];
                state.owner = NOBODY;
                if std::mem::replace(&mut state.abandoned, true) {
                    return;
                }
                self.count_cancelled(slot_number, number, end, slot.polled());
                let entry = &mut self.runtimes[number as usize];
                entry.abandoned += 1;
                entry.runtime.queue.push_control(abi::NFFI_CANCEL, task);
                self.mark(number);
            }
        }
    }

    fn count_cancelled(&mut self, slot_number: u32, number: u32, end: End, polled: u64) {
        let stats = &mut self.runtimes[number as usize].stats;
        stats.cancelled += 1;
        if end == End::Timeout {
            stats.timeouts += 1;
        }
        if self.measures() {
            self.measure(slot_number, number, end, polled, monotonic_ns());
        }
    }

    fn retire(&mut self, slot_number: u32, usable: bool, number: u32) {
        if usable {
            self.free.push(slot_number);
        }
        self.host.table.marks.over(slot_number);
        self.unended -= 1;
        let entry = &mut self.runtimes[number as usize];
        entry.in_flight -= 1;
        if std::mem::replace(&mut self.tasks[slot_number as usize], IDLE).abandoned {
            entry.abandoned -= 1;
        }
        self.stop_if_idle(number);
    }

    // ---- wakes -----------------------------------------------------------------------------

    fn mark(&mut self, number: u32) {
        let entry = &mut self.runtimes[number as usize];
        if !std::mem::replace(&mut entry.unflushed, true) {
            self.unflushed.push(number);
        }
    }

    /// Is a flush due?
    pub fn wants_flush(&self) -> bool {
        !self.unflushed.is_empty()
    }

    /// Wakes a poller of every runtime that something was pushed to. Returns the number of tasks
    /// in flight where one of these runtimes spins, else `None`.
    pub fn flush(&mut self) -> Option<usize> {
        let mut spinning = None;
        for number in self.unflushed.drain(..) {
            let entry = &mut self.runtimes[number as usize];
            entry.unflushed = false;
            entry.runtime.queue.wake();
            if entry.runtime.settings.spin > 0 {
                spinning = Some(spinning.unwrap_or(0) + entry.in_flight);
            }
        }
        spinning
    }
}
