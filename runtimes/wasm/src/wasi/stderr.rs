//! What a function writes to stderr: lines of the error log, each with its request.

use nffi_abi::nffi_task;

use crate::host::{Host, Level};

const LONGEST_LINE: usize = 4096;
/// Of one request. What comes on top is dropped, and that is said.
const MOST_BYTES: usize = 64 << 10;

pub struct Stderr {
    level: Level,
    line: Vec<u8>,
    written: usize,
}

impl Stderr {
    pub fn new(level: Level) -> Self {
        Self { level, line: Vec::new(), written: 0 }
    }

    pub fn write(&mut self, host: Host, task: nffi_task, bytes: &[u8]) {
        if self.written > MOST_BYTES {
            return;
        }
        let fits = &bytes[..bytes.len().min(MOST_BYTES - self.written)];
        self.written += bytes.len();
        for piece in fits.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut rest = text;
            while self.line.len() + rest.len() > LONGEST_LINE {
                let (now, later) = rest.split_at(LONGEST_LINE - self.line.len());
                self.line.extend_from_slice(now);
                self.flush(host, task);
                rest = later;
            }
            self.line.extend_from_slice(rest);
            if ends {
                self.flush(host, task);
            }
        }
        if self.written > MOST_BYTES {
            self.flush(host, task);
            host.log(task, self.level, &format!("(stderr: more than {MOST_BYTES} bytes, the rest is dropped)"));
        }
    }

    /// What has no newline yet.
    pub fn finish(&mut self, host: Host, task: nffi_task) {
        self.flush(host, task);
    }

    fn flush(&mut self, host: Host, task: nffi_task) {
        if !self.line.is_empty() {
            host.log(task, self.level, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}
