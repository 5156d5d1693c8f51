//! A descriptor that is readable while events may wait, for runtimes that have an event loop of
//! their own (epoll, asyncio, libuv, Go's netpoller).
//!
//! `raised` says that the counter is, or is about to be, above zero, so that a burst costs one
//! write. poll() lowers it before its last look: first the counter, then the flag, then the look.
//! A producer that comes in between finds the flag still up, and its push is seen by the look.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::OnceLock,
};

use rustix::event::{EventfdFlags, eventfd};

use crate::primitive::{AtomicBool, Ordering, fence};

/// What the flag protects: an eventfd, or a model of one.
pub trait Counter {
    fn raise(&self);
    fn lower(&self);
}

/// The flag and its counter.
#[derive(Debug)]
pub struct Flag<C> {
    raised: AtomicBool,
    counter: C,
}

impl<C: Counter> Flag<C> {
    /// Starts raised: work may have come before the flag did.
    pub fn new(counter: C) -> Self {
        counter.raise();
        Self { raised: AtomicBool::new(true), counter }
    }

    /// Call it after the push. Runs on: any thread.
    pub fn raise(&self) {
        // Of two swaps one sees the other, and what went before it.
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.counter.raise();
        }
    }

    /// Call it before the last look. Runs on: any thread.
    pub fn lower(&self) {
        self.counter.lower();
        self.raised.swap(false, Ordering::AcqRel);
    }
}

/// An eventfd, non-blocking.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    pub fn new() -> rustix::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Counter for Event {
    fn raise(&self) {
        // Fails only with EAGAIN, at 2^64 - 2: readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn lower(&self) {
        // EAGAIN: nothing to lower.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

/// An event loop that watches an eventfd edge-triggered is woken by each raise.
impl crate::done::Sink for Event {
    fn notify(&self) {
        self.raise();
    }
}

/// The descriptor of a queue, made when it is first asked for.
#[derive(Debug, Default)]
pub struct PollFd(OnceLock<Flag<Event>>);

impl PollFd {
    /// The descriptor, or `None` where none is left. Runs on: any thread.
    pub fn get(&self) -> Option<RawFd> {
        if self.0.get().is_none() {
            // Two threads may come here at once; one of the two descriptors is dropped.
            let _ = self.0.set(Flag::new(Event::new().ok()?));
            // A producer that has not found it has pushed before, and Queue::wake() has a fence too
            // (of `wake`): the maker's next look sees that push.
            fence(Ordering::SeqCst);
        }
        self.0.get().map(|flag| flag.counter.fd().as_raw_fd())
    }

    pub fn is_made(&self) -> bool {
        self.0.get().is_some()
    }

    pub fn raise(&self) {
        if let Some(flag) = self.0.get() {
            flag.raise();
        }
    }

    /// True where there is a flag, and a last look is due.
    pub fn lower(&self) -> bool {
        self.0.get().map(Flag::lower).is_some()
    }
}
