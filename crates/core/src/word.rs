//! A task's one atomic word: 40 bits of generation, then state and flags. Whoever changes a
//! task does so by one of the transitions below; everything else about a task follows from
//! which transition succeeded.
//!
//! ```text
//!          submit             poll              reply / end            drain
//!   FREE ─────────► QUEUED ─────────► RUNNING ─────────────► ENDED ──────────► FREE, generation + 1
//!                     │                  │ cancel: + CANCELLED, stays RUNNING
//!                     └── cancel ──► FREE, generation + 1 (never delivered)
//! ```
//!
//! A handle is the generation over the slot's number. A handle whose generation is not the
//! word's is dead, and every transition refuses it.

use crate::primitive::{AtomicU64, Ordering};

/// Bits of a handle, and of a word, below the generation.
pub const LOW_BITS: u32 = 24;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
/// The last generation a slot may have; after it the slot is retired.
pub const LAST_GENERATION: u64 = (1 << (64 - LOW_BITS)) - 1;

const STATE: u64 = 0b11;
const FREE: u64 = 0;
const QUEUED: u64 = 1;
const RUNNING: u64 = 2;
const ENDED: u64 = 3;

/// A runtime thread is inside reply, end, write or read for this task; others wait.
const BUSY: u64 = 1 << 2;
/// The caller has gone.
pub const CANCELLED: u64 = 1 << 3;
/// The slot is on the done list: the event loop will look at it.
pub const NEWS: u64 = 1 << 4;
/// write() told the runtime FULL: it waits for WRITABLE.
pub const WRITER_WAITS: u64 = 1 << 5;
/// read() told the runtime AGAIN: it waits for READABLE.
pub const READER_WAITS: u64 = 1 << 6;
/// The caller's send waits for the runtime to read.
pub const SENDER_WAITS: u64 = 1 << 7;
/// Gathered pieces passed the limit; the rest is dropped.
pub const OVERFLOW: u64 = 1 << 8;
/// The task's connection was upgraded: read() gives its bytes.
pub const UPGRADED: u64 = 1 << 9;

/// Why a transition was refused: the task has ended, never was, or is not in that state.
#[derive(Debug, PartialEq, Eq)]
pub struct Dead;

/// The word. All methods may be called from any thread unless they say otherwise.
#[derive(Debug)]
pub struct Word(AtomicU64);

/// The generation part of a handle, and the slot's number.
pub const fn split(handle: u64) -> (u64, u32) {
    (handle >> LOW_BITS, (handle & LOW_MASK) as u32)
}

/// The handle of a generation of a slot.
pub const fn handle(generation: u64, slot: u32) -> u64 {
    (generation << LOW_BITS) | slot as u64
}

const fn is(word: u64, generation: u64, state: u64) -> bool {
    word >> LOW_BITS == generation && word & STATE == state
}

impl Word {
    /// A free slot's word. Generations start at 1, so that handle 0 is never a task.
    pub fn free() -> Self {
        Self(AtomicU64::new(1 << LOW_BITS))
    }

    pub fn generation(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> LOW_BITS
    }

    /// FREE → QUEUED. Runs on: event loop, which owns free slots. Publishes the slot's fields.
    pub fn queue(&self) {
        let word = self.0.load(Ordering::Relaxed);
        debug_assert_eq!(word & LOW_MASK, FREE);
        self.0.store(word | QUEUED, Ordering::Release);
    }

    /// QUEUED → RUNNING: a poller takes the task. Runs on: runtime thread.
    pub fn run(&self, generation: u64) -> Result<(), Dead> {
        let mut word = self.0.load(Ordering::Relaxed);
        // Flags stay: a caller may have sent more than its window holds already.
        while is(word, generation, QUEUED) {
            let running = word & !STATE | RUNNING;
            match self.0.compare_exchange_weak(word, running, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(Dead)
    }

    /// QUEUED → FREE: the caller has gone before a poller came; true where that was still so.
    /// Otherwise a running task is marked CANCELLED. Runs on: event loop.
    pub fn cancel(&self, generation: u64) -> Result<bool, Dead> {
        let free = ((generation + 1) & LAST_GENERATION) << LOW_BITS;
        let mut word = self.0.load(Ordering::Relaxed);
        while is(word, generation, QUEUED) {
            match self.0.compare_exchange_weak(word, free, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(true),
                Err(now) => word = now,
            }
        }
        // Not QUEUED any more, and only the event loop frees: the generation cannot change here.
        if word >> LOW_BITS != generation {
            return Err(Dead);
        }
        self.0.fetch_or(CANCELLED, Ordering::AcqRel);
        Ok(false)
    }

    /// Enters the section in which one runtime thread at a time works on a running task; what
    /// it returns are the flags. Left by [`leave`](Self::leave) or [`end`](Self::end).
    /// Runs on: runtime thread.
    pub fn enter(&self, generation: u64) -> Result<u64, Dead> {
        let mut spins = crossbeam_utils::Backoff::new();
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if !is(word, generation, RUNNING) {
                return Err(Dead);
            }
            if word & BUSY != 0 {
                wait(&mut spins);
                word = self.0.load(Ordering::Relaxed);
                continue;
            }
            match self.0.compare_exchange_weak(word, word | BUSY, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(word),
                Err(now) => word = now,
            }
        }
    }

    /// Leaves the section. Runs on: the runtime thread that entered.
    pub fn leave(&self) {
        self.0.fetch_and(!BUSY, Ordering::Release);
    }

    /// Leaves the section for good: RUNNING → ENDED with NEWS. Publishes the answer. Returns the
    /// flags from before: without NEWS among them the caller must put the slot on the done list.
    /// Runs on: the runtime thread that entered.
    pub fn end(&self) -> u64 {
        // RUNNING (2) | ENDED (3) is ENDED. BUSY stays set: no one enters an ended task anyway.
        self.0.fetch_or(ENDED | NEWS, Ordering::AcqRel)
    }

    /// Sets flags; returns those from before. SeqCst: flags are one half of a handshake whose
    /// other half is a byte count (see `pipe`).
    pub fn set(&self, flags: u64) -> u64 {
        self.0.fetch_or(flags, Ordering::SeqCst)
    }

    /// Clears flags; returns those from before.
    pub fn clear(&self, flags: u64) -> u64 {
        self.0.fetch_and(!flags, Ordering::SeqCst)
    }

    /// Is the task still waiting for a poller?
    pub fn is_queued(&self, generation: u64) -> bool {
        is(self.0.load(Ordering::Acquire), generation, QUEUED)
    }

    /// The flags of a task that a runtime still has to end.
    pub fn running(&self, generation: u64) -> Result<u64, Dead> {
        let word = self.0.load(Ordering::Acquire);
        if is(word, generation, RUNNING) { Ok(word) } else { Err(Dead) }
    }

    /// ENDED → FREE; false where the slot has used up its generations and must be retired.
    /// Runs on: event loop, after it took the slot off the done list.
    pub fn release(&self) -> bool {
        let generation = self.generation();
        self.0.store(((generation + 1) & LAST_GENERATION) << LOW_BITS, Ordering::Release);
        !Self::worn_out(generation)
    }

    /// Was this the last generation of a slot?
    pub fn worn_out(generation: u64) -> bool {
        generation >= LAST_GENERATION
    }

    #[cfg(test)]
    pub fn with_generation(generation: u64) -> Self {
        Self(AtomicU64::new(generation << LOW_BITS))
    }
}

/// Has the task ended, by flags that a transition returned?
pub const fn has_ended(flags: u64) -> bool {
    flags & STATE == ENDED
}

#[cfg(not(loom))]
fn wait(backoff: &mut crossbeam_utils::Backoff) {
    backoff.snooze();
}

#[cfg(loom)]
fn wait(_: &mut crossbeam_utils::Backoff) {
    loom::thread::yield_now();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_task_lives_once() {
        let word = Word::free();
        let generation = word.generation();
        assert_eq!(word.run(generation), Err(Dead));
        word.queue();
        assert_eq!(word.enter(generation), Err(Dead), "not polled yet");
        assert_eq!(word.run(generation), Ok(()));
        assert_eq!(word.run(generation), Err(Dead), "delivered twice");
        assert!(word.enter(generation).is_ok());
        assert!(!has_ended(word.end()));
        assert_eq!(word.enter(generation), Err(Dead), "ended twice");
        assert!(has_ended(word.clear(NEWS)));
        assert!(word.release());
        assert_eq!(word.enter(generation), Err(Dead));
        assert_eq!(word.generation(), generation + 1);
    }

    #[test]
    fn cancelled_while_queued_is_never_delivered() {
        let word = Word::free();
        word.queue();
        assert_eq!(word.cancel(1), Ok(true));
        assert_eq!(word.run(1), Err(Dead));
        assert_eq!(word.cancel(1), Err(Dead));
    }

    #[test]
    fn cancelled_while_running_must_still_be_ended() {
        let word = Word::free();
        word.queue();
        assert_eq!(word.run(1), Ok(()));
        assert_eq!(word.cancel(1), Ok(false));
        assert_eq!(word.enter(1).map(|f| f & CANCELLED), Ok(CANCELLED));
        word.leave();
        assert!(word.enter(1).is_ok());
        word.end();
        assert!(has_ended(word.clear(NEWS)));
    }

    #[test]
    fn the_last_generation_retires_the_slot() {
        let word = Word::with_generation(LAST_GENERATION);
        word.queue();
        assert_eq!(word.run(LAST_GENERATION), Ok(()));
        assert!(word.enter(LAST_GENERATION).is_ok());
        word.end();
        assert!(!word.release());
    }

    #[test]
    fn handles_split_into_what_they_were_made_of() {
        assert_eq!(split(handle(LAST_GENERATION, (1 << LOW_BITS) - 1)), (LAST_GENERATION, (1 << LOW_BITS) - 1));
        assert_eq!(split(handle(1, 5)), (1, 5));
    }
}
