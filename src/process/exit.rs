//! Exits of a worker that nginx knows nothing of: a runtime that calls exit().

use std::{
    ffi::{c_int, c_void},
    process::id,
    ptr,
    sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering},
};

use nffi_core::{host::HOST, registry};
use nginx_sys::{ngx_cycle, ngx_open_file_t};

use super::{respawn, signals};

unsafe extern "C" {
    /// glibc's: like atexit, and the handler gets the status.
    fn on_exit(handler: unsafe extern "C" fn(c_int, *mut c_void), arg: *mut c_void) -> c_int;
}

/// The loop runs: an exit now is foreign code's, whatever its thread.
static UP: AtomicBool = AtomicBool::new(false);
/// nginx itself exits, with foreign threads still about.
static LEAVING_BUSY: AtomicBool = AtomicBool::new(false);
static WORKER_PID: AtomicI32 = AtomicI32::new(0);
/// The file of the worker's error log. Its descriptor changes when logs are reopened.
static LOG_FILE: AtomicPtr<ngx_open_file_t> = AtomicPtr::new(ptr::null_mut());

/// From now on the master respawns this worker, unless it is nginx that gives up. Runs on: event
/// loop, when the worker starts, before any runtime does.
pub fn guard() {
    WORKER_PID.store(id() as i32, Ordering::Relaxed);
    // SAFETY: the worker's cycle, its log and that log's file live as long as the worker.
    unsafe {
        let mut log = (*ngx_cycle).log;
        while !log.is_null() && (*log).file.is_null() {
            log = (*log).next;
        }
        if !log.is_null() {
            LOG_FILE.store((*log).file, Ordering::Relaxed);
        }
    }
    respawn::claim(id() as i32);
    guard_again();
}

/// Exit handlers run newest first: ours has to come before those that a library has brought, and
/// before its destructors. Runs on: any thread, after a library was loaded.
pub fn guard_again() {
    // SAFETY: the module is never unmapped.
    unsafe { on_exit(exiting, ptr::null_mut()) };
}

/// The loop runs; nginx's own start is over. Runs on: event loop.
pub fn is_up() {
    UP.store(true, Ordering::Release);
}

/// exit_process: from now on an exit is nginx's. `quiet`: no foreign thread is left.
pub fn leaving(quiet: bool) {
    UP.store(false, Ordering::Release);
    LEAVING_BUSY.store(!quiet, Ordering::Release);
    respawn::claim(0);
}

/// Runs on: the thread that called exit(). First of all exit handlers but those registered later.
unsafe extern "C" fn exiting(status: c_int, _: *mut c_void) {
    // A forked child that exits is none of our business.
    if WORKER_PID.load(Ordering::Relaxed) != id() as i32 {
        return;
    }
    if UP.load(Ordering::Acquire) || !signals::on_main_thread() {
        let name = HOST.registry.with(registry::current(), |runtime| runtime.name.clone());
        let who = name.map_or_else(|| "code in the worker".to_owned(), |name| format!("nffi runtime \"{name}\""));
        // Off the event loop: nginx's log may not be touched, but its descriptor may be written.
        write_raw(&format!("{who} called exit({status}): the worker ends, its requests are lost"));
    } else {
        // nginx gives up, and knows why.
        respawn::claim(0);
        if !LEAVING_BUSY.load(Ordering::Acquire) {
            return;
        }
    }
    // SAFETY: ends the process; no destructor runs under threads that still use its objects.
    unsafe { libc::_exit(status) };
}

/// One line to the error log, from any thread.
fn write_raw(message: &str) {
    let file = LOG_FILE.load(Ordering::Relaxed);
    // SAFETY: NULL, or a file that lives as long as the worker; its descriptor is a plain number.
    let fd = unsafe { file.as_ref() }.map_or(libc::STDERR_FILENO, |file| file.fd);
    let line = format!("nffi [alert] {}: {message}\n", id());
    // SAFETY: a plain write; a descriptor that is closed is an error that nobody can be told of.
    unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
}
