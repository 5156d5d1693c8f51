//! The host's table and this runtime's queue in it, as safe functions.

#[cfg(feature = "http")]
pub(crate) mod http;

use std::{
    ffi::c_int,
    mem::offset_of,
    os::fd::{BorrowedFd, OwnedFd},
    ptr,
};

use nffi_abi::{
    NFFI_ABI, NFFI_AGAIN, NFFI_BAD, NFFI_EOF, NFFI_FULL, NFFI_OK, bytes, nffi_event, nffi_host, nffi_queue, nffi_task,
};

/// One runtime's way to its host. Every function may be called on any thread.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    table: &'static nffi_host,
    queue: nffi_queue,
}

/// What [`Host::write`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Taken,
    /// Taken, and the next one should wait for WRITABLE.
    Full,
    Gone,
    NoMemory,
}

/// What [`Host::read`] says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Piece(Vec<u8>),
    /// One READABLE follows.
    Again,
    End,
    Gone,
}

impl Host {
    /// None where the host speaks another version of the ABI, or lacks a function.
    ///
    /// # Safety
    /// `table` is NULL or the host's, valid for the life of the process.
    pub(crate) unsafe fn new(table: *const nffi_host, queue: nffi_queue) -> Option<Self> {
        // SAFETY: as the caller promises; abi and size come first in every version.
        let table = unsafe { table.as_ref() }?;
        if table.abi != NFFI_ABI || (table.size as usize) < offset_of!(nffi_host, http) {
            return None;
        }
        // The functions that the SDK needs. Asked here, so that a host without one fails the start.
        table.poll?;
        table.poll_fd?;
        table.reply?;
        table.write?;
        table.read?;
        table.cancelled?;
        table.log?;
        table.stopped?;
        table.alloc?;
        table.release?;
        Some(Self { table, queue })
    }

    pub(crate) fn queue(&self) -> nffi_queue {
        self.queue
    }

    /// Takes events off the queue, waiting for the first for `timeout_ms` (-1: for ever).
    pub(crate) fn poll<'a>(&self, events: &'a mut [nffi_event], timeout_ms: c_int) -> &'a [nffi_event] {
        let Some(poll) = self.table.poll else { return &[] };
        // SAFETY: there is room for as many events as it is told.
        let n = unsafe { poll(self.queue, events.as_mut_ptr(), events.len(), timeout_ms) };
        &events[..n.min(events.len())]
    }

    /// A descriptor of our own that is readable while events may wait.
    #[cfg_attr(not(feature = "async"), allow(dead_code))]
    pub(crate) fn poll_fd(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: any queue's handle may be asked.
        let fd = self.table.poll_fd.map_or(-1, |poll_fd| unsafe { poll_fd(self.queue) });
        if fd < 0 {
            return Err(std::io::Error::other("the host has no descriptor to watch"));
        }
        // SAFETY: open until stopped(), which this runtime has not said yet.
        unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
    }

    /// Ends a task. Where there is no memory for the answer, with a status and without a message.
    pub(crate) fn reply(&self, task: nffi_task, status: i32, body: &[u8]) {
        let Some(reply) = self.table.reply else { return };
        // GONE and BAD need no answer: there is nobody to give it to.
        if body.is_empty() {
            // SAFETY: NULL is an answer of no bytes; a wrong handle is an error code.
            unsafe { reply(task, status, ptr::null_mut(), 0) };
            return;
        }
        let (status, data, len) = match self.copy(body) {
            Some(data) => (status, data, body.len()),
            None => (if status == 0 { 1 } else { status }, ptr::null_mut(), 0),
        };
        // SAFETY: data is alloc's, len bytes long, and the host's from here on.
        unsafe { reply(task, status, data, len) };
    }

    pub(crate) fn write(&self, task: nffi_task, piece: &[u8]) -> Written {
        let (Some(write), Some(data)) = (self.table.write, self.copy(piece)) else { return Written::NoMemory };
        // SAFETY: data is alloc's, as long as the piece, and the host's from here on.
        match unsafe { write(task, data, piece.len()) } {
            rc if rc == NFFI_OK as c_int => Written::Taken,
            rc if rc == NFFI_FULL as c_int => Written::Full,
            _ => Written::Gone,
        }
    }

    pub(crate) fn read(&self, task: nffi_task) -> Read {
        let (Some(read), Some(release)) = (self.table.read, self.table.release) else { return Read::Gone };
        let (mut data, mut len) = (ptr::null_mut(), 0);
        // SAFETY: both are ours to be written.
        match unsafe { read(task, &raw mut data, &raw mut len) } {
            rc if rc == NFFI_OK as c_int => {
                // SAFETY: with OK, data are len bytes that are ours until they are released, once.
                let piece = unsafe {
                    let piece = bytes(data, len).to_vec();
                    release(data.cast());
                    piece
                };
                Read::Piece(piece)
            }
            rc if rc == NFFI_AGAIN as c_int => Read::Again,
            rc if rc == NFFI_EOF as c_int => Read::End,
            _ => Read::Gone,
        }
    }

    /// Has the caller gone? Also true for a task that has ended.
    pub(crate) fn cancelled(&self, task: nffi_task) -> bool {
        // SAFETY: a handle that is not a task's is an error code.
        self.table.cancelled.is_some_and(|cancelled| matches!(unsafe { cancelled(task) }, 1 | NFFI_BAD))
    }

    /// A line for the host's log; `level` as in [`nffi_abi`].
    pub(crate) fn log(&self, task: nffi_task, level: u32, message: &str) {
        let Some(log) = self.table.log else { return };
        // SAFETY: the message is copied during the call.
        unsafe { log(self.queue, task, level as c_int, message.as_ptr().cast(), message.len()) };
    }

    /// The runtime's last word.
    pub(crate) fn stopped(&self) {
        let Some(stopped) = self.table.stopped else { return };
        // SAFETY: the handle is the one that init was given.
        unsafe { stopped(self.queue) };
    }

    /// The host frees what it is handed with free(), so it gets a copy from its own alloc().
    fn copy(&self, bytes: &[u8]) -> Option<*mut std::ffi::c_char> {
        let alloc = self.table.alloc?;
        // SAFETY: alloc may be asked for any size; the copy is within it.
        unsafe {
            let data: *mut u8 = alloc(bytes.len().max(1)).cast();
            if data.is_null() {
                return None;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            Some(data.cast())
        }
    }
}
