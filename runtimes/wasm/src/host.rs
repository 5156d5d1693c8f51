//! The C ABI as safe functions. All of them may be called from any thread.

use std::{
    ffi::{c_char, c_int},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    ptr, slice,
};

use nffi_abi::{
    NFFI_ABI, NFFI_AGAIN, NFFI_EOF, NFFI_FULL, NFFI_HTTP_TLS, NFFI_OK, nffi_event, nffi_header, nffi_host,
    nffi_http_request, nffi_queue, nffi_str, nffi_task,
};

/// Log levels, as syslog has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warn = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

#[derive(Clone, Copy)]
pub struct Host {
    table: &'static nffi_host,
    queue: nffi_queue,
}

/// What `read` came to.
pub enum Piece {
    Bytes,
    Later,
    End,
    Gone,
}

/// What `write` came to.
pub enum Written {
    Taken,
    /// Taken, and no more until WRITABLE.
    Full,
    Gone,
}

impl Host {
    /// # Safety
    /// `table` is NULL or a host's, which lives as long as the process.
    pub unsafe fn new(table: *const nffi_host, queue: nffi_queue) -> Result<Self, String> {
        // SAFETY: the caller's promise; abi and size come first in every version.
        let table = unsafe { table.as_ref() }.ok_or("no host")?;
        if table.abi != NFFI_ABI || (table.size as usize) < size_of::<nffi_host>() {
            return Err(format!("a host of ABI {NFFI_ABI} with HTTP is needed: this one has ABI {}", table.abi));
        }
        Ok(Self { table, queue })
    }

    /// One that does nothing, and where nobody ever leaves.
    pub fn nobody() -> Self {
        // SAFETY: a table of numbers and of functions that may be absent.
        let table: nffi_host = unsafe { std::mem::zeroed() };
        Self { table: Box::leak(Box::new(table)), queue: 0 }
    }

    /// Waits up to `timeout_ms` (-1: for ever) for at most `max` events, and puts them into `events`.
    pub fn poll(&self, events: &mut Vec<nffi_event>, max: usize, timeout_ms: i32) {
        events.clear();
        events.reserve(max);
        let room: &mut [MaybeUninit<nffi_event>] = events.spare_capacity_mut();
        let Some(poll) = self.table.poll else { return };
        // SAFETY: there is room for max events, and poll() fills in as many as it says.
        unsafe {
            let n = poll(self.queue, room.as_mut_ptr().cast(), max, timeout_ms);
            events.set_len(n.min(max));
        }
    }

    /// A descriptor of our own that is readable while events may wait.
    pub fn poll_fd(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: our own queue.
        let fd = self.table.poll_fd.map_or(-1, |poll_fd| unsafe { poll_fd(self.queue) });
        if fd < 0 {
            return Err(std::io::Error::other("the host has no descriptor to watch"));
        }
        // SAFETY: open until stopped(), which this runtime has not said yet.
        unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
    }

    /// Ends a task.
    pub fn reply(&self, task: nffi_task, status: i32, data: &[u8]) {
        let (Some(alloc), Some(reply), Some(end)) = (self.table.alloc, self.table.reply, self.table.end) else {
            return;
        };
        if data.is_empty() && status == 0 {
            // SAFETY: any number may be given for a task.
            unsafe { end(task, 0) };
            return;
        }
        // SAFETY: as many bytes as were asked for are there, and reply() takes them.
        unsafe {
            let copy: *mut c_char = alloc(data.len().max(1)).cast();
            if copy.is_null() {
                end(task, if status == 0 { 1 } else { status });
                return;
            }
            ptr::copy_nonoverlapping(data.as_ptr().cast(), copy, data.len());
            reply(task, status, copy, data.len());
        }
    }

    /// Gives the head of an HTTP answer. False where the host refuses it, or nobody waits any more.
    pub fn head(&self, task: nffi_task, status: u16, headers: &[(&[u8], &[u8])]) -> bool {
        let headers = lines(headers);
        let Some(http_head) = self.table.http_head else { return false };
        // SAFETY: the headers are alive during the call, which copies them.
        unsafe { http_head(task, i32::from(status), headers.as_ptr(), headers.len()) == NFFI_OK }
    }

    /// The same for what comes after an answer's body.
    pub fn trailers(&self, task: nffi_task, headers: &[(&[u8], &[u8])]) -> bool {
        let headers = lines(headers);
        let Some(http_trailers) = self.table.http_trailers else { return false };
        // SAFETY: as in `head`.
        unsafe { http_trailers(task, headers.as_ptr(), headers.len()) == NFFI_OK }
    }

    /// Sends a piece of an answer. One of no bytes sends the head.
    pub fn write(&self, task: nffi_task, bytes: &[u8]) -> Written {
        let (Some(alloc), Some(write)) = (self.table.alloc, self.table.write) else { return Written::Gone };
        // SAFETY: as many bytes as were asked for are there, and write() takes them. NULL is a piece of no bytes.
        let rc = unsafe {
            let mut copy = ptr::null_mut::<c_char>();
            if !bytes.is_empty() {
                copy = alloc(bytes.len()).cast();
                if copy.is_null() {
                    return Written::Gone;
                }
                ptr::copy_nonoverlapping(bytes.as_ptr().cast(), copy, bytes.len());
            }
            write(task, copy, bytes.len())
        };
        match rc {
            rc if rc == NFFI_OK as c_int => Written::Taken,
            rc if rc == NFFI_FULL as c_int => Written::Full,
            _ => Written::Gone,
        }
    }

    /// Has the caller gone? One atomic load.
    pub fn cancelled(&self, task: nffi_task) -> bool {
        // SAFETY: any number may be given for a task.
        self.table.cancelled.is_some_and(|cancelled| unsafe { cancelled(task) == 1 })
    }

    /// Takes the next piece of a request, and puts it at the end of `body`.
    pub fn read(&self, task: nffi_task, body: &mut Vec<u8>) -> Piece {
        let (Some(read), Some(release)) = (self.table.read, self.table.release) else { return Piece::Gone };
        let (mut data, mut len) = (ptr::null_mut::<c_char>(), 0);
        // SAFETY: data and len are ours; what is read is valid until it is released, here.
        unsafe {
            match read(task, &mut data, &mut len) {
                rc if rc == NFFI_OK => {
                    body.extend_from_slice(bytes_of(data, len));
                    release(data.cast());
                    Piece::Bytes
                }
                rc if rc == NFFI_AGAIN => Piece::Later,
                rc if rc == NFFI_EOF => Piece::End,
                _ => Piece::Gone,
            }
        }
    }

    /// A line for the error log; `task` 0 is none.
    pub fn log(&self, task: nffi_task, level: Level, message: &str) {
        if let Some(log) = self.table.log {
            // SAFETY: the message is alive during the call, which copies it.
            unsafe { log(self.queue, task, level as i32, message.as_ptr().cast(), message.len()) };
        }
    }

    /// No thread of this runtime touches the host again.
    pub fn stopped(&self) {
        if let Some(stopped) = self.table.stopped {
            // SAFETY: our own queue.
            unsafe { stopped(self.queue) };
        }
    }
}

fn lines(headers: &[(&[u8], &[u8])]) -> Vec<nffi_header> {
    let text = |text: &[u8]| nffi_str { data: text.as_ptr().cast(), len: text.len() };
    headers.iter().map(|(name, value)| nffi_header { name: text(name), value: text(value) }).collect()
}

/// # Safety
/// `data` is valid for `len` bytes, or NULL.
unsafe fn bytes_of<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// The request of an HTTP task, which lives until the task is ended.
#[derive(Clone, Copy)]
pub struct Request<'a>(&'a nffi_http_request);

impl<'a> Request<'a> {
    /// # Safety
    /// `event` is an NFFI_HTTP of the host's, whose task is not ended while the result is in use.
    pub unsafe fn of(event: &nffi_event) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &*event.data.cast() })
    }

    fn text(text: nffi_str) -> &'a [u8] {
        // SAFETY: strings of a request live as long as it.
        unsafe { bytes_of(text.data, text.len) }
    }

    pub fn method(self) -> &'a [u8] {
        Self::text(self.0.method)
    }

    pub fn raw_path(self) -> &'a [u8] {
        Self::text(self.0.raw_path)
    }

    pub fn query(self) -> &'a [u8] {
        Self::text(self.0.query)
    }

    /// What the client asked for, else what is configured.
    pub fn server_name(self) -> &'a [u8] {
        Self::text(self.0.server_name)
    }

    pub fn is_tls(self) -> bool {
        self.0.flags & NFFI_HTTP_TLS != 0
    }

    /// A whole body in memory.
    pub fn body(self) -> &'a [u8] {
        Self::text(self.0.body)
    }

    /// A whole body in a file: its descriptor, which is not to be closed, and its length.
    pub fn body_file(self) -> Option<(i32, usize)> {
        let length = usize::try_from(self.0.content_length).ok()?;
        (self.0.body_fd >= 0).then_some((self.0.body_fd, length))
    }

    pub fn headers(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let headers = if self.0.headers.is_null() {
            &[]
        } else {
            // SAFETY: so many headers are there, as long as the request.
            unsafe { slice::from_raw_parts(self.0.headers, self.0.headers_len) }
        };
        headers.iter().map(|header| (Self::text(header.name), Self::text(header.value)))
    }
}

/// The message of an NFFI_CALL.
///
/// # Safety
/// `event` is the host's, and its task is not ended while the result is in use.
pub unsafe fn message<'a>(event: &nffi_event) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { bytes_of(event.data, event.len) }
}
