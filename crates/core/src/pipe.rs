//! Pieces of a request on their way to a runtime, or of an answer on their way back, each way
//! with a window: who sends past it is told, waits, and is woken when half of it is free again.
//!
//! The handshake between the two ends of a window is a flag in the task's word ("I wait") and
//! the byte count here. The one who waits sets the flag, then looks at the count once more; the
//! one who takes lowers the count, then looks at the flag. Both are SeqCst, so at least one sees
//! the other, and clearing the flag decides which of them acts.

use crate::{
    buf::Buf,
    primitive::{AtomicBool, AtomicUsize, Ordering, SegQueue},
};

/// Bytes under way in one direction before the sender is told to wait.
pub const WINDOW: usize = if cfg!(loom) { 4 } else { 64 * 1024 };

/// What a piece counts in the window: a piece of no bytes takes room too.
fn weight(piece: &Buf) -> usize {
    piece.len().max(1)
}

/// One direction.
#[derive(Debug, Default)]
pub struct Pipe {
    pieces: SegQueue<Buf>,
    bytes: AtomicUsize,
    eof: AtomicBool,
}

impl Pipe {
    /// Appends a piece; true where the window is now shut. Runs on: any thread, one at a time.
    pub fn push(&self, piece: Buf) -> bool {
        let weight = weight(&piece);
        // Counted first: a reader must never subtract what was not added yet.
        let before = self.bytes.fetch_add(weight, Ordering::SeqCst);
        self.pieces.push(piece);
        before + weight >= WINDOW
    }

    /// Takes the oldest piece; the flag is true where half of the window is free. Runs on: any
    /// thread, one at a time.
    pub fn pop(&self) -> Option<(Buf, bool)> {
        let piece = self.pieces.pop()?;
        let left = self.bytes.fetch_sub(weight(&piece), Ordering::SeqCst) - weight(&piece);
        Some((piece, left <= WINDOW / 2))
    }

    /// Is at least half of the window free?
    pub fn is_open(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) <= WINDOW / 2
    }

    /// Bytes pushed and not popped yet; a piece of none counts as one.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// No piece will follow.
    pub fn close(&self) {
        self.eof.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.eof.load(Ordering::SeqCst)
    }
}

/// Both directions of one task.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Of the request: from the caller to the runtime.
    pub request: Pipe,
    /// Of the answer: from the runtime to the caller.
    pub answer: Pipe,
}
