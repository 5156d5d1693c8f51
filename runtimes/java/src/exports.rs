//! What the library exports. Runs on: a start thread of the host's, or the process that checks a configuration.

use std::{
    ffi::{c_char, c_int},
    mem::offset_of,
};

use nffi_abi::{NFFI_ABI, bytes, guarded, nffi_host, nffi_queue};

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
    let body = || {
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
    };
    // SAFETY: the host's promise.
    unsafe { guarded(err, err_cap, body) }
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
    let body = || {
        // SAFETY: valid during this call.
        let config = Config::parse(unsafe { bytes(cfg, len) })?;
        config.check()?;
        jvm::agree(&config.jvm_settings()?)
    };
    // SAFETY: the host's promise.
    unsafe { guarded(err, err_cap, body) }
}
