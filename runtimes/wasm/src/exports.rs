//! What the library exports. Runs on: a start thread of the host's, or the process that checks a configuration.

use std::ffi::{c_char, c_int};

use nffi_abi::{bytes, guarded, nffi_host, nffi_queue};

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
    let body = || {
        // SAFETY: the host's own table and queue, and cfg is valid during this call.
        let (host, cfg) = unsafe { (Host::new(host, queue)?, bytes(cfg, len)) };
        let options = Options::parse(cfg)?;
        match options.interface {
            Interface::Wasi | Interface::Message => runtime::start::<Function>(host, options),
            Interface::WasiHttp => runtime::start::<Component>(host, options),
        }
    };
    // SAFETY: the host's promise.
    unsafe { guarded(err, err_cap, body) }
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
    let body = || {
        // SAFETY: valid during this call.
        let options = Options::parse(unsafe { bytes(cfg, len) })?;
        match options.interface {
            Interface::Wasi | Interface::Message => code::check::<Function>(&options),
            Interface::WasiHttp => code::check::<Component>(&options),
        }
    };
    // SAFETY: the host's promise.
    unsafe { guarded(err, err_cap, body) }
}
