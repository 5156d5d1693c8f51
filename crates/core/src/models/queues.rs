//! Stand-ins for crossbeam's queues. Each keeps its things behind a lock that loom does not see,
//! and their number in an atomic that loom does: whoever has not synchronised with a push may
//! find the queue still empty, which is all that the real ones promise too.

use std::{collections::VecDeque, sync::Mutex};

use loom::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct SegQueue<T> {
    things: Mutex<VecDeque<T>>,
    len: AtomicUsize,
}

impl<T> Default for SegQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self { things: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0) }
    }

    pub(crate) fn push(&self, thing: T) {
        self.things.lock().unwrap_or_else(|p| p.into_inner()).push_back(thing);
        self.len.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.len.fetch_update(Ordering::Acquire, Ordering::Relaxed, |len| len.checked_sub(1)).ok()?;
        self.things.lock().unwrap_or_else(|p| p.into_inner()).pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    queue: SegQueue<T>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { queue: SegQueue::new(), capacity }
    }

    /// One thread pushes, so room that is seen is there.
    pub(crate) fn push(&self, thing: T) -> Result<(), T> {
        if self.is_full() {
            return Err(thing);
        }
        self.queue.push(thing);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len.load(Ordering::Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}
