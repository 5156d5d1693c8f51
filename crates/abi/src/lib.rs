//! `include/nffi.h` in Rust: the same names, the same layouts. The header is the contract and
//! holds the documentation; see there for OWNERSHIP, THREAD and RETURNS of every function.
#![no_std]
// What bindgen writes carries no SAFETY comments.
#![allow(non_camel_case_types, missing_docs, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/nffi.rs"));

/// The type of `nffi_runtime_init_v1`.
pub type InitFn = unsafe extern "C" fn(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const core::ffi::c_char,
    len: usize,
    err: *mut core::ffi::c_char,
    err_cap: usize,
) -> core::ffi::c_int;

/// The type of `nffi_runtime_check_v1`.
pub type CheckFn = unsafe extern "C" fn(
    cfg: *const core::ffi::c_char,
    len: usize,
    err: *mut core::ffi::c_char,
    err_cap: usize,
) -> core::ffi::c_int;
