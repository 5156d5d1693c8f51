//! Exits of a worker that nginx knows nothing of: a runtime that calls exit().

use std::{
    ffi::{c_int, c_void},
    process::id,
    ptr,
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

use nffi_core::{host::HOST, registry};
use nginx_sys::ngx_cycle;

use super::respawn::own_slot;

unsafe extern "C" {
    /// glibc's: like atexit, and the handler gets the status.
    fn on_exit(handler: unsafe extern "C" fn(c_int, *mut c_void), arg: *mut c_void) -> c_int;
}

/// The worker serves: an exit now is foreign code's.
static UP: AtomicBool = AtomicBool::new(false);
/// nginx itself exits, with foreign threads still about.
static LEAVING_BUSY: AtomicBool = AtomicBool::new(false);
static WORKER_PID: AtomicI32 = AtomicI32::new(0);

/// Runs on: event loop, when the worker starts.
pub fn guard() {
    WORKER_PID.store(id() as i32, Ordering::Relaxed);
    // SAFETY: the module is never unmapped.
    unsafe { on_exit(exiting, ptr::null_mut()) };
}

/// Runs on: the thread that called exit(). First of all exit handlers but those registered later.
unsafe extern "C" fn exiting(status: c_int, _: *mut c_void) {
    // A forked child that exits is none of our business.
    if WORKER_PID.load(Ordering::Relaxed) != id() as i32 {
        return;
    }
    if UP.load(Ordering::Acquire) {
        let name = HOST.registry.with(registry::current(), |runtime| runtime.name.clone());
        let who = name.map_or_else(|| "code in the worker".to_owned(), |name| format!("nffi runtime \"{name}\""));
        let message = format!("{who} called exit({status}): the worker ends, its requests are lost");
        // Off the event loop: nginx's log may not be touched, but its descriptor may be written.
        write_raw(&message);
    } else if !LEAVING_BUSY.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: ends the process; no destructor runs under threads that still use its objects.
    unsafe { libc::_exit(status) };
}

/// One line to the error log's descriptor, from any thread.
fn write_raw(message: &str) {
    let fd = LOG_FD.load(Ordering::Relaxed);
    let line = format!("nffi [alert] {}: {message}\n", id());
    // SAFETY: a plain write; a descriptor that is closed is an error that nobody can be told of.
    unsafe { libc::write(if fd < 0 { 2 } else { fd }, line.as_ptr().cast(), line.len()) };
}

static LOG_FD: AtomicI32 = AtomicI32::new(-1);

/// The loop runs. From now on an exit is not nginx's own. Runs on: event loop.
pub fn is_up() {
    // SAFETY: the worker's cycle and its log live as long as the worker.
    unsafe {
        let mut log = (*ngx_cycle).log;
        while !log.is_null() && (*log).file.is_null() {
            log = (*log).next;
        }
        if !log.is_null() {
            LOG_FD.store((*(*log).file).fd, Ordering::Relaxed);
        }
    }
    UP.store(true, Ordering::Release);
    if let Some(slot) = own_slot() {
        slot.pid.store(id() as i32, Ordering::Release);
    }
}

/// exit_process: from now on an exit is nginx's. `quiet`: no foreign thread is left.
pub fn leaving(quiet: bool) {
    UP.store(false, Ordering::Release);
    LEAVING_BUSY.store(!quiet, Ordering::Release);
    if let Some(slot) = own_slot() {
        slot.pid.store(0, Ordering::Release);
    }
}
