//! The part of the Python host that talks to CPython. libnffi_python.so loads it once there is an
//! interpreter, and calls its two exports.
//!
//! | module    | what                                                                      |
//! |-----------|---------------------------------------------------------------------------|
//! | `host`    | the host's table, made safe; nothing goes through it after `stopped`      |
//! | `http`    | an HTTP request: its head, its body, the header lines of its answer         |
//! | `request` | a task as a Python object, that answers for itself when it is dropped     |
//! | `runtime` | a queue as a Python object: batches of tasks in, batches of answers out   |
//! | `pool`    | the threads of `def` handlers: one that polls, and those that work        |
//! | `bytes`   | bytes into Python and out of it                                           |
//! | `asgi`    | ASGI apps: their requests, natively                                        |
//! | `flusher` | sends a pool's answers several at a time                                   |
//! | `wsgi`    | a request of a WSGI app as a Python object                                |
//! | `package` | the Python package `nffi`, whose sources are in this library              |
//! | `seed`    | calls the init functions of lua-resty-ffi's libraries                     |
//!
//! Who holds what: a thread that holds the GIL may take a mutex of ours for a few instructions;
//! one that holds a mutex never waits for the GIL.

mod asgi;
mod bytes;
mod flusher;
mod host;
mod http;
mod package;
mod pool;
mod request;
mod runtime;
mod seed;
mod wsgi;

use std::{
    ffi::{c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use nffi_abi as abi;
use pyo3::prelude::*;

/// The module `nffi._native`.
#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::package::environ;
    #[pymodule_export]
    use crate::request::Request;
    #[pymodule_export]
    use crate::runtime::Runtime;
    #[pymodule_export]
    use crate::wsgi::WsgiRequest;
}

/// Runs `nffi._start.start(runtime, options)`, which returns None or what went wrong.
///
/// # Safety
/// As nffi.h says of init.
unsafe fn start(host: *const abi::nffi_host, queue: abi::nffi_queue, options: &[u8]) -> Result<(), String> {
    // SAFETY: the host's own table and queue.
    let host = unsafe { host::Host::new(host, queue) }?;
    Python::attach(|py| {
        let start = package::load(py)?.getattr("start")?;
        let runtime = Py::new(py, runtime::Runtime::new(host))?;
        start.call1((runtime, options))?.extract::<Option<String>>()
    })
    .map_err(|e: PyErr| e.to_string())?
    .map_or(Ok(()), Err)
}

/// Starts a runtime in the interpreter that runs. As `nffi_runtime_init_v1`, with options that the
/// other library has read. Runs on: the host's start thread.
///
/// # Safety
/// As nffi.h says of init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_python_core_init(
    host: *const abi::nffi_host,
    queue: abi::nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: the caller gives len bytes.
    let options = unsafe { slice::from_raw_parts(cfg.cast::<u8>(), len) };
    // SAFETY: passed on as they came.
    let result = catch_unwind(AssertUnwindSafe(|| unsafe { start(host, queue, options) }));
    let message = match result {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(_) => "panicked while it started".to_owned(),
    };
    if err_cap > 0 && !err.is_null() {
        let mut end = message.len().min(err_cap - 1);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        // SAFETY: end < err_cap, and the buffer is the caller's.
        unsafe {
            ptr::copy_nonoverlapping(message.as_ptr().cast(), err, end);
            err.add(end).write(0);
        }
    }
    1
}

/// Calls the init function of a library of the seed's ABI. Runs on: event loop.
///
/// # Safety
/// spec has len bytes; tq is the queue's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_python_core_seed(
    spec: *const c_char,
    len: usize,
    with_length: c_int,
    tq: *mut c_void,
) -> c_int {
    // SAFETY: the caller gives len bytes.
    let spec = unsafe { slice::from_raw_parts(spec.cast::<u8>(), len) };
    catch_unwind(AssertUnwindSafe(|| seed::init(spec, with_length != 0, tq as usize))).unwrap_or(1)
}
