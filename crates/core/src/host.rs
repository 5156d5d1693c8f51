//! The functions that runtimes call: the `nffi_host` table, and what they share with the event
//! loop. Each `extern "C"` function below is guard, convert, call, status; OWNERSHIP, THREAD and
//! RETURNS are in include/nffi.h.

mod http;

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{Condvar, LazyLock, Mutex, OnceLock, PoisonError, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use nffi_abi as abi;

use crate::{
    buf::Buf,
    done::{self, BULLETIN, Done, Sink},
    log::{Line, Log, MAX_MESSAGE},
    pipe::{Piece, Weight},
    registry::{self, Registry},
    slot::{Answer, Slot, Table},
    word::{CANCELLED, Dead, NEWS, OVERFLOW, READER_WAITS, SENDER_WAITS, UPGRADED, WRITER_WAITS},
};

/// What the event loop and all runtime threads share.
#[derive(Default)]
pub struct Host {
    pub table: Table,
    pub done: Done,
    pub registry: Registry,
    pub log: Log,
    sink: OnceLock<Box<dyn Sink>>,
    after_load: OnceLock<fn()>,
    /// The event loop has gone; nothing that is handed in will be looked at.
    closed: AtomicBool,
    /// For whoever waits for stopped().
    stopped: (Mutex<()>, Condvar),
}

/// The host of this process. One, because the table's functions carry no context.
pub static HOST: LazyLock<Host> = LazyLock::new(Host::default);

/// A running task, entered: this thread alone works on it until the guard goes.
pub(crate) struct Entered<'a> {
    pub(crate) slot: &'a Slot,
    number: u32,
    flags: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.slot.word.leave();
    }
}

impl Host {
    /// How the event loop is woken. Runs on: event loop, once, before any runtime starts.
    pub fn set_sink(&self, sink: Box<dyn Sink>) {
        self.table.grow_to(BULLETIN);
        if self.sink.set(sink).is_err() {
            debug_assert!(false, "the sink is set once");
        }
    }

    /// What the process wants to do after each library that was loaded, on the thread that loaded
    /// it. Runs on: event loop, once, before any runtime starts.
    pub fn set_after_load(&self, hook: fn()) {
        if self.after_load.set(hook).is_err() {
            debug_assert!(false, "the hook is set once");
        }
    }

    /// Runs on: the thread that loaded a library.
    pub fn after_load(&self) {
        crate::signals::allow_alternate_stacks();
        if let Some(hook) = self.after_load.get() {
            hook();
        }
    }

    /// No event loop will look at anything again. Runs on: event loop, last.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Tells the event loop of a slot whose NEWS flag has just been set. Runs on: any thread.
    fn announce(&self, slot: u32) {
        if done::push(&self.done, &self.table, slot) {
            self.wake();
        }
    }

    /// Runs on: any thread.
    fn wake(&self) {
        if !self.is_closed()
            && let Some(sink) = self.sink.get()
        {
            sink.notify();
        }
    }

    fn news(&self, slot: &Slot, number: u32) {
        if slot.word.set(NEWS) & NEWS == 0 {
            self.announce(number);
        }
    }

    /// Tells the event loop that there are log lines, or that a runtime's state has changed.
    /// Runs on: any thread.
    pub fn bulletin(&self) {
        if let Some(slot) = self.table.get(BULLETIN) {
            self.news(slot, BULLETIN);
        }
    }

    pub(crate) fn enter(&self, task: u64) -> Result<Entered<'_>, Dead> {
        let (slot, number, generation) = self.table.resolve(task).ok_or(Dead)?;
        let flags = slot.word.enter(generation)?;
        Ok(Entered { slot, number, flags })
    }

    /// Someone answered what is not there. Runs on: runtime thread.
    pub(crate) fn bad(&self, function: &str, task: u64) -> i32 {
        let queue = registry::current();
        self.registry.with(queue, |runtime| runtime.bad_answers.fetch_add(1, Ordering::Relaxed));
        let message = format!("{function}() for task {task:#x}, which has ended already or never was");
        self.push_line(number_of(queue), 0, abi::NFFI_LOG_ERR, message.as_bytes());
        abi::NFFI_BAD
    }

    pub(crate) fn push_line(&self, runtime: u32, task: u64, level: u32, message: &[u8]) {
        let message = &message[..message.len().min(MAX_MESSAGE)];
        if self.is_closed() {
            let text = String::from_utf8_lossy(message);
            eprintln!("nffi: {text}");
            return;
        }
        let level = level.min(abi::NFFI_LOG_DEBUG) as u8;
        if !self.log.push(Line { runtime, task, level, message: message.into() }) {
            self.registry.with(u64::from(runtime) + 1, |r| r.dropped_logs.fetch_add(1, Ordering::Relaxed));
        }
        self.bulletin();
    }

    // ---- what runtimes call; all run on: runtime thread ------------------------------------

    fn poll(&self, queue: u64, events: &mut [MaybeUninit<abi::nffi_event>], timeout_ms: i32) -> usize {
        // now + 24.8 days at most: does not overflow.
        let deadline = u64::try_from(timeout_ms).ok().map(|ms| Instant::now() + Duration::from_millis(ms));
        let polled = self.registry.with(queue, |runtime| runtime.queue.poll(&self.table, events, deadline));
        polled.unwrap_or_else(|| match events.first_mut() {
            Some(first) => {
                first.write(abi::nffi_event { kind: abi::NFFI_STOP, ..Default::default() });
                1
            }
            None => 0,
        })
    }

    pub(crate) fn finish(&self, function: &str, task: u64, answer: Answer) -> i32 {
        match self.enter(task) {
            Ok(entered) => self.end(entered, answer),
            Err(Dead) => self.bad(function, task),
        }
    }

    /// Ends several tasks; how many of their callers were there. The event loop is woken once, after the
    /// last: on a core that they share, one that is woken by the first answer takes this one alone, and
    /// sleeps again.
    ///
    /// # Safety
    /// Each data is malloc'd with len bytes, or NULL, and given away.
    pub(crate) unsafe fn finish_many(&self, answers: &mut [abi::nffi_answer]) -> usize {
        let (mut ok, mut wake) = (0, false);
        for answer in answers {
            // SAFETY: the caller's promise.
            let data = unsafe { Buf::from_raw(answer.data, answer.len) };
            let given = Answer { status: answer.status, data };
            let (code, news) = guard((abi::NFFI_BAD, false), || match self.enter(answer.task) {
                Ok(entered) => self.end_quietly(entered, given),
                Err(Dead) => (self.bad("reply", answer.task), false),
            });
            answer.result = code;
            ok += usize::from(code == abi::NFFI_OK);
            wake |= news;
        }
        if wake {
            guard((), || self.wake());
        }
        ok
    }

    /// Ends an entered task.
    pub(crate) fn end(&self, entered: Entered<'_>, answer: Answer) -> i32 {
        let (code, wake) = self.end_quietly(entered, answer);
        if wake {
            self.wake();
        }
        code
    }

    /// Ends an entered task; true: the caller has to wake the event loop.
    fn end_quietly(&self, entered: Entered<'_>, answer: Answer) -> (i32, bool) {
        // SAFETY: inside the section.
        unsafe { entered.slot.set_answer(answer) };
        let Entered { slot, number, .. } = entered;
        std::mem::forget(entered);
        let before = slot.word.end();
        let wake = before & NEWS == 0 && done::push(&self.done, &self.table, number);
        (if before & CANCELLED != 0 { abi::NFFI_GONE } else { abi::NFFI_OK }, wake)
    }

    pub(crate) fn write(&self, task: u64, piece: Buf) -> i32 {
        match self.enter(task) {
            Ok(entered) => self.write_entered("write", task, entered, Piece::Data(piece)),
            Err(Dead) => self.bad("write", task),
        }
    }

    fn write_entered(&self, function: &'static str, task: u64, entered: Entered<'_>, piece: Piece) -> i32 {
        if entered.flags & (CANCELLED | OVERFLOW) != 0 {
            return abi::NFFI_GONE;
        }
        // SAFETY: inside the section.
        if let Err(why) = unsafe { http::before_piece(&entered) } {
            drop(entered);
            return self.misused(function, task, why);
        }
        // SAFETY: inside the section; used up before it ends.
        let (pipe, flags, is_http) = unsafe {
            let flags = entered.slot.request_flags() & (abi::NFFI_PIECES | abi::NFFI_CAST);
            (&entered.slot.pieces_or_new().answer, flags, entered.slot.http().is_some())
        };
        if flags & abi::NFFI_CAST != 0 {
            return abi::NFFI_OK;
        }
        let streamed = flags & abi::NFFI_PIECES != 0;
        let weight = piece.weight();
        let limit = self.registry.with(u64::from(entered.slot.runtime()) + 1, |r| r.settings.max_response);
        // A runtime that is deaf to FULL may not fill the memory; one that has not been told to wait may write
        // a piece of any size.
        let window = if streamed { pipe.window() } else { 0 };
        let waiting = pipe.bytes();
        if waiting >= window && waiting.saturating_add(weight) > limit.unwrap_or(0).saturating_add(window) {
            entered.slot.word.set(OVERFLOW);
            self.news(entered.slot, entered.number);
            return abi::NFFI_GONE;
        }
        if !streamed {
            pipe.push(piece);
            return abi::NFFI_OK;
        }
        // To HTTP a piece of no bytes is but a flush.
        let shut = !(is_http && matches!(&piece, Piece::Data(data) if data.is_empty())) && pipe.push(piece);
        self.news(entered.slot, entered.number);
        if !shut {
            return abi::NFFI_OK;
        }
        entered.slot.word.set(WRITER_WAITS);
        // Opened meanwhile, and WRITABLE not sent: then nobody has to wait.
        if pipe.is_open() && entered.slot.word.clear(WRITER_WAITS) & WRITER_WAITS != 0 {
            return abi::NFFI_OK;
        }
        abi::NFFI_FULL
    }

    pub(crate) fn read(&self, task: u64) -> Result<Buf, i32> {
        let Ok(entered) = self.enter(task) else {
            return Err(self.bad("read", task));
        };
        if entered.flags & CANCELLED != 0 {
            return Err(abi::NFFI_GONE);
        }
        // SAFETY: inside the section.
        if unsafe { entered.slot.request_flags() } & abi::NFFI_MORE == 0 && entered.flags & UPGRADED == 0 {
            return Err(abi::NFFI_EOF);
        }
        // SAFETY: inside the section; used up before it ends.
        let pipe = unsafe { &entered.slot.pieces_or_new().request };
        let take = || {
            let (piece, open) = pipe.pop()?;
            if open && entered.slot.word.clear(SENDER_WAITS) & SENDER_WAITS != 0 {
                if pipe.is_open() {
                    self.news(entered.slot, entered.number);
                } else {
                    // The sender went on before it was told, has filled the window again, and waits again.
                    entered.slot.word.set(SENDER_WAITS);
                }
            }
            Some(piece)
        };
        if let Some(piece) = take() {
            return Ok(piece);
        }
        entered.slot.word.set(READER_WAITS);
        let closed = pipe.is_closed();
        if (pipe.is_empty() && !closed) || entered.slot.word.clear(READER_WAITS) & READER_WAITS == 0 {
            // Nothing, or it came just now and READABLE is under way: it will be read then.
            return Err(abi::NFFI_AGAIN);
        }
        take().ok_or(abi::NFFI_EOF)
    }

    pub(crate) fn cancelled(&self, task: u64) -> i32 {
        let flags =
            self.table.resolve(task).ok_or(Dead).and_then(|(slot, _, generation)| slot.word.running(generation));
        match flags {
            Ok(flags) => i32::from(flags & (CANCELLED | OVERFLOW) != 0),
            Err(Dead) => abi::NFFI_BAD,
        }
    }

    pub(crate) fn stopped(&self, queue: u64) {
        self.registry.with(queue, |runtime| runtime.stopped.store(true, Ordering::Release));
        drop(self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.stopped.1.notify_all();
        self.bulletin();
    }

    /// Sleeps until some runtime calls stopped(), at most `most`. Runs on: event loop, leaving.
    pub fn wait_for_stopped(&self, most: Duration, all: impl Fn() -> bool) {
        let guard = self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all() {
            drop(self.stopped.1.wait_timeout(guard, most));
        }
    }
}

// ---- the table --------------------------------------------------------------------------

/// The table that runtimes are handed.
pub fn table() -> &'static abi::nffi_host {
    static TABLE: abi::nffi_host = abi::nffi_host {
        abi: abi::NFFI_ABI,
        size: size_of::<abi::nffi_host>() as u32,
        poll: Some(poll),
        poll_fd: Some(poll_fd),
        reply: Some(reply),
        write: Some(write),
        read: Some(read),
        reply_many: Some(reply_many),
        end: Some(end),
        cancelled: Some(cancelled),
        log: Some(log),
        stopped: Some(stopped),
        alloc: Some(alloc),
        release: Some(release),
        http: Some(http::request),
        http_head: Some(http::head),
        http_file: Some(http::file),
        http_trailers: Some(http::trailers),
    };
    &TABLE
}

/// The number of the runtime that a queue's handle means; one that is none for a handle that is.
fn number_of(queue: u64) -> u32 {
    u32::try_from(queue.wrapping_sub(1)).unwrap_or(u32::MAX)
}

/// The panic barrier: nothing unwinds into a runtime. Runs on: any thread.
pub fn guard<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(otherwise)
}

unsafe extern "C" fn poll(queue: u64, events: *mut abi::nffi_event, max: usize, timeout_ms: c_int) -> usize {
    if events.is_null() || max == 0 {
        return 0;
    }
    // SAFETY: the ABI: events has room for max, the caller's, ours for the call.
    let events = unsafe { slice::from_raw_parts_mut(events.cast(), max) };
    guard(0, || HOST.poll(queue, events, timeout_ms))
}

unsafe extern "C" fn poll_fd(queue: u64) -> c_int {
    guard(-1, || HOST.registry.with(queue, |runtime| runtime.queue.poll_fd()).flatten().unwrap_or(-1))
}

unsafe extern "C" fn reply(task: u64, status: c_int, data: *mut c_char, len: usize) -> c_int {
    // SAFETY: the ABI: data is malloc'd with len bytes, or NULL, and ours now.
    let data = unsafe { Buf::from_raw(data, len) };
    guard(abi::NFFI_BAD, || HOST.finish("reply", task, Answer { status, data }))
}

unsafe extern "C" fn reply_many(answers: *mut abi::nffi_answer, n: usize) -> usize {
    if answers.is_null() {
        return 0;
    }
    // SAFETY: the ABI: n answers, the caller's, ours for the call.
    let answers = unsafe { slice::from_raw_parts_mut(answers, n) };
    // SAFETY: the caller gives their data away.
    unsafe { HOST.finish_many(answers) }
}

unsafe extern "C" fn end(task: u64, status: c_int) -> c_int {
    guard(abi::NFFI_BAD, || HOST.finish("end", task, Answer { status, data: Buf::none() }))
}

unsafe extern "C" fn write(task: u64, data: *mut c_char, len: usize) -> c_int {
    // SAFETY: the ABI: data is malloc'd with len bytes, or NULL, and ours now.
    let piece = unsafe { Buf::from_raw(data, len) };
    if piece.is_none() && len > 0 {
        return abi::NFFI_BAD;
    }
    guard(abi::NFFI_BAD, || HOST.write(task, piece))
}

unsafe extern "C" fn read(task: u64, data: *mut *mut c_char, len: *mut usize) -> c_int {
    if data.is_null() || len.is_null() {
        return abi::NFFI_BAD;
    }
    match guard(Err(abi::NFFI_BAD), || HOST.read(task)) {
        Ok(piece) => {
            let (piece, size) = piece.into_raw();
            // SAFETY: the ABI: both point to room for the result; the piece is the runtime's now.
            unsafe {
                *data = piece;
                *len = size;
            }
            abi::NFFI_OK
        }
        Err(status) => status,
    }
}

unsafe extern "C" fn cancelled(task: u64) -> c_int {
    guard(abi::NFFI_BAD, || HOST.cancelled(task))
}

unsafe extern "C" fn log(queue: u64, task: u64, level: c_int, message: *const c_char, len: usize) {
    if message.is_null() {
        return;
    }
    // SAFETY: the ABI: len bytes, valid for the call.
    let message = unsafe { slice::from_raw_parts(message.cast::<u8>(), len) };
    let runtime = number_of(queue);
    let level = u32::try_from(level).unwrap_or(abi::NFFI_LOG_ERR);
    guard((), || HOST.push_line(runtime, task, level, message));
}

unsafe extern "C" fn stopped(queue: u64) {
    guard((), || HOST.stopped(queue));
}

unsafe extern "C" fn alloc(size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn release(data: *mut c_void) {
    // SAFETY: the ABI: from alloc() or malloc(), and given up by the caller. free takes NULL.
    unsafe { libc::free(data) }
}
