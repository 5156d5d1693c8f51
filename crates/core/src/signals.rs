//! Signals belong to the event loop's thread: threads of runtimes start with those blocked that
//! a host's process is steered by. Synchronous ones (SEGV, FPE …) and SIGPIPE are left alone.

use std::{mem::MaybeUninit, ptr};

/// Steering signals, SIGCHLD included.
const STEERING: [i32; 10] = [
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

/// Blocks the steering signals on this thread until dropped; threads made meanwhile inherit the
/// mask.
pub struct Blocked(libc::sigset_t);

impl Blocked {
    pub fn new() -> Self {
        let mut set = MaybeUninit::uninit();
        let mut old = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set; pthread_sigmask writes the old mask, and has
        // no way to fail with SIG_BLOCK and valid pointers.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in STEERING {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Default for Blocked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: i32) -> bool {
        let mut set = MaybeUninit::uninit();
        // SAFETY: a NULL new mask only asks; the set is written.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
            libc::sigismember(set.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn threads_start_with_the_steering_signals_blocked() {
        assert!(!blocked(libc::SIGTERM));
        let guard = Blocked::new();
        let thread = std::thread::spawn(|| (blocked(libc::SIGTERM), blocked(libc::SIGSEGV), blocked(libc::SIGPIPE)));
        drop(guard);
        assert_eq!(thread.join().expect("thread"), (true, false, false));
        assert!(!blocked(libc::SIGTERM));
    }
}
