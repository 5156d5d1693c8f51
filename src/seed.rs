//! lua-resty-ffi's ABI, in both its generations: libraries that were made for it load unchanged. Their
//! tasks, queues and answers are nffi's own (`nffi_core::foreign`), and so is a call's way; here are
//! the six functions that such a library finds in the process. docs/coming-from-lua-resty-ffi.md is
//! the documentation.
//!
//! [`load`] brings a library in, [`call`] takes an answer as `resty_ffi` returns it.
//!
//! The six run on: runtime thread, any number of them. None panics into a library.

pub mod call;
pub mod load;

use std::{
    ffi::{c_char, c_int, c_void},
    ptr, slice,
};

use nffi_core::{
    buf::Buf,
    host::{self, HOST},
    slot::Answer,
};

pub use load::Seed;

/// The most that a length of this ABI can say.
const MAX_LEN: usize = c_int::MAX as usize;

/// What turns a handle into a pointer. Libraries keep both kinds in variables of pointer type, and
/// a garbage collector that finds one there must see at once that it points nowhere: Go ends the
/// process for a pointer below 4096 on a stack (the first queues' handles), or into free pages of
/// its heap (handles from the 50 000th use of a slot on). With this bit no address is valid.
const CLOTHES: u64 = 1 << 62;

/// A handle in a pointer's clothes.
fn to_pointer(handle: u64) -> *mut c_void {
    ptr::without_provenance_mut((handle ^ CLOTHES) as usize)
}

fn to_handle(pointer: *const c_void) -> u64 {
    pointer.addr() as u64 ^ CLOTHES
}

/// The next task; waits for it. NULL: unloaded, for this and every later call.
fn task_poll(tq: *mut c_void) -> *mut c_void {
    host::guard(None, || HOST.next_task(to_handle(tq))).map_or(ptr::null_mut(), to_pointer)
}

/// The request, the host's, with a NUL behind it; it stays valid until the task is answered. NULL
/// where the caller gave none, or where there is no such task.
///
/// # Safety
/// `len` is NULL or has room for the length.
unsafe fn get_req(task: *mut c_void, len: *mut c_int) -> *mut c_char {
    let (data, size) = host::guard(None, || HOST.request(to_handle(task))).unwrap_or((ptr::null(), 0));
    if !len.is_null() {
        // SAFETY: the caller's promise. No request is longer than MAX_LEN: see load's settings.
        unsafe { *len = size as c_int };
    }
    data.cast_mut()
}

/// Ends the task. `rsp`, from malloc, is the host's from then on; but where there is no such task
/// it is left alone: a second answer often is the same block.
///
/// # Safety
/// Where the task is alive: `rsp` is NULL, or from malloc with `rsp_len` bytes, or with rsp_len 0 a
/// C string from malloc.
unsafe fn respond(task: *mut c_void, rc: c_int, rsp: *mut c_char, rsp_len: c_int) {
    let answer = || {
        // SAFETY: the caller's promise, and the task is alive.
        let data = unsafe { taken_over(rsp, rsp_len) };
        match data {
            Ok(data) => Answer { status: rc, data },
            Err(why) => Answer {
                status: if rc == 0 { -1 } else { rc },
                data: Buf::copy_of(why.as_bytes()).unwrap_or(Buf::none()),
            },
        }
    };
    host::guard((), || HOST.respond(to_handle(task), answer));
}

/// # Safety
/// As for a living task's answer.
unsafe fn taken_over(rsp: *mut c_char, rsp_len: c_int) -> Result<Buf, String> {
    if rsp.is_null() {
        return Ok(Buf::none());
    }
    let len = match usize::try_from(rsp_len) {
        // SAFETY: the caller's promise.
        Ok(0) => unsafe { libc::strlen(rsp) },
        Ok(len) => len,
        Err(_) => {
            // SAFETY: a block of malloc's, given up.
            drop(unsafe { Buf::from_raw(rsp, 0) });
            return Err(format!("answer refused: its length came as {rsp_len}; up to {MAX_LEN} bytes fit this ABI"));
        }
    };
    // SAFETY: the caller's promise.
    Ok(unsafe { Buf::from_raw(rsp, len) })
}

/// # Safety
/// `data` has `len` bytes, or is NULL.
unsafe fn optional<'a>(data: *const c_char, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// Both generations differ in the names only.
macro_rules! export {
    ($task_poll:ident, $get_req:ident, $respond:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $task_poll(tq: *mut c_void) -> *mut c_void {
            task_poll(tq)
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $get_req(task: *mut c_void, len: *mut c_int) -> *mut c_char {
            // SAFETY: the ABI: NULL, or room for a length.
            unsafe { get_req(task, len) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $respond(task: *mut c_void, rc: c_int, rsp: *mut c_char, rsp_len: c_int) {
            // SAFETY: the ABI: an answer from malloc, given up.
            unsafe { respond(task, rc, rsp, rsp_len) };
        }
    };
}

export!(ngx_http_lua_ffi_task_poll, ngx_http_lua_ffi_get_req, ngx_http_lua_ffi_respond);
export!(
    ngx_http_lua_nonblocking_ffi_task_poll,
    ngx_http_lua_nonblocking_ffi_get_req,
    ngx_http_lua_nonblocking_ffi_respond
);
