//! The host's table, made safe. After `stopped` nothing goes through it any more, whatever thread
//! of a Python program still holds a request.

use std::{
    ffi::c_char,
    os::fd::{IntoRawFd, OwnedFd},
    ptr,
    sync::{PoisonError, RwLock},
};

use nffi_abi as abi;

use crate::http::{Head, Line};

macro_rules! table {
    ($($name:ident: $type:ty,)*) => {
        /// The functions that this runtime uses, none of them missing.
        struct Table { $($name: $type,)* http: Option<HttpTable> }

        impl Table {
            fn of(host: &abi::nffi_host) -> Result<Self, String> {
                Ok(Self {
                    $($name: host.$name.ok_or(concat!("the host has no ", stringify!($name)))?,)*
                    http: HttpTable::of(host),
                })
            }
        }
    };
}

table! {
    poll: unsafe extern "C" fn(abi::nffi_queue, *mut abi::nffi_event, usize, i32) -> usize,
    poll_fd: unsafe extern "C" fn(abi::nffi_queue) -> i32,
    reply: unsafe extern "C" fn(abi::nffi_task, i32, *mut c_char, usize) -> i32,
    write: unsafe extern "C" fn(abi::nffi_task, *mut c_char, usize) -> i32,
    read: unsafe extern "C" fn(abi::nffi_task, *mut *mut c_char, *mut usize) -> i32,
    reply_many: unsafe extern "C" fn(*mut abi::nffi_answer, usize) -> usize,
    end: unsafe extern "C" fn(abi::nffi_task, i32) -> i32,
    cancelled: unsafe extern "C" fn(abi::nffi_task) -> i32,
    log: unsafe extern "C" fn(abi::nffi_queue, abi::nffi_task, i32, *const c_char, usize),
    stopped: unsafe extern "C" fn(abi::nffi_queue),
    alloc: unsafe extern "C" fn(usize) -> *mut std::ffi::c_void,
    release: unsafe extern "C" fn(*mut std::ffi::c_void),
}

/// What a host has that takes HTTP requests.
struct HttpTable {
    request: unsafe extern "C" fn(abi::nffi_task) -> *const abi::nffi_http_request,
    head: unsafe extern "C" fn(abi::nffi_task, i32, *const abi::nffi_header, usize) -> i32,
    file: unsafe extern "C" fn(abi::nffi_task, i32, i64, i64) -> i32,
    trailers: unsafe extern "C" fn(abi::nffi_task, *const abi::nffi_header, usize) -> i32,
}

impl HttpTable {
    fn of(host: &abi::nffi_host) -> Option<Self> {
        Some(Self { request: host.http?, head: host.http_head?, file: host.http_file?, trailers: host.http_trailers? })
    }
}

/// How many events one poll takes.
pub const BATCH: usize = 64;

/// A runtime's queue, and the host that it belongs to.
pub struct Host {
    table: Table,
    queue: abi::nffi_queue,
    /// True after `stopped`. Read-locked around each call, so that none is under way by then.
    closed: RwLock<bool>,
}

/// An answer that waits for its batch; its memory is the host's kind.
pub struct Answer(abi::nffi_answer);

// SAFETY: its pointer is owned, and goes to the host, which takes it from any thread.
unsafe impl Send for Answer {}

impl Host {
    /// # Safety
    /// host is a table that lives as long as the process, as nffi.h promises.
    pub unsafe fn new(host: *const abi::nffi_host, queue: abi::nffi_queue) -> Result<Self, String> {
        // SAFETY: the caller's promise.
        let host = unsafe { host.as_ref() }.ok_or("no host")?;
        if host.abi != abi::NFFI_ABI {
            return Err(format!("the host has ABI {}, this runtime needs {}", host.abi, abi::NFFI_ABI));
        }
        if (host.size as usize) < size_of::<abi::nffi_host>() {
            return Err(format!(
                "the host's table has {} bytes, {} are needed",
                host.size,
                size_of::<abi::nffi_host>()
            ));
        }
        Ok(Self { table: Table::of(host)?, queue, closed: RwLock::new(false) })
    }

    fn open<R>(&self, otherwise: R, call: impl FnOnce(&Table) -> R) -> R {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed { otherwise } else { call(&self.table) }
    }

    /// Up to BATCH events, appended. Waits only where timeout_ms says so, and then only on the one
    /// thread that calls `close` later.
    pub fn poll(&self, events: &mut Vec<abi::nffi_event>, timeout_ms: i32) -> usize {
        events.reserve(BATCH);
        let room = events.spare_capacity_mut().as_mut_ptr();
        // SAFETY: room for BATCH events is there.
        let call = |table: &Table| unsafe { (table.poll)(self.queue, room.cast(), BATCH, timeout_ms) };
        let n = if timeout_ms == 0 { self.open(0, call) } else { call(&self.table) };
        // SAFETY: the host has filled in n of them.
        unsafe { events.set_len(events.len() + n) };
        n
    }

    pub fn poll_fd(&self) -> i32 {
        // SAFETY: the queue is the host's own.
        self.open(-1, |table| unsafe { (table.poll_fd)(self.queue) })
    }

    /// A copy in memory that the host takes; NULL for no bytes. None where no memory is left.
    fn copy(&self, data: &[u8]) -> Option<*mut c_char> {
        if data.is_empty() {
            return Some(ptr::null_mut());
        }
        // SAFETY: alloc gives as many bytes as it is asked for, or NULL.
        unsafe {
            let room = (self.table.alloc)(data.len()).cast::<u8>();
            if room.is_null() {
                return None;
            }
            ptr::copy_nonoverlapping(data.as_ptr(), room, data.len());
            Some(room.cast())
        }
    }

    pub fn answer(&self, task: u64, status: i32, data: &[u8]) -> Answer {
        let (status, data, len) = match self.copy(data) {
            Some(copy) => (status, copy, data.len()),
            None => {
                let message = format!("MemoryError: no memory for an answer of {} bytes", data.len());
                self.log(task, abi::NFFI_LOG_ERR as i32, &message);
                // Without a text where there is no memory for that either.
                (1, self.copy(message.as_bytes()).unwrap_or(ptr::null_mut()), message.len())
            }
        };
        Answer(abi::nffi_answer { task, status, flags: 0, data, len, result: 0, reserved: 0 })
    }

    pub fn reply(&self, Answer(answer): Answer) -> i32 {
        let Some(code) = self.open(None, |table| {
            // SAFETY: answer.data is the host's kind of memory, and is given away here.
            Some(unsafe { (table.reply)(answer.task, answer.status, answer.data, answer.len) })
        }) else {
            self.release(answer.data);
            return abi::NFFI_BAD;
        };
        code
    }

    pub fn reply_many(&self, answers: &mut Vec<Answer>) {
        let taken = self.open(false, |table| {
            // SAFETY: an Answer is an nffi_answer; each data is given away here.
            unsafe { (table.reply_many)(answers.as_mut_ptr().cast(), answers.len()) };
            true
        });
        for Answer(answer) in answers.drain(..) {
            if !taken {
                self.release(answer.data);
            }
        }
    }

    /// What the host says; None where no memory is left.
    pub fn write(&self, task: u64, data: &[u8]) -> Option<i32> {
        // A piece of no bytes is a piece, and NULL is none: any address does.
        let copy = self.copy(if data.is_empty() { b"\0" } else { data })?;
        let code = self.open(None, |table| {
            // SAFETY: copy is given away.
            Some(unsafe { (table.write)(task, copy, data.len()) })
        });
        code.or_else(|| {
            self.release(copy);
            Some(abi::NFFI_GONE)
        })
    }

    /// The code, and what `take` makes of the next piece, which is released then.
    pub fn read<R>(&self, task: u64, take: impl FnOnce(*const c_char, usize) -> R) -> (i32, Option<R>) {
        let (mut data, mut len) = (ptr::null_mut(), 0);
        // SAFETY: the two are this function's own.
        let code = self.open(abi::NFFI_GONE, |table| unsafe { (table.read)(task, &mut data, &mut len) });
        if code != abi::NFFI_OK {
            return (code, None);
        }
        let taken = take(data, len);
        self.release(data);
        (code, Some(taken))
    }

    /// Ends a task after its last piece.
    pub fn end(&self, task: u64, status: i32) -> i32 {
        // SAFETY: any number is allowed.
        self.open(abi::NFFI_GONE, |table| unsafe { (table.end)(task, status) })
    }

    // HTTP: what the host says, as nffi.h has it; NFFI_GONE after `stopped`.

    fn open_http(&self, call: impl FnOnce(&HttpTable) -> i32) -> i32 {
        self.open(abi::NFFI_GONE, |table| table.http.as_ref().map_or(abi::NFFI_BAD, call))
    }

    /// The head of an answer: before its first piece.
    pub fn http_head(&self, task: u64, status: i32, headers: &[Line<'_>]) -> i32 {
        // SAFETY: a Line is an nffi_header, whose strings are alive; they are copied.
        self.open_http(|http| unsafe { (http.head)(task, status, headers.as_ptr().cast(), headers.len()) })
    }

    /// After the last piece.
    pub fn http_trailers(&self, task: u64, headers: &[Line<'_>]) -> i32 {
        // SAFETY: as above.
        self.open_http(|http| unsafe { (http.trailers)(task, headers.as_ptr().cast(), headers.len()) })
    }

    /// Has the client said that it takes trailers? The task has not ended.
    pub fn takes_trailers(&self, task: u64) -> bool {
        self.open(false, |table| {
            let Some(http) = &table.http else { return false };
            // SAFETY: any number is allowed; what comes is NULL, or the host's until the task ends.
            let request = unsafe { (http.request)(task).as_ref() };
            request.is_some_and(|request| Head::new(request).takes_trailers())
        })
    }

    /// Sends a part of a file as the next piece; -1: to its end.
    pub fn http_file(&self, task: u64, file: OwnedFd, offset: i64, length: i64) -> i32 {
        self.open_http(|http| {
            // SAFETY: the descriptor is given away.
            unsafe { (http.file)(task, file.into_raw_fd(), offset, length) }
        })
    }

    fn release(&self, data: *mut c_char) {
        if !data.is_null() {
            // SAFETY: memory of the host's that nobody else has. Its free() outlives every queue.
            unsafe { (self.table.release)(data.cast()) };
        }
    }

    /// True also once the task is over.
    pub fn cancelled(&self, task: u64) -> bool {
        // SAFETY: any number is allowed.
        self.open(1, |table| unsafe { (table.cancelled)(task) }) != 0
    }

    /// A log line for each line of the message. False after `stopped`.
    pub fn log(&self, task: u64, level: i32, message: &str) -> bool {
        self.open(false, |table| {
            for line in message.trim_end().split('\n') {
                // SAFETY: the message is copied.
                unsafe { (table.log)(self.queue, task, level, line.as_ptr().cast(), line.len()) };
            }
            true
        })
    }

    /// The last word to the host. Waits for calls that are under way on other threads.
    pub fn close(&self) {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *closed, true) {
            // SAFETY: STOP has come, and nothing follows.
            unsafe { (self.table.stopped)(self.queue) };
        }
    }
}
