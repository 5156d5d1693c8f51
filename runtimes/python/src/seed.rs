//! The loaders of lua-resty-ffi, `libffi_python3.so` and `libresty_ffi_python.so`: other names of
//! this library. The configuration is "MODULE[?],FUNCTION,CFG"; the function is called on the
//! event loop with addresses, CFG's and the task queue's, and its result is init's.

use std::{
    env,
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use crate::{find, interpreter, text};

/// What init returns where no code of the user has run.
const FAILED: c_int = 1;

/// with_length: the older ABI, whose functions may take CFG's length too.
fn init(spec: &[u8], with_length: bool, tq: *mut c_void) -> Result<c_int, String> {
    let (_, core) = interpreter::start_any(|| {
        // No options here: a venv is found as its own activate script says it.
        let venv = env::var_os("VIRTUAL_ENV").map(PathBuf::from);
        find::python(venv.as_deref(), None)
    })?;
    // SAFETY: spec is alive during the call; tq is passed on as it came.
    Ok(unsafe { (core.seed)(spec.as_ptr().cast(), spec.len(), with_length.into(), tq) })
}

fn answer(work: impl FnOnce() -> Result<c_int, String>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(text::of_panic(&*panic)));
    result.unwrap_or_else(|message| {
        // There is no other way back: init returns a number.
        eprintln!("ffi_python3: {message}");
        FAILED
    })
}

/// Runs on: event loop.
///
/// # Safety
/// cfg is NULL or a C string; tq is the queue's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libffi_init(cfg: *const c_char, tq: *mut c_void) -> c_int {
    answer(|| {
        // SAFETY: the caller's promise.
        let spec = if cfg.is_null() { &[][..] } else { unsafe { CStr::from_ptr(cfg) }.to_bytes() };
        init(spec, false, tq)
    })
}

/// The older ABI. Runs on: event loop.
///
/// # Safety
/// cfg is NULL or has cfg_len bytes; tq is the queue's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lib_nonblocking_ffi_init(cfg: *const c_char, cfg_len: c_int, tq: *mut c_void) -> c_int {
    answer(|| {
        // SAFETY: the caller's promise.
        let spec = unsafe { crate::bytes(cfg, usize::try_from(cfg_len).unwrap_or(0)) };
        init(spec, true, tq)
    })
}
