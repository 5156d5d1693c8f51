//! The C ABI: the two exports, and safe types over the host's table. All unsafe code is here.

use std::{
    ffi::{c_char, c_int},
    mem::offset_of,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use nffi_abi::{NFFI_ABI, NFFI_CALL, NFFI_CANCEL, NFFI_STOP, nffi_event, nffi_host, nffi_queue, nffi_task};

use crate::{config::Config, query::INTERNAL, service, store};

/// The host's table and this runtime's queue in it.
#[derive(Clone, Copy)]
pub struct Host {
    table: &'static nffi_host,
    queue: nffi_queue,
}

pub enum Event {
    Call(Call),
    Cancel(nffi_task),
    Stop,
    /// Nothing that this runtime asks for.
    Other,
}

impl Host {
    /// None where the host speaks another version of the ABI, or lacks a function that is needed.
    ///
    /// # Safety
    /// `table` is the host's, valid for the life of the process.
    pub unsafe fn new(table: *const nffi_host, queue: nffi_queue) -> Option<Self> {
        // SAFETY: as the caller promises; abi and size come first in every version.
        let table = unsafe { table.as_ref() }?;
        let known = table.abi == NFFI_ABI && table.size as usize >= offset_of!(nffi_host, http);
        let whole = known
            && table.poll.is_some()
            && table.reply.is_some()
            && table.cancelled.is_some()
            && table.stopped.is_some()
            && table.alloc.is_some();
        whole.then_some(Self { table, queue })
    }

    /// Waits for the next event.
    pub fn poll(&self) -> Event {
        let mut event = nffi_event::default();
        let Some(poll) = self.table.poll else { return Event::Stop };
        // SAFETY: there is room for one event.
        if unsafe { poll(self.queue, &raw mut event, 1, -1) } == 0 {
            return Event::Other;
        }
        match event.kind {
            NFFI_CALL => Event::Call(Call { host: *self, task: event.task, data: event.data.cast(), len: event.len }),
            NFFI_CANCEL => Event::Cancel(event.task),
            NFFI_STOP => Event::Stop,
            _ => Event::Other,
        }
    }

    pub fn cancelled(&self, task: nffi_task) -> bool {
        // SAFETY: a handle that is not a task's is an error code.
        self.table.cancelled.is_some_and(|cancelled| unsafe { cancelled(task) } == 1)
    }

    /// The last thread's last word.
    pub fn stopped(&self) {
        if let Some(stopped) = self.table.stopped {
            // SAFETY: the handle is the one that init was given.
            unsafe { stopped(self.queue) };
        }
    }

    fn reply(&self, task: nffi_task, status: i32, body: &[u8]) {
        let (Some(alloc), Some(reply)) = (self.table.alloc, self.table.reply) else { return };
        // SAFETY: alloc's memory is ours until reply takes it, and is as long as what is copied.
        unsafe {
            let data: *mut u8 = alloc(body.len().max(1)).cast();
            if data.is_null() {
                // The message is lost, the caller is not.
                reply(task, INTERNAL, ptr::null_mut(), 0);
                return;
            }
            ptr::copy_nonoverlapping(body.as_ptr(), data, body.len());
            // GONE and BAD need no answer: there is nobody to give it to.
            reply(task, status, data.cast(), body.len());
        }
    }
}

/// A call to be answered, once. Dropped without an answer, as in a panic, it answers for itself.
pub struct Call {
    host: Host,
    task: nffi_task,
    data: *const u8,
    len: usize,
}

// SAFETY: the request is read only, the host keeps it until the task ends, and only this value's
// owner can end it.
unsafe impl Send for Call {}

impl Call {
    pub fn id(&self) -> u64 {
        self.task
    }

    pub fn request(&self) -> &[u8] {
        // SAFETY: never NULL with NFFI_CALL, and the host's until the task ends: `reply` takes self.
        unsafe { slice::from_raw_parts(self.data, self.len) }
    }

    pub fn reply(self, status: i32, body: &[u8]) {
        self.host.reply(self.task, status, body);
        std::mem::forget(self);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.host.reply(self.task, INTERNAL, b"internal error: the query panicked");
    }
}

/// # Safety
/// As include/nffi.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_runtime_init_v1(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    guard(err, err_cap, || {
        // SAFETY: the host's table and configuration, as it promises them.
        let (host, cfg) = unsafe { (Host::new(host, queue), bytes(cfg, len)) };
        let host = host.ok_or_else(|| format!("a host of ABI {NFFI_ABI} is needed"))?;
        let config = Config::parse(cfg).map_err(|error| error.to_string())?;
        service::start(host, &config).map_err(|error| error.to_string())
    })
}

/// # Safety
/// As include/nffi.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_runtime_check_v1(
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    guard(err, err_cap, || {
        // SAFETY: valid during this call.
        let config = Config::parse(unsafe { bytes(cfg, len) }).map_err(|error| error.to_string())?;
        store::read_status(&config.status).map_err(|error| error.to_string())?;
        Ok(())
    })
}

/// # Safety
/// `data` is valid for `len` bytes while the result is used, or `len` is 0.
unsafe fn bytes<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// The boundary: an error becomes the host's message, and so does a panic.
fn guard(err: *mut c_char, err_cap: usize, body: impl FnOnce() -> Result<(), String>) -> c_int {
    let message = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(_) => "panicked".to_owned(),
    };
    put(err, err_cap, &message);
    1
}

/// Copies as much of the message as fits, cut between characters, and a NUL.
fn put(err: *mut c_char, err_cap: usize, message: &str) {
    if err.is_null() || err_cap == 0 {
        return;
    }
    let mut len = message.len().min(err_cap - 1);
    while !message.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: err has room for err_cap bytes, and len is below that.
    unsafe {
        ptr::copy_nonoverlapping(message.as_ptr(), err.cast(), len);
        err.add(len).write(0);
    }
}
