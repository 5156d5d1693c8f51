//! The event loop's side of everything: it admits and submits tasks, cancels them, and takes
//! their answers. Owned by one thread; no locks. The owner of a task (a waiting coroutine, say)
//! is a number that the host chose; this module only hands it back.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use nffi_abi as abi;

use crate::{
    buf::Buf,
    done::{self, BULLETIN},
    host::Host,
    log::{self, Line},
    pipe::Pieces,
    runtime::{self, Runtime, Spec},
    slot::{Answer, MAX_SLOTS, Request},
    word::{self, NEWS, OVERFLOW, READER_WAITS, SENDER_WAITS, WRITER_WAITS, Word, has_ended},
};

/// No one waits for this task.
pub const NOBODY: u32 = u32::MAX;

/// Where a runtime is in its life. See [`Entry::become_`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its start thread is at work; calls wait in its queue.
    Starting,
    Ready,
    /// Init said no, and why.
    Failed(String),
    /// No new calls; accepted ones are being finished.
    Unloading,
    /// Over: it will never touch the host again, or it never began to.
    Stopped,
}

/// Why a task was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    RequestTooLarge,
    Failed(String),
    Unloaded,
    ShuttingDown,
    NoSuchRuntime,
    NoMemory,
}

impl Refusal {
    /// In words, without a copy where they are always the same.
    pub fn words(&self) -> Cow<'static, str> {
        match self {
            Refusal::QueueFull => "queue full".into(),
            Refusal::RequestTooLarge => "request too large".into(),
            Refusal::Failed(why) => format!("runtime failed: {why}").into(),
            Refusal::Unloaded => "unloaded".into(),
            Refusal::ShuttingDown => "shutting down".into(),
            Refusal::NoSuchRuntime => "no such runtime".into(),
            Refusal::NoMemory => "no memory".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())
    }
}

impl std::error::Error for Refusal {}

/// How a task ended, for its owner.
#[derive(Debug)]
pub enum Outcome {
    /// Status 0 is success; otherwise the data are the runtime's message.
    Answer(Answer),
    TooLarge,
    /// The runtime failed to start.
    Failed(String),
    NoMemory,
}

/// What [`Dispatch::drain`] found.
#[derive(Debug)]
pub enum News {
    /// The owner's task is over.
    Ended { owner: u32, outcome: Outcome },
    /// The owner's stream has pieces, or room.
    Pieces { owner: u32 },
    /// The runtime has left [`State::Starting`], or has stopped.
    Runtime { number: u32 },
}

/// What is submitted.
#[derive(Debug)]
pub struct Submission {
    pub data: Buf,
    /// CLOCK_MONOTONIC, ns; 0 none.
    pub deadline: u64,
    /// Who gets the outcome; NOBODY makes it a cast.
    pub owner: u32,
    /// What log lines of this task are marked with; 0 nothing.
    pub request_id: u64,
    /// Both ways, for a stream.
    pub pieces: Option<Arc<Pieces>>,
    /// More of the request follows.
    pub more: bool,
}

/// Counted since the runtime was declared or loaded.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    pub calls: u64,
    pub casts: u64,
    pub answers: u64,
    pub errors: u64,
    pub cancelled: u64,
    pub timeouts: u64,
    pub rejected: u64,
    pub dropped_logs: u64,
}

/// The event loop's half of a runtime.
#[derive(Debug)]
pub struct Entry {
    pub runtime: Arc<Runtime>,
    pub state: State,
    pub stats: Stats,
    /// Tasks not yet ended, abandoned ones and casts included.
    pub in_flight: usize,
    /// Of these, those whose caller has gone.
    pub abandoned: usize,
    /// Something was pushed since the last wake.
    unflushed: bool,
}

#[derive(Debug, Clone)]
struct Task {
    owner: u32,
    request_id: u64,
    abandoned: bool,
    stream: bool,
}

const IDLE: Task = Task { owner: NOBODY, request_id: 0, abandoned: false, stream: false };

/// The event loop's side of the host.
pub struct Dispatch {
    host: &'static Host,
    runtimes: Vec<Entry>,
    /// By slot; as long as slots have been used.
    tasks: Vec<Task>,
    free: Vec<u32>,
    unflushed: Vec<u32>,
    slots: Vec<u32>,
    /// Log lines that drain has taken, with the request ids of their tasks.
    lines: VecDeque<(Line, u64)>,
    unended: usize,
    leaving: bool,
}

impl Entry {
    /// The one place where a runtime changes its state; true where it did.
    ///
    /// ```text
    ///   Starting ──► Ready ──► Unloading ──► Stopped
    ///      │  └──────────────────▲  │           ▲
    ///      └──► Failed ────────────┴─────────────┘ (unloaded; init failed while unloading)
    /// ```
    fn become_(&mut self, next: State) -> bool {
        let allowed = matches!(
            (&self.state, &next),
            (State::Starting, State::Ready | State::Failed(_) | State::Unloading)
                | (State::Ready, State::Unloading | State::Stopped)
                | (State::Unloading | State::Failed(_), State::Stopped)
        );
        if allowed {
            self.state = next;
        }
        allowed
    }

    fn refusal(&self) -> Option<Refusal> {
        match &self.state {
            State::Starting | State::Ready => None,
            State::Failed(why) => Some(Refusal::Failed(why.clone())),
            State::Unloading | State::Stopped => Some(Refusal::Unloaded),
        }
    }
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

    // ---- runtimes --------------------------------------------------------------------------

    /// Starts a runtime; calls may be submitted at once. Its number is never used again.
    pub fn start(&mut self, spec: Spec) -> u32 {
        let runtime = self.adopt(&spec);
        runtime::start(self.host, &runtime, spec);
        runtime.number
    }

    /// Makes a runtime known, without a thread that starts it.
    pub(crate) fn adopt(&mut self, spec: &Spec) -> Arc<Runtime> {
        let runtime = self.host.registry.add(|number| Runtime::new(number, spec));
        debug_assert_eq!(runtime.number as usize, self.runtimes.len());
        self.runtimes.push(Entry {
            runtime: runtime.clone(),
            state: State::Starting,
            stats: Stats::default(),
            in_flight: 0,
            abandoned: 0,
            unflushed: false,
        });
        runtime
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.runtimes.get(number as usize)
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.runtimes.iter()
    }

    /// A call waited too long: counted only; [`cancel`](Self::cancel) does the rest.
    pub fn count_timeout(&mut self, number: u32) {
        if let Some(entry) = self.runtimes.get_mut(number as usize) {
            entry.stats.timeouts += 1;
        }
    }

    /// New calls are refused from now on, accepted ones finish, then the runtime gets STOP.
    pub fn unload(&mut self, number: u32) -> Result<(), Refusal> {
        let entry = self.runtimes.get_mut(number as usize).ok_or(Refusal::NoSuchRuntime)?;
        if matches!(entry.state, State::Failed(_)) {
            // Nothing runs; but it may be loaded anew.
            entry.become_(State::Stopped);
            return Ok(());
        }
        if let Some(refusal) = entry.refusal() {
            return Err(refusal);
        }
        entry.become_(State::Unloading);
        self.stop_if_idle(number);
        Ok(())
    }

    fn stop_if_idle(&mut self, number: u32) {
        let entry = &self.runtimes[number as usize];
        if entry.state == State::Unloading && entry.in_flight == 0 {
            entry.runtime.queue.stop();
        }
    }

    /// From now on nothing is admitted.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// STOP for all, after what is queued; then waits until every runtime has said stopped(),
    /// each for its own stop_timeout but none longer than `at_most`. `meanwhile` is called now
    /// and then. True where all have stopped.
    pub fn stop_all(&mut self, at_most: Duration, mut meanwhile: impl FnMut(&mut Self)) -> bool {
        self.leave();
        let begin = Instant::now();
        for entry in &self.runtimes {
            entry.runtime.queue.stop();
        }
        loop {
            let late = |entry: &Entry| {
                begin.elapsed() >= at_most.min(Duration::from_millis(entry.runtime.settings.stop_timeout))
            };
            let waits = |entry: &Entry| matches!(entry.state, State::Starting | State::Ready | State::Unloading);
            let pending = |entry: &&Entry| waits(entry) && !entry.runtime.has_stopped();
            if self.runtimes.iter().filter(pending).all(late) {
                break;
            }
            let runtimes: Vec<_> = self.runtimes.iter().filter(pending).map(|e| e.runtime.clone()).collect();
            self.host.wait_for_stopped(Duration::from_millis(10), || runtimes.iter().all(|r| r.has_stopped()));
            meanwhile(self);
        }
        meanwhile(self);
        self.runtimes.iter().all(|e| e.runtime.has_stopped() || matches!(e.state, State::Failed(_) | State::Stopped))
    }

    // ---- tasks -----------------------------------------------------------------------------

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
        if submission.pieces.is_some() {
            flags |= abi::NFFI_PIECES;
        }
        if submission.more {
            flags |= abi::NFFI_MORE;
        }
        self.tasks[slot_number as usize] = Task {
            owner: submission.owner,
            request_id: submission.request_id,
            abandoned: false,
            stream: submission.pieces.is_some(),
        };

        let Some(slot) = self.host.table.get(slot_number) else { return 0 };
        let request = Request { data: submission.data, deadline: submission.deadline, flags };
        // SAFETY: take_slot gave a FREE slot, and no one has its handle yet.
        unsafe { slot.fill(number, request, submission.pieces) };
        let task = word::handle(slot.word.generation(), slot_number);
        slot.word.queue();

        let entry = &mut self.runtimes[number as usize];
        entry.in_flight += 1;
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
        let Some((slot, slot_number, generation)) = self.host.table.resolve(task) else { return };
        let number = slot.runtime();
        match slot.word.cancel(generation) {
            Err(word::Dead) => {}
            Ok(true) => {
                let entry = &mut self.runtimes[number as usize];
                entry.stats.cancelled += 1;
                entry.runtime.queue.gone_stale();
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
                let entry = &mut self.runtimes[number as usize];
                entry.stats.cancelled += 1;
                entry.abandoned += 1;
                entry.runtime.queue.push_control(abi::NFFI_CANCEL, task);
                self.mark(number);
            }
        }
    }

    fn retire(&mut self, slot_number: u32, usable: bool, number: u32) {
        if usable {
            self.free.push(slot_number);
        }
        self.unended -= 1;
        let entry = &mut self.runtimes[number as usize];
        entry.in_flight -= 1;
        if std::mem::replace(&mut self.tasks[slot_number as usize], IDLE).abandoned {
            entry.abandoned -= 1;
        }
        self.stop_if_idle(number);
    }

    /// Is there a task that a leaving process should stay for? Those that somebody waits for, and
    /// casts, are; those whose caller has gone are for their runtime's stop_timeout only.
    /// `leaving_for`: ms since the process began to leave.
    pub fn holds(&self, leaving_for: u64) -> bool {
        self.runtimes.iter().any(|entry| {
            // Nobody will end what a runtime that is over has left.
            !matches!(entry.state, State::Failed(_) | State::Stopped)
                && (entry.in_flight > entry.abandoned
                    || (entry.abandoned > 0 && leaving_for < entry.runtime.settings.stop_timeout))
        })
    }

    /// Tasks of all runtimes that have not ended.
    pub fn unended(&self) -> usize {
        self.unended
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

    // ---- streams ---------------------------------------------------------------------------

    /// Sends a piece of the request. `Ok(true)`: the window is shut; a [`News::Pieces`] will tell
    /// when it opens. `Err`: the task is over.
    pub fn send(&mut self, task: u64, pieces: &Pieces, piece: Option<Buf>) -> Result<bool, word::Dead> {
        let (slot, _, generation) = self.host.table.resolve(task).ok_or(word::Dead)?;
        if slot.word.generation() != generation {
            return Err(word::Dead);
        }
        let number = slot.runtime();
        let shut = match piece {
            Some(piece) => pieces.request.push(piece),
            None => {
                pieces.request.close();
                false
            }
        };
        let waited = slot.word.clear(READER_WAITS) & READER_WAITS != 0;
        let shut = shut && {
            slot.word.set(SENDER_WAITS);
            // Opened meanwhile, and not told: then nobody has to wait.
            !(pieces.request.is_open() && slot.word.clear(SENDER_WAITS) & SENDER_WAITS != 0)
        };
        if waited {
            self.control(number, abi::NFFI_READABLE, task);
        }
        Ok(shut)
    }

    /// Takes a piece of the answer.
    pub fn receive(&mut self, task: u64, pieces: &Pieces) -> Option<Buf> {
        let (piece, open) = pieces.answer.pop()?;
        if open
            && let Some((slot, _, generation)) = self.host.table.resolve(task)
            && slot.word.generation() == generation
            && slot.word.clear(WRITER_WAITS) & WRITER_WAITS != 0
        {
            self.control(slot.runtime(), abi::NFFI_WRITABLE, task);
        }
        Some(piece)
    }

    fn control(&mut self, number: u32, kind: u32, task: u64) {
        self.runtimes[number as usize].runtime.queue.push_control(kind, task);
        self.mark(number);
    }

    // ---- the way back ------------------------------------------------------------------------

    /// Takes all that has come back since the last time, and puts what owners must know into
    /// `news`, oldest first. Log lines wait for [`next_line`](Self::next_line) then.
    pub fn drain(&mut self, news: &mut Vec<News>) {
        let mut slots = std::mem::take(&mut self.slots);
        done::take(&self.host.done, &self.host.table, &mut slots);
        // Before the tasks: a line may belong to one of those that have just ended.
        self.take_lines();
        let mut bulletin = false;
        for number in slots.drain(..) {
            if number == BULLETIN {
                if let Some(slot) = self.host.table.get(BULLETIN) {
                    slot.word.clear(NEWS);
                }
                bulletin = true;
            } else {
                self.look_at_task(number, news);
            }
        }
        self.slots = slots;
        // After the tasks: what a runtime answered before it stopped counts.
        if bulletin {
            self.look_at_runtimes(news);
        }
        if !self.host.log.is_empty() && self.lines.len() < log::CAPACITY {
            self.host.bulletin();
        }
    }

    /// A queue full of lines at most, so that a flood does not keep the event loop from its work.
    fn take_lines(&mut self) {
        while self.lines.len() < log::CAPACITY
            && let Some(line) = self.host.log.pop()
        {
            let request_id = match self.host.table.resolve(line.task) {
                Some((slot, number, generation)) if slot.word.generation() == generation => {
                    self.tasks.get(number as usize).map_or(0, |task| task.request_id)
                }
                _ => 0,
            };
            self.lines.push_back((line, request_id));
        }
    }

    fn look_at_task(&mut self, slot_number: u32, news: &mut Vec<News>) {
        let Some(slot) = self.host.table.get(slot_number) else { return };
        // Cleared first: what comes after this puts the slot on the list again.
        let flags = slot.word.clear(NEWS);
        let number = slot.runtime();
        let owner = self.tasks[slot_number as usize].owner;
        if has_ended(flags) {
            // SAFETY: ENDED, and taken off the done list just now.
            let (answer, pieces) = unsafe { slot.empty() };
            let gathered = if self.tasks[slot_number as usize].stream { None } else { pieces };
            let usable = slot.word.release();
            let entry = &mut self.runtimes[number as usize];
            entry.stats.answers += 1;
            if answer.status != 0 {
                entry.stats.errors += 1;
            }
            if owner != NOBODY {
                let outcome =
                    if flags & OVERFLOW != 0 { Outcome::TooLarge } else { self.outcome(number, answer, gathered) };
                news.push(News::Ended { owner, outcome });
            }
            self.retire(slot_number, usable, number);
        } else if owner != NOBODY {
            if flags & OVERFLOW != 0 {
                let task = word::handle(slot.word.generation(), slot_number);
                self.cancel(task);
                news.push(News::Ended { owner, outcome: Outcome::TooLarge });
            } else {
                news.push(News::Pieces { owner });
            }
        }
    }

    /// Makes one answer of gathered pieces and the last word.
    fn outcome(&self, number: u32, answer: Answer, pieces: Option<Arc<Pieces>>) -> Outcome {
        let limit = self.runtimes[number as usize].runtime.settings.max_response;
        let mut all = Vec::new();
        if answer.status == 0
            && let Some(pieces) = pieces
        {
            while let Some((piece, _)) = pieces.answer.pop() {
                all.push(piece);
            }
        }
        let Answer { status, data } = answer;
        if all.iter().map(Buf::len).sum::<usize>() + data.len() > limit {
            return Outcome::TooLarge;
        }
        if all.is_empty() {
            return Outcome::Answer(Answer { status, data });
        }
        all.push(data);
        match Buf::concat(&all) {
            Some(data) => Outcome::Answer(Answer { status, data }),
            None => Outcome::NoMemory,
        }
    }

    fn look_at_runtimes(&mut self, news: &mut Vec<News>) {
        for number in 0..self.runtimes.len() as u32 {
            let entry = &mut self.runtimes[number as usize];
            let runtime = entry.runtime.clone();
            let changed = match runtime.started.get() {
                None => false,
                Some(Ok(())) => entry.state == State::Starting && entry.become_(State::Ready),
                Some(Err(why)) => {
                    let failed = entry.become_(State::Failed(why.clone()))
                        || (entry.state == State::Unloading && entry.become_(State::Stopped));
                    if failed {
                        self.bury(number, why, news);
                    }
                    failed
                }
            };
            let entry = &mut self.runtimes[number as usize];
            entry.stats.dropped_logs = runtime.dropped_logs.load(Ordering::Relaxed);
            let stopped = runtime.has_stopped() && entry.become_(State::Stopped);
            if stopped {
                self.bury(number, "it has stopped by itself", news);
            }
            if changed || stopped {
                news.push(News::Runtime { number });
            }
        }
    }

    /// A runtime is over. What is queued or running is answered with `why`, threads that poll all
    /// the same get STOP, and its queue is freed once the last of them has gone.
    fn bury(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        self.fail_queued(number, why, news);
        self.fail_running(number, why, news);
        let entry = &mut self.runtimes[number as usize];
        entry.runtime.queue.stop();
        // A thread that a failed init left behind may sleep on the descriptor: it must stay.
        if entry.runtime.has_stopped() || !entry.runtime.queue.has_poll_fd() {
            self.host.registry.remove(number);
            entry.runtime = Arc::new(entry.runtime.remains());
        }
    }

    /// Answers all that is queued: no one will poll it.
    fn fail_queued(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        let runtime = self.runtimes[number as usize].runtime.clone();
        while let Some(task) = runtime.queue.pop() {
            let Some((slot, slot_number, generation)) = self.host.table.resolve(task) else { continue };
            if slot.word.cancel(generation) != Ok(true) {
                runtime.queue.gone_fresh();
                continue;
            }
            // SAFETY: cancelled while QUEUED.
            drop(unsafe { slot.empty() });
            let owner = self.tasks[slot_number as usize].owner;
            self.runtimes[number as usize].stats.errors += 1;
            if owner != NOBODY {
                news.push(News::Ended { owner, outcome: Outcome::Failed(why.to_owned()) });
            }
            self.retire(slot_number, !Word::worn_out(generation), number);
        }
    }

    /// Tells those who wait for a task that was polled that no one will answer it.
    fn fail_running(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        for slot_number in 1..self.tasks.len() as u32 {
            let owner = self.tasks[slot_number as usize].owner;
            if owner == NOBODY {
                continue;
            }
            let Some(slot) = self.host.table.get(slot_number) else { continue };
            let generation = slot.word.generation();
            if slot.runtime() == number && slot.word.running(generation).is_ok() {
                self.cancel(word::handle(generation, slot_number));
                news.push(News::Ended { owner, outcome: Outcome::Failed(why.to_owned()) });
            }
        }
    }

    /// The next log line that [`drain`](Self::drain) has taken, with the request id of its task
    /// (0 where the task had ended before, or has none).
    pub fn next_line(&mut self) -> Option<(Line, u64)> {
        self.lines.pop_front()
    }
}
