//! What the library exports. Runs on: a start thread of the host's, or the process that checks a configuration.

use std::{
    any::Any,
    ffi::{c_char, c_int},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nffi_abi::{bytes, nffi_host, nffi_queue, put_message};

use crate::{
    code,
    function::Function,
    host::Host,
    http::Component,
    options::{Interface, Options},
    runtime,
};

/// Starts a runtime.
///
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
        // SAFETY: the host's own table and queue, and cfg is valid during this call.
        let (host, cfg) = unsafe { (Host::new(host, queue)?, bytes(cfg, len)) };
        let options = Options::parse(cfg)?;
        match options.interface {
            Interface::Wasi | Interface::Message => runtime::start::<Function>(host, options),
            Interface::WasiHttp => runtime::start::<Component>(host, options),
        }
    })
}

/// Is this configuration sound, and the module one that can be run? Compiles it for the cache.
///
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
        let options = Options::parse(unsafe { bytes(cfg, len) })?;
        match options.interface {
            Interface::Wasi | Interface::Message => code::check::<Function>(&options),
            Interface::WasiHttp => code::check::<Component>(&options),
        }
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
