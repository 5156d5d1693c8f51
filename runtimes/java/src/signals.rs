//! Signal masks.

use std::{mem, ptr};

/// What the host blocks on a start thread. A program that a Java thread starts inherits the thread's mask, and would
/// not hear of `Process.destroy()`; so Java's threads have these open. nginx's handlers send on to the main
/// thread what reaches another one.
const STEERING: [libc::c_int; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
    libc::SIGIO,
    libc::SIGCHLD,
];

/// While it lives, the calling thread has the steering signals open.
pub struct Unblocked(libc::sigset_t);

impl Unblocked {
    pub fn new() -> Self {
        // SAFETY: both sets are whole before they are used.
        unsafe {
            let (mut open, mut before): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
            libc::sigemptyset(&raw mut open);
            for signal in STEERING {
                libc::sigaddset(&raw mut open, signal);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const open, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        // SAFETY: the mask that the thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
