//! Respawning: the master starts a worker again whatever exit code foreign code has ended it with.

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, Ordering},
};

use nginx_sys::{
    NGX_LOG_ALERT, NGX_LOG_WARN, NGX_MAX_PROCESSES, NGX_PROCESS_WORKER, ngx_last_process, ngx_log_t, ngx_process,
    ngx_process_slot, ngx_processes, ngx_quit, ngx_terminate, ngx_test_config,
};

use super::signals::{Handler, ORIGINAL, action, nginx_signals, original, set_action};
use crate::errlog;

const NAMES: usize = 252;

/// What the master knows of a worker, in memory that both share.
#[repr(C)]
struct WorkerSlot {
    /// The worker's, while the master is to respawn it whatever it exits with; else 0.
    pid: AtomicI32,
    /// Its runtimes' names, NUL-terminated.
    names: [AtomicU8; NAMES],
}

/// One for each of nginx's process slots.
static SLOTS: AtomicPtr<WorkerSlot> = AtomicPtr::new(ptr::null_mut());
const SLOT_COUNT: usize = NGX_MAX_PROCESSES as usize;

fn slot(number: usize) -> Option<&'static WorkerSlot> {
    let slots = SLOTS.load(Ordering::Acquire);
    // SAFETY: a mapping of SLOT_COUNT slots that is never unmapped; all fields are atomics.
    (!slots.is_null() && number < SLOT_COUNT).then(|| unsafe { &*slots.add(number) })
}

fn own_slot() -> Option<&'static WorkerSlot> {
    // SAFETY: set by nginx before the fork; SINGLE processes have no master to tell.
    unsafe { (ngx_process as u32 == NGX_PROCESS_WORKER).then(|| slot(ngx_process_slot as usize)).flatten() }
}

/// Tells the master the pid of this worker, which it is to respawn whatever its exit code; 0: not
/// any more. Runs on: any thread.
pub fn claim(pid: i32) {
    if let Some(slot) = own_slot() {
        if pid != 0 {
            // A slot is used again after its worker has gone.
            slot.names[0].store(0, Ordering::Relaxed);
        }
        slot.pid.store(pid, Ordering::Release);
    }
}

/// Adds a runtime's name to what the master knows. Runs on: event loop.
pub fn name_runtime(name: &str) {
    let Some(slot) = own_slot() else { return };
    let used = slot.names.iter().position(|b| b.load(Ordering::Relaxed) == 0).unwrap_or(NAMES);
    let text = if used == 0 { name.to_owned() } else { format!(", {name}") };
    if used + text.len() < NAMES {
        for (to, from) in slot.names[used..].iter().zip(text.bytes().chain([0])) {
            to.store(from, Ordering::Relaxed);
        }
    }
}

/// Puts our handler in front of nginx's own for SIGCHLD. nginx installs what its table says once,
/// after the first configuration is read; where the module comes with a reload, it has done so
/// already. Runs on: master.
///
/// # Safety
/// `log` is the log of the new cycle.
pub unsafe fn guard_workers(log: *mut ngx_log_t) {
    // SAFETY: nginx's flag, read on its own thread.
    if unsafe { ngx_test_config } != 0 || !SLOTS.load(Ordering::Acquire).is_null() {
        return;
    }
    let Some(entry) = nginx_signals().find(|entry| {
        // SAFETY: an entry before the end of nginx's table.
        unsafe { (**entry).signo == libc::SIGCHLD }
    }) else {
        errlog::write(
            log,
            NGX_LOG_WARN as _,
            format_args!(
                "nffi: this nginx does not export its signals; a runtime's exit(2) will end the worker for good"
            ),
        );
        return;
    };
    let size = SLOT_COUNT * size_of::<WorkerSlot>();
    // SAFETY: a new anonymous mapping; zeroed, which is valid for atomics.
    let slots = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if slots == libc::MAP_FAILED {
        errlog::write(log, NGX_LOG_WARN as _, format_args!("nffi: no shared memory; exit(2) of a runtime is fatal"));
        return;
    }
    // SAFETY: nginx's table is writable data; only this thread looks at it now.
    let Some(handler) = (unsafe { (*entry).handler }) else { return };
    ORIGINAL.store(handler as usize, Ordering::Relaxed);
    SLOTS.store(slots.cast(), Ordering::Release);
    // SAFETY: as above.
    unsafe { (*entry).handler = Some(reap) };
    if let Some(mut current) = action(libc::SIGCHLD)
        && current.sa_sigaction == handler as usize
    {
        current.sa_sigaction = reap as Handler as usize;
        set_action(libc::SIGCHLD, &current);
    }
}

/// nginx never starts a worker again that has exited with code 2, which stands for "cannot even
/// start". For workers that have started it means that foreign code called exit(2): they are hidden
/// from that rule while nginx's own handler reaps. Runs on: master, as its SIGCHLD handler (the
/// signal is blocked but for the wait in its cycle, so nothing else of nginx runs).
pub unsafe extern "C" fn reap(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(original) = original() else { return };
    // SAFETY: nginx's process table, on its own thread, as its own handler uses it.
    unsafe {
        let last = ngx_last_process as usize;
        let processes = &raw mut ngx_processes;
        let mut hidden = [false; SLOT_COUNT];
        for (number, hidden) in hidden.iter_mut().enumerate().take(last) {
            let process = &raw mut (*processes)[number];
            let up = slot(number).is_some_and(|s| s.pid.load(Ordering::Acquire) == (*process).pid);
            if up && (*process).pid > 0 && (*process).respawn() != 0 && (*process).exited() == 0 {
                *hidden = true;
                (*process).set_respawn(0);
            }
        }
        original(signal, info, context);
        for number in (0..SLOT_COUNT).filter(|&number| hidden[number]) {
            let process = &raw mut (*processes)[number];
            (*process).set_respawn(1);
            if (*process).exited() != 0 && libc::WIFEXITED((*process).status) {
                let leaving = (*process).exiting() != 0 || ngx_quit != 0 || ngx_terminate != 0;
                tell((*process).pid, libc::WEXITSTATUS((*process).status), number, leaving);
            }
        }
    }
}

/// Logs who may have ended a worker that was up. Runs on: master.
fn tell(pid: i32, status: i32, number: usize, leaving: bool) {
    let mut names = String::new();
    if let Some(slot) = slot(number) {
        slot.pid.store(0, Ordering::Release);
        let bytes: Vec<u8> = slot.names.iter().map(|b| b.load(Ordering::Relaxed)).take_while(|&b| b != 0).collect();
        names = String::from_utf8_lossy(&bytes).into_owned();
    }
    let next = if leaving { "it was leaving anyway" } else { "another is started" };
    errlog::cycle(
        NGX_LOG_ALERT as _,
        format_args!(
            "nffi: worker process {pid} was ended by code in it, with exit code {status}; {next}; its runtimes: {names}"
        ),
    );
}
