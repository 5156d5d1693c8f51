//! The host's functions for HTTP tasks.

use std::{
    ffi::{c_char, c_int},
    os::fd::{IntoRawFd as _, OwnedFd},
    ptr,
};

use bytes::Buf;
use nffi_abi::{NFFI_FULL, NFFI_OK, nffi_header, nffi_str, nffi_task};

use super::{Host, Written};

/// Bytes in memory of the host's, to be handed over.
pub(crate) struct Piece {
    host: Host,
    data: *mut c_char,
    len: usize,
}

// SAFETY: memory that nobody else knows of.
unsafe impl Send for Piece {}

impl Piece {
    fn into_raw(self) -> (*mut c_char, usize) {
        let raw = (self.data, self.len);
        std::mem::forget(self);
        raw
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(release) = self.host.table.release {
            // SAFETY: alloc's, and not handed over.
            unsafe { release(self.data.cast()) };
        }
    }
}

/// A header line, as the table's functions take it. Valid as long as both.
pub(crate) fn header(name: &[u8], value: &[u8]) -> nffi_header {
    let string = |bytes: &[u8]| nffi_str { data: bytes.as_ptr().cast(), len: bytes.len() };
    nffi_header { name: string(name), value: string(value) }
}

impl Host {
    pub(crate) fn has_http(&self) -> bool {
        self.table.size as usize >= size_of_val(self.table)
            && self.table.http_head.is_some()
            && self.table.http_file.is_some()
            && self.table.http_trailers.is_some()
            && self.table.end.is_some()
    }

    /// Copies the next `len` bytes; `data` has as many. None where there is no memory.
    pub(crate) fn piece(&self, data: &mut impl Buf, len: usize) -> Option<Piece> {
        // SAFETY: alloc may be asked for any size.
        let start: *mut u8 = unsafe { self.table.alloc?(len.max(1)) }.cast();
        if start.is_null() {
            return None;
        }
        // Before the copy, in which a Buf of the app's may panic.
        let piece = Piece { host: *self, data: start.cast(), len };
        let mut at = 0;
        while at < len {
            let chunk = data.chunk();
            let n = chunk.len().min(len - at);
            // SAFETY: n bytes are in the chunk, and as many are left of the room from `at` on.
            unsafe { ptr::copy_nonoverlapping(chunk.as_ptr(), start.add(at), n) };
            at += n;
            data.advance(n);
        }
        Some(piece)
    }

    /// Ends a task, with its last piece where there is one.
    pub(crate) fn reply_piece(&self, task: nffi_task, status: i32, piece: Option<Piece>) {
        // GONE and BAD need no answer: there is nobody to give it to.
        // SAFETY: the piece is alloc's, and the host's from here on; a wrong handle is an error code.
        unsafe {
            match (piece.map(Piece::into_raw), self.table.reply, self.table.end) {
                (Some((data, len)), Some(reply), _) => reply(task, status, data, len),
                (None, _, Some(end)) => end(task, status),
                _ => 0,
            };
        }
    }

    pub(crate) fn write_piece(&self, task: nffi_task, piece: Piece) -> Written {
        let Some(write) = self.table.write else { return Written::Gone };
        let (data, len) = piece.into_raw();
        // SAFETY: alloc's, len bytes, and the host's from here on.
        written(unsafe { write(task, data, len) })
    }

    /// Sends the head at once.
    pub(crate) fn flush(&self, task: nffi_task) -> Written {
        // SAFETY: NULL is a piece of no bytes.
        self.table.write.map_or(Written::Gone, |write| written(unsafe { write(task, ptr::null_mut(), 0) }))
    }

    /// False where nobody waits for it.
    ///
    /// # Safety
    /// The strings of the headers are valid.
    pub(crate) unsafe fn http_head(&self, task: nffi_task, status: u16, headers: &[nffi_header]) -> bool {
        // SAFETY: as the caller promises; copied during the call.
        self.table.http_head.is_some_and(|http_head| unsafe {
            http_head(task, status.into(), headers.as_ptr(), headers.len()) == NFFI_OK as c_int
        })
    }

    /// # Safety
    /// As for [`http_head`](Self::http_head).
    pub(crate) unsafe fn http_trailers(&self, task: nffi_task, headers: &[nffi_header]) -> bool {
        // SAFETY: as the caller promises; copied during the call.
        self.table.http_trailers.is_some_and(|http_trailers| unsafe {
            http_trailers(task, headers.as_ptr(), headers.len()) == NFFI_OK as c_int
        })
    }

    pub(crate) fn http_file(&self, task: nffi_task, file: OwnedFd, offset: i64, length: i64) -> Written {
        let Some(http_file) = self.table.http_file else { return Written::Gone };
        // SAFETY: an open descriptor, the host's from here on.
        written(unsafe { http_file(task, file.into_raw_fd(), offset, length) })
    }
}

fn written(rc: c_int) -> Written {
    match rc {
        rc if rc == NFFI_OK as c_int => Written::Taken,
        rc if rc == NFFI_FULL as c_int => Written::Full,
        _ => Written::Gone,
    }
}
