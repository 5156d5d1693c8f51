//! Signals in a worker: SIGCHLD is left to whoever waits for children, and nginx's other handlers
//! run on the main thread only.

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicI32, AtomicUsize, Ordering},
};

use nginx_sys::{NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_process};

use super::respawn;
use crate::sema::symbol;

/// nginx's own table of signals (`ngx_process.c`); it ends with a signal of 0.
#[repr(C)]
pub struct NgxSignal {
    pub signo: c_int,
    signame: *const c_char,
    name: *const c_char,
    pub handler: Option<Handler>,
}

pub type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// nginx's handler, the same for all signals that have one.
pub static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

pub fn original() -> Option<Handler> {
    match ORIGINAL.load(Ordering::Relaxed) {
        0 => None,
        // SAFETY: stored from a Handler only.
        address => Some(unsafe { std::mem::transmute::<usize, Handler>(address) }),
    }
}

/// The entries of nginx's table, where it is exported.
pub fn nginx_signals() -> impl Iterator<Item = *mut NgxSignal> {
    // SAFETY: the address of a data symbol, in the shape of a pointer to its first entry.
    let first = unsafe { symbol::<*mut NgxSignal>(c"signals") }.unwrap_or(ptr::null_mut());
    (0..64).map_while(move |i| {
        if first.is_null() {
            return None;
        }
        // SAFETY: the table ends with signo 0, and we stop there.
        let entry = unsafe { first.add(i) };
        // SAFETY: as above.
        (unsafe { (*entry).signo } != 0).then_some(entry)
    })
}

pub fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a NULL new action only asks.
    let rc = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written where the call succeeded.
    (rc == 0).then(|| unsafe { action.assume_init() })
}

pub fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: a valid action; the old one is not asked for.
    unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
}

static MAIN_THREAD: AtomicI32 = AtomicI32::new(0);

/// Leaves SIGCHLD to whoever waits for children, and sends nginx's other signals on to the main
/// thread. Handlers of other modules are left alone. Runs on: event loop, when the worker starts.
pub fn guard() {
    // SAFETY: no arguments.
    MAIN_THREAD.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    // SAFETY: set by nginx before any init_process.
    let serves = matches!(unsafe { ngx_process } as u32, NGX_PROCESS_WORKER | NGX_PROCESS_SINGLE);
    for entry in nginx_signals() {
        // SAFETY: an entry before the end of nginx's table.
        let (signal, handler) = unsafe { ((*entry).signo, (*entry).handler) };
        let (Some(handler), Some(mut current)) = (handler, action(signal)) else { continue };
        let handler = if signal == libc::SIGCHLD { original().unwrap_or(handler) } else { handler };
        let ours = respawn::reap as Handler as usize;
        if current.sa_sigaction != handler as usize && current.sa_sigaction != ours {
            continue;
        }
        if signal == libc::SIGCHLD {
            // A worker of nginx has no children of its own, nor has an nginx without a master.
            if serves {
                current.sa_sigaction = libc::SIG_DFL;
                current.sa_flags = 0;
                set_action(signal, &current);
            }
        } else {
            ORIGINAL.store(handler as usize, Ordering::Relaxed);
            current.sa_sigaction = forward as Handler as usize;
            current.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            set_action(signal, &current);
        }
    }
}

/// Runs on: any thread.
pub fn on_main_thread() -> bool {
    // SAFETY: no arguments.
    unsafe { libc::gettid() == MAIN_THREAD.load(Ordering::Relaxed) }
}

/// Runs on: whatever thread the kernel chose.
unsafe extern "C" fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // The main thread's id is the worker's pid.
    let main = MAIN_THREAD.load(Ordering::Relaxed);
    // SAFETY: async-signal-safe calls; the original handler gets what the kernel gave.
    unsafe {
        if libc::gettid() == main {
            if let Some(original) = original() {
                original(signal, info, context);
            }
        } else if libc::getpid() == main {
            libc::syscall(libc::SYS_tgkill, main, main, signal);
        } else {
            // A child that a runtime has forked: nothing of nginx is left in it.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}
