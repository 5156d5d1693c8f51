//! The way back: slots that have news for the event loop, and the sink that wakes it.
//!
//! A stack of slots, linked through the slots themselves, so that an answer allocates nothing.
//! A slot is on it at most once (its word's NEWS flag). Whoever makes it non-empty notifies the
//! sink; the event loop takes the whole stack and turns it round. While the event loop spins it
//! marks the empty stack as watched, and nobody needs to be notified.

use crate::{
    primitive::{AtomicU32, Ordering},
    slot::Table,
};

/// How runtime threads wake the event loop. Called once when the list becomes non-empty, never
/// again before [`Done::take`].
pub trait Sink: Send + Sync {
    /// Runs on: any thread.
    fn notify(&self);
}

/// The slot that carries no task but the word "look at the bulletins": log lines, and runtimes
/// that have started, failed or stopped.
pub const BULLETIN: u32 = 0;

const EMPTY: u32 = 0;
const WATCHED: u32 = u32::MAX;

#[derive(Debug, Default)]
pub struct Done {
    /// EMPTY, WATCHED, or the number of the newest slot plus one.
    head: AtomicU32,
}

impl Done {
    /// Puts a slot on the list; true where the sink must be notified. The caller has just set
    /// the slot's NEWS flag. Runs on: any thread.
    pub fn push(&self, slot: u32, link: impl Fn(u32)) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link(head);
            match self.head.compare_exchange_weak(head, slot + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return head == EMPTY,
                Err(now) => head = now,
            }
        }
    }

    /// Takes the whole list, oldest first, into `slots`. Runs on: event loop.
    pub fn take(&self, slots: &mut Vec<u32>, next: impl Fn(u32) -> u32) {
        let mut link = self.head.swap(EMPTY, Ordering::AcqRel);
        let from = slots.len();
        while link != EMPTY && link != WATCHED {
            slots.push(link - 1);
            link = next(link - 1);
        }
        slots[from..].reverse();
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.head.load(Ordering::Acquire), EMPTY | WATCHED)
    }

    /// From now on nobody notifies; false where there is news already. Runs on: event loop.
    pub fn watch(&self) -> bool {
        self.head.compare_exchange(EMPTY, WATCHED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The end of [`watch`](Self::watch); false where there is news. Runs on: event loop.
    pub fn unwatch(&self) -> bool {
        self.head.compare_exchange(WATCHED, EMPTY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// [`Done::push`] through the table.
pub fn push(done: &Done, table: &Table, slot: u32) -> bool {
    done.push(slot, |head| {
        if let Some(slot) = table.get(slot) {
            slot.next.store(head, Ordering::Relaxed);
        }
    })
}

/// [`Done::take`] through the table.
pub fn take(done: &Done, table: &Table, slots: &mut Vec<u32>) {
    done.take(slots, |slot| table.get(slot).map_or(EMPTY, |s| s.next.load(Ordering::Relaxed)));
}
