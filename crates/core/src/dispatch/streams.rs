//! The caller's end of a stream: sending pieces of a request, taking pieces of an answer.

use std::sync::Arc;

use nffi_abi as abi;

use super::Dispatch;
use crate::{
    buf::Buf,
    pipe::{Piece, Pieces, Weight},
    word::{self, READER_WAITS, SENDER_WAITS, WRITER_WAITS},
};

impl Dispatch {
    /// Sends a piece of the request. `Ok(true)`: the window is shut; a [`News::Pieces`] will tell
    /// when it opens. `Err`: the task is over.
    pub fn send(&mut self, task: u64, pieces: &Pieces, piece: Option<Buf>) -> Result<bool, word::Dead> {
        let (slot, _, generation) = self.host.table.resolve(task).ok_or(word::Dead)?;
        if slot.word.generation() != generation {
            return Err(word::Dead);
        }
        let number = slot.runtime();
        let shut = match piece {
            Some(piece) => {
                self.runtimes[number as usize].meter.request_bytes += piece.len() as u64;
                pieces.request.push(piece)
            }
            None => {
                pieces.request.close();
                false
            }
        };
        let waited = slot.word.clear(READER_WAITS) & READER_WAITS != 0;
        let shut = shut && {
            slot.word.set(SENDER_WAITS);
            // Opened meanwhile, and not told: then nobody has to wait.
            !(pieces.request.is_open() && slot.word.clear(SENDER_WAITS) & SENDER_WAITS != 0)
        };
        if waited {
            self.control(number, abi::NFFI_READABLE, task);
        }
        Ok(shut)
    }

    /// Takes a piece of the answer. A head, or a part of a file, cannot come: those are of HTTP tasks.
    pub fn receive(&mut self, task: u64, pieces: &Pieces) -> Option<Buf> {
        let piece = pieces.answer.take()?;
        self.consumed(task, pieces, piece.weight());
        let Piece::Data(data) = piece else { return Some(Buf::none()) };
        // What is left of one that is over was counted then.
        if let Some((slot, _, generation)) = self.host.table.resolve(task)
            && slot.word.generation() == generation
        {
            self.runtimes[slot.runtime() as usize].meter.response_bytes += data.len() as u64;
        }
        Some(data)
    }

    /// The pieces of an HTTP task that was submitted without, once its runtime has made them.
    pub fn pieces(&self, task: u64) -> Option<Arc<Pieces>> {
        let (slot, _, generation) = self.host.table.resolve(task)?;
        (slot.word.generation() == generation).then(|| slot.pieces()).flatten()
    }

    /// A piece of that weight, taken off `pieces.answer`, takes no memory any more.
    pub fn consumed(&mut self, task: u64, pieces: &Pieces, weight: usize) {
        if pieces.answer.consumed(weight)
            && let Some((slot, _, generation)) = self.host.table.resolve(task)
            && slot.word.generation() == generation
            && slot.word.clear(WRITER_WAITS) & WRITER_WAITS != 0
        {
            self.control(slot.runtime(), abi::NFFI_WRITABLE, task);
        }
    }

    fn control(&mut self, number: u32, kind: u32, task: u64) {
        self.runtimes[number as usize].runtime.queue.push_control(kind, task);
        self.mark(number);
    }
}
