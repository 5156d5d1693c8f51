//! What every runtime in Rust does with the arguments of its two exported functions.

use core::{
    ffi::{c_char, c_int},
    ptr, slice,
};

use crate::{nffi_host, nffi_queue};

/// The type of `nffi_runtime_init_v1`.
pub type InitFn = unsafe extern "C" fn(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int;

/// The type of `nffi_runtime_check_v1`.
pub type CheckFn = unsafe extern "C" fn(cfg: *const c_char, len: usize, err: *mut c_char, err_cap: usize) -> c_int;

/// The configuration, or any other bytes of the host's.
///
/// # Safety
/// `data` is valid for `len` bytes while the result is used; or it is NULL, or `len` is 0.
pub unsafe fn bytes<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// Copies as much of the message as fits, cut between characters, and a NUL.
///
/// # Safety
/// `err` is NULL or has room for `err_cap` bytes.
pub unsafe fn put_message(err: *mut c_char, err_cap: usize, message: &str) {
    if err.is_null() || err_cap == 0 {
        return;
    }
    let mut len = message.len().min(err_cap - 1);
    while !message.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: len and the NUL are within err_cap, and the two do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(message.as_ptr().cast(), err, len);
        err.add(len).write(0);
    }
}

/// The boundary of an exported function: an error becomes the host's message, and so does a panic. Returns what the function
/// is to return.
///
/// # Safety
/// `err` is NULL or has room for `err_cap` bytes.
#[cfg(feature = "std")]
pub unsafe fn guarded(
    err: *mut c_char,
    err_cap: usize,
    body: impl FnOnce() -> Result<(), std::string::String>,
) -> c_int {
    let message = match std::panic::catch_unwind(core::panic::AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => {
            let message = std::format!("panicked: {}", panic_text(&*panic));
            // To drop it may panic.
            core::mem::forget(panic);
            message
        }
    };
    // SAFETY: the caller's promise.
    unsafe { put_message(err, err_cap, &message) };
    1
}

/// What a panic said.
#[cfg(feature = "std")]
pub fn panic_text(panic: &(dyn core::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<std::string::String>().map(std::string::String::as_str))
        .unwrap_or("without a message")
}
