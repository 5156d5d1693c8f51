//! Signals belong to the event loop's thread: threads of runtimes start with those blocked that
//! a host's process is steered by. Synchronous ones (SEGV, FPE …) and SIGPIPE are left alone.

use std::{
    mem::MaybeUninit,
    ptr,
    sync::{Mutex, PoisonError},
};

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

/// Lets every handler of the process run on the alternate stack of the thread that it interrupts,
/// where there is one. Language runtimes with small stacks (Go) need it of each handler, also of
/// those that another runtime brought, and end the process where it is missing. Runs on: any
/// thread, after a library was initialised.
pub fn allow_alternate_stacks() {
    // Asking and setting are two steps, and libraries may be loaded side by side.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in 1..=libc::SIGRTMAX() {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: asking for an action (signals that are none are refused), then setting the same
        // one with one flag more.
        unsafe {
            if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let mut action = action.assume_init();
            let handled = action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN;
            if handled && action.sa_flags & libc::SA_ONSTACK == 0 {
                action.sa_flags |= libc::SA_ONSTACK;
                libc::sigaction(signal, &action, ptr::null_mut());
            }
        }
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

    extern "C" fn handler(_: i32) {}

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no signals")]
    fn handlers_get_the_flag_and_keep_the_rest() {
        let flags = |signal| {
            let mut action = MaybeUninit::<libc::sigaction>::uninit();
            // SAFETY: only asks.
            unsafe {
                libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
                let action = action.assume_init();
                (action.sa_sigaction, action.sa_flags)
            }
        };
        // SAFETY: a handler that does nothing, for a signal that nobody sends.
        unsafe { libc::signal(libc::SIGUSR2, handler as *const () as usize) };
        let (_, before) = flags(libc::SIGUSR2);
        assert_eq!(before & libc::SA_ONSTACK, 0);
        allow_alternate_stacks();
        assert_eq!(flags(libc::SIGUSR2), (handler as *const () as usize, before | libc::SA_ONSTACK));
        assert_eq!(flags(libc::SIGUSR1).1 & libc::SA_ONSTACK, 0, "no handler, no flag");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no signals")]
    fn threads_start_with_the_steering_signals_blocked() {
        assert!(!blocked(libc::SIGTERM));
        let guard = Blocked::new();
        let thread = std::thread::spawn(|| (blocked(libc::SIGTERM), blocked(libc::SIGSEGV), blocked(libc::SIGPIPE)));
        drop(guard);
        assert_eq!(thread.join().expect("thread"), (true, false, false));
        assert!(!blocked(libc::SIGTERM));
    }
}
