//! Log lines of runtimes on their way to the event loop, which alone may write them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

/// Lines that may wait. What comes on top is dropped and counted.
pub const CAPACITY: usize = if cfg!(any(loom, miri)) { 8 } else { 4096 };
/// Bytes kept of one message; the rest is cut off.
pub const MAX_MESSAGE: usize = 64 * 1024;

#[derive(Debug)]
pub struct Line {
    /// The number of the runtime.
    pub runtime: u32,
    /// The task, or 0.
    pub task: u64,
    /// Of syslog: 0 emerg to 7 debug.
    pub level: u8,
    pub message: Box<[u8]>,
}

#[derive(Debug)]
pub struct Log {
    lines: ArrayQueue<Line>,
    dropped: AtomicUsize,
}

impl Default for Log {
    fn default() -> Self {
        Self { lines: ArrayQueue::new(CAPACITY), dropped: AtomicUsize::new(0) }
    }
}

impl Log {
    /// False where the line was dropped. Runs on: any thread.
    pub fn push(&self, line: Line) -> bool {
        let taken = self.lines.push(line).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Runs on: event loop.
    pub fn pop(&self) -> Option<Line> {
        self.lines.pop()
    }

    /// How many were dropped since the last question. Runs on: event loop.
    pub fn take_dropped(&self) -> usize {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let log = Log::default();
        for _ in 0..CAPACITY + 3 {
            log.push(Line { runtime: 0, task: 0, level: 6, message: Box::default() });
        }
        assert_eq!(log.take_dropped(), 3);
        assert_eq!(log.take_dropped(), 0);
        assert_eq!(std::iter::from_fn(|| log.pop()).count(), CAPACITY);
    }
}
