//! Pieces of a request on their way to a runtime, or of an answer on their way back, each way
//! with a window: who sends past it is told, waits, and is woken when half of it is free again.
//!
//! The handshake between the two ends of a window is a flag in the task's word ("I wait") and
//! the byte count here. The one who waits sets the flag, then looks at the count once more; the
//! one who takes lowers the count, then looks at the flag. Both are SeqCst, so at least one sees
//! the other, and clearing the flag decides which of them acts.

use std::fs::File;

use crate::{
    buf::Buf,
    http::Head,
    primitive::{AtomicBool, AtomicUsize, Ordering, SegQueue},
};

/// Bytes under way in one direction before the sender is told to wait, unless its caller says so.
pub const WINDOW: usize = if cfg!(loom) { 4 } else { 64 * 1024 };

/// What a part of a file counts in the window, however long: it takes no memory, but a descriptor.
const FILE_WEIGHT: usize = 16 * 1024;

/// A piece of an answer.
#[derive(Debug)]
pub enum Piece {
    Data(Buf),
    /// Of an HTTP answer: a part of a file.
    File {
        file: File,
        offset: u64,
        length: u64,
    },
    /// Of an HTTP answer: its head, or one with a status of 1xx before it.
    Head(Box<Head>),
}

/// What something counts in a window.
pub trait Weight {
    /// In bytes, at least 1: a piece of no bytes takes room too.
    fn weight(&self) -> usize;
}

impl Weight for Buf {
    fn weight(&self) -> usize {
        self.len().max(1)
    }
}

impl Weight for Piece {
    fn weight(&self) -> usize {
        match self {
            Piece::Data(data) => data.weight(),
            Piece::File { .. } => FILE_WEIGHT,
            Piece::Head(head) => head.weight(),
        }
    }
}

/// One direction.
#[derive(Debug)]
pub struct Pipe<T> {
    pieces: SegQueue<T>,
    bytes: AtomicUsize,
    window: usize,
    eof: AtomicBool,
}

impl<T: Weight> Pipe<T> {
    fn new(window: usize) -> Self {
        Self { pieces: SegQueue::new(), bytes: AtomicUsize::new(0), window, eof: AtomicBool::new(false) }
    }

    /// Appends a piece; true where the window is now shut. Runs on: any thread, one at a time.
    pub fn push(&self, piece: T) -> bool {
        let weight = piece.weight();
        // Counted first: a reader must never subtract what was not added yet.
        let before = self.bytes.fetch_add(weight, Ordering::SeqCst);
        self.pieces.push(piece);
        before + weight >= self.window
    }

    /// Takes the oldest piece; the flag is true where half of the window is free. Runs on: any
    /// thread, one at a time.
    pub fn pop(&self) -> Option<(T, bool)> {
        let piece = self.take()?;
        let open = self.consumed(piece.weight());
        Some((piece, open))
    }

    /// Takes the oldest piece, which counts in the window until it is [`consumed`](Self::consumed).
    /// Runs on: any thread, one at a time.
    pub fn take(&self) -> Option<T> {
        self.pieces.pop()
    }

    /// A piece of that weight is gone; true where half of the window is free. Runs on: any thread.
    pub fn consumed(&self, weight: usize) -> bool {
        self.bytes.fetch_sub(weight, Ordering::SeqCst) - weight <= self.window / 2
    }

    /// Is at least half of the window free?
    pub fn is_open(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) <= self.window / 2
    }

    /// Bytes under way before the sender is told to wait.
    pub fn window(&self) -> usize {
        self.window
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
#[derive(Debug)]
pub struct Pieces {
    /// Of the request: from the caller to the runtime.
    pub request: Pipe<Buf>,
    /// Of the answer: from the runtime to the caller.
    pub answer: Pipe<Piece>,
}

impl Pieces {
    /// With a window of so many bytes in each direction.
    pub fn new(window: usize) -> Self {
        Self { request: Pipe::new(window), answer: Pipe::new(window) }
    }
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new(WINDOW)
    }
}
