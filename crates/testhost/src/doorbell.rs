//! How threads of runtimes wake the event loop: an eventfd.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use nffi_core::done::Sink;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

#[derive(Debug, Clone)]
pub(crate) struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Waits until someone rings, at most `most` (`None`: for ever). Runs on: event loop.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let timeout = most.map(|most| Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&*self.0, PollFlags::IN)];
        // EINTR: the loop comes round again anyway.
        let _ = poll(&mut fds, timeout.as_ref());
        // EAGAIN: nobody has rung.
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

impl Sink for Doorbell {
    fn notify(&self) {
        // Fails only where the counter is at its end: it rings already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
