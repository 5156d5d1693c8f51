//! What a runtime polls: control events first, then tasks, then, once told to stop, STOP.

use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use nffi_abi as abi;

use crate::{
    pollfd::PollFd,
    primitive::{ArrayQueue, AtomicBool, AtomicUsize, Ordering, SegQueue},
    slot::Table,
    wake::Wake,
};

#[derive(Debug)]
pub struct Queue {
    /// Handles of tasks not yet polled; some may have been cancelled meanwhile.
    tasks: ArrayQueue<u64>,
    /// How many of them were.
    stale: AtomicUsize,
    /// Kind and handle. Unbounded: bounded by the number of tasks in effect.
    control: SegQueue<(u32, u64)>,
    stop: AtomicBool,
    wake: Wake,
    fd: PollFd,
    spin: Duration,
}

impl Queue {
    /// `spin`: how long a poller looks at the empty queue before it sleeps.
    pub fn new(capacity: usize, spin: Duration) -> Self {
        Self {
            tasks: ArrayQueue::new(capacity.max(1)),
            stale: AtomicUsize::new(0),
            control: SegQueue::new(),
            stop: AtomicBool::new(false),
            wake: Wake::new(),
            fd: PollFd::default(),
            spin,
        }
    }

    // ---- the event loop's side -----------------------------------------------------------

    /// Is there room for one more? Cancelled tasks that no poller has come across yet are
    /// thrown out where they fill half of the queue; the others keep their order, unless a poller
    /// comes in between. Runs on: event loop.
    pub fn has_room(&self, table: &Table) -> bool {
        if !self.tasks.is_full() {
            return true;
        }
        if self.stale.load(Ordering::Relaxed) * 2 < self.tasks.capacity() {
            return false;
        }
        for _ in 0..self.tasks.len() {
            let Some(task) = self.tasks.pop() else { break };
            if table.resolve(task).is_some_and(|(slot, _, generation)| slot.word.is_queued(generation)) {
                self.push(task);
            } else {
                self.stale.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // A poller that came in between has missed what was in our hands.
        self.wake();
        !self.tasks.is_full()
    }

    /// Appends a task; [`has_room`](Self::has_room) said yes, and nobody else appends. Nobody is
    /// woken yet. Runs on: event loop.
    pub fn push(&self, task: u64) {
        if let Err(task) = self.tasks.push(task) {
            self.control.push((abi::NFFI_CALL, task));
        }
    }

    /// Appends a control event. Nobody is woken yet. Runs on: event loop, or the runtime thread
    /// whose read or write opened a window.
    pub fn push_control(&self, kind: u32, task: u64) {
        self.control.push((kind, task));
    }

    /// Takes a handle off the queue, whatever became of its task. Runs on: event loop.
    pub fn pop(&self) -> Option<u64> {
        self.tasks.pop()
    }

    /// A task that is still queued was cancelled. Runs on: event loop.
    pub fn gone_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    /// A task that had been cancelled while queued was taken off. Runs on: event loop.
    pub fn gone_fresh(&self) {
        self.stale.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tasks that are queued and wanted. Runs on: any thread.
    pub fn len(&self) -> usize {
        self.tasks.len().saturating_sub(self.stale.load(Ordering::Relaxed))
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes a poller after pushes. Runs on: any thread.
    pub fn wake(&self) {
        self.wake.one();
        self.fd.raise();
    }

    /// After all that is queued: STOP, for ever. Runs on: event loop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.all();
        self.fd.raise();
    }

    /// Has the runtime asked for the descriptor? Runs on: any thread.
    pub fn has_poll_fd(&self) -> bool {
        self.fd.is_made()
    }

    // ---- the runtime's side --------------------------------------------------------------

    /// The descriptor of this queue. Runs on: runtime thread.
    pub fn poll_fd(&self) -> Option<i32> {
        self.fd.get()
    }

    /// Fills `events` as far as there is something, waiting until `deadline` for the first
    /// (`None`: for ever). Runs on: runtime thread.
    pub fn poll(&self, table: &Table, events: &mut [MaybeUninit<abi::nffi_event>], deadline: Option<Instant>) -> usize {
        if events.is_empty() {
            return 0;
        }
        loop {
            let taken = self.take(table, events);
            if taken > 0 {
                if !self.tasks.is_empty() || !self.control.is_empty() {
                    self.wake.one();
                }
                return taken;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return 0;
            }
            if !self.spin_for_work(deadline) {
                self.wake.wait(deadline, || self.has_work());
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.tasks.is_empty() || !self.control.is_empty() || self.stop.load(Ordering::SeqCst)
    }

    fn spin_for_work(&self, deadline: Option<Instant>) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let end = Instant::now() + self.spin;
        let end = deadline.map_or(end, |deadline| end.min(deadline));
        while Instant::now() < end {
            for _ in 0..16 {
                if self.has_work() {
                    return true;
                }
                std::hint::spin_loop();
            }
            // Where both sides share a core, the other one has to run first.
            std::thread::yield_now();
        }
        false
    }

    fn take(&self, table: &Table, events: &mut [MaybeUninit<abi::nffi_event>]) -> usize {
        let mut taken = self.take_work(table, events);
        if taken == events.len() {
            return taken;
        }
        if !self.stop.load(Ordering::SeqCst) && self.fd.lower() {
            taken += self.take_work(table, &mut events[taken..]);
        }
        if self.stop.load(Ordering::SeqCst) {
            // Once stopped the descriptor stays readable; STOP may have come while it was lowered.
            self.fd.raise();
            // Whatever was accepted before STOP can be seen by now.
            taken += self.take_work(table, &mut events[taken..]);
            if taken < events.len() && self.tasks.is_empty() && self.control.is_empty() {
                events[taken].write(abi::nffi_event { kind: abi::NFFI_STOP, ..Default::default() });
                taken += 1;
            }
        }
        taken
    }

    fn take_work(&self, table: &Table, events: &mut [MaybeUninit<abi::nffi_event>]) -> usize {
        let mut taken = 0;
        let mut clock = Clock::default();
        while taken < events.len() {
            let event = if let Some((kind, task)) = self.control.pop() {
                if kind == abi::NFFI_CALL {
                    call_event(table, task, &mut clock)
                } else {
                    control_event(table, kind, task)
                }
            } else if let Some(task) = self.tasks.pop() {
                let event = call_event(table, task, &mut clock);
                if event.is_none() {
                    self.stale.fetch_sub(1, Ordering::Relaxed);
                }
                event
            } else {
                break;
            };
            if let Some(event) = event {
                events[taken].write(event);
                taken += 1;
            }
        }
        taken
    }
}

/// The event that delivers a task, unless it was cancelled while queued.
fn call_event(table: &Table, task: u64, clock: &mut Clock) -> Option<abi::nffi_event> {
    let (slot, number, generation) = table.resolve(task)?;
    slot.word.run(generation).ok()?;
    // SAFETY: run() has just made the task RUNNING, and no one can end it before its handle has
    // been handed out below.
    let (request, is_http) = unsafe { (slot.request(), slot.http().is_some()) };
    let mut len = request.data.len();
    // What a clock costs is felt by the quickest of calls.
    if is_http || table.is_timed() {
        slot.set_polled(clock.now());
        table.marks.running(number);
    }
    if is_http {
        // Of the structure; what it points to lies behind it.
        len = size_of::<abi::nffi_http_request>();
    }
    Some(abi::nffi_event {
        kind: if is_http { abi::NFFI_HTTP } else { abi::NFFI_CALL },
        flags: request.flags,
        task,
        data: request.data.as_ptr(),
        len,
        deadline: request.deadline,
    })
}

/// A control event, unless its task has ended meanwhile.
fn control_event(table: &Table, kind: u32, task: u64) -> Option<abi::nffi_event> {
    let (slot, _, generation) = table.resolve(task)?;
    slot.word.running(generation).ok()?;
    Some(abi::nffi_event { kind, task, ..Default::default() })
}

/// Read once for a batch, when the first asks.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    at: u64,
}

impl Clock {
    /// [`monotonic_ns`], as it was at the first call.
    pub(crate) fn now(&mut self) -> u64 {
        if self.at == 0 {
            self.at = monotonic_ns();
        }
        self.at
    }
}

/// CLOCK_MONOTONIC. Runs on: any thread.
pub fn monotonic_ns() -> u64 {
    // By libc: rustix looks for the vDSO by itself, and crashes where there is none to see, as under valgrind.
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the result; every Linux has that clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
