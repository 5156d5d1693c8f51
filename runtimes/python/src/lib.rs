//! The Python host: a runtime that runs CPython.
//!
//! Two libraries. This one links against nothing of Python: it reads the options, loads the
//! libpython that they name, and starts the interpreter, once in a process. Then it loads the
//! second one, `libnffi_python_core.so` in the folder of this one, which is made with PyO3 and
//! does the rest. Were they one, the dynamic linker would want Python's symbols before anybody
//! could say which libpython is meant.
//!
//! | module        | what                                                                  |
//! |---------------|-----------------------------------------------------------------------|
//! | `options`     | the options of the `nffi_runtime` block                               |
//! | `find`        | which libpython, and which python3 it takes itself for                |
//! | `interpreter` | starts it, on a thread that it keeps                                  |
//! | `owner`       | of several copies of this library, which one has the interpreter      |
//! | `seed`        | `libffi_init` and its older twin, the loaders of lua-resty-ffi        |
//! | `text`        | messages into the buffers of C callers                                |

mod find;
mod interpreter;
mod options;
mod owner;
mod seed;
mod text;

use std::{
    ffi::{c_char, c_int},
    sync::{Mutex, PoisonError},
};

use nffi_abi::{self as abi, bytes, guarded};

use crate::{find::Python, options::Options};

/// The interpreter that the first checked configuration wants. The checks of all runtimes that
/// name this library run in one process, one after the other.
static CHECKED: Mutex<Option<Python>> = Mutex::new(None);

fn check(cfg: &[u8]) -> Result<(), String> {
    let options = Options::parse(cfg)?;
    options.check_paths()?;
    let python = find::python(options.venv.as_deref(), options.libpython.as_deref())?;
    interpreter::core_library()?;
    owner::claim()?;
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*checked {
        Some(first) => first.same_as(&python),
        None => {
            *checked = Some(python);
            Ok(())
        }
    }
}

/// # Safety
/// As nffi.h says of `nffi_runtime_init_v1`.
unsafe fn init(host: *const abi::nffi_host, queue: abi::nffi_queue, cfg: &[u8]) -> Result<(), String> {
    let options = Options::parse(cfg)?;
    let python = find::python(options.venv.as_deref(), options.libpython.as_deref())?;
    let core = interpreter::start(&python)?;
    let json = options.to_json();
    let mut message = [0u8; 1024];
    // SAFETY: host and queue are the host's own, the rest is alive during the call.
    let rc = unsafe {
        (core.init)(host, queue, json.as_ptr().cast(), json.len(), message.as_mut_ptr().cast(), message.len())
    };
    if rc == 0 { Ok(()) } else { Err(text::of_buffer(&message)) }
}

/// What both exports do around their work: no panic leaves, and an error becomes a message.
fn answer(err: *mut c_char, err_cap: usize, work: impl FnOnce() -> Result<(), String>) -> c_int {
    // SAFETY: the caller of the export gives err_cap bytes at err.
    unsafe { guarded(err, err_cap, work) }
}

/// Starts a Python runtime. Runs on: the host's start thread.
///
/// # Safety
/// As nffi.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_runtime_init_v1(
    host: *const abi::nffi_host,
    queue: abi::nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    answer(err, err_cap, || {
        // SAFETY: passed on as it came.
        unsafe { init(host, queue, bytes(cfg, len)) }
    })
}

/// Is this configuration sound? Looks at files only; no Python is started.
///
/// # Safety
/// As nffi.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_runtime_check_v1(
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    answer(err, err_cap, || {
        // SAFETY: passed on as it came.
        check(unsafe { bytes(cfg, len) })
    })
}
