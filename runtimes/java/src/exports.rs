//! What the library exports. Runs on: a start thread of the host's, or the process that checks a configuration.

use std::{
    any::Any,
    ffi::{c_char, c_int},
    mem::offset_of,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nffi_abi::{NFFI_ABI, bytes, nffi_host, nffi_queue, put_message};

use crate::{config::Config, jvm, natives, signals};

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
        // SAFETY: the host's table, valid for the life of the process; abi and size come first in every version.
        let table = unsafe { host.as_ref() }.ok_or("no host")?;
        if table.abi != NFFI_ABI || (table.size as usize) < offset_of!(nffi_host, http) {
            return Err(format!("a host of ABI {NFFI_ABI} is needed, this one has {}", table.abi));
        }
        // SAFETY: valid during this call.
        let config = Config::parse(unsafe { bytes(cfg, len) })?;
        let settings = config.jvm_settings()?;
        if let Some(complaint) = signals::complaint() {
            natives::warn(table, queue, &complaint);
        }
        let vm = jvm::start(&settings)?;
        natives::start_runtime(&vm, host, queue, &config)
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
        let config = Config::parse(unsafe { bytes(cfg, len) })?;
        config.check()?;
        jvm::agree(&config.jvm_settings()?)
    })
}

/// The boundary: an error becomes the host's message, and so does a panic.
fn guard(err: *mut c_char, err_cap: usize, body: impl FnOnce() -> Result<(), String>) -> c_int {
    let message = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => format!("panicked: {}", panic_text(&*panic)),
    };
    // SAFETY: the caller of the export gives err_cap bytes at err.
    unsafe { put_message(err, err_cap, &message) };
    1
}

pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
