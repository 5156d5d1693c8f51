//! Calls whose request and answer go piece by piece.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use nffi_core::{buf::Buf, pipe::Pieces};

use crate::{
    calls::CallError,
    event_loop::{RuntimeId, TestHost},
};

/// A stream under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

/// What a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Piece(Vec<u8>),
    /// The runtime has ended it, with status 0.
    End,
    /// Nothing in that time.
    Nothing,
}

/// The host's side of one.
pub(crate) struct Stream {
    pieces: Arc<Pieces>,
    /// The last piece that was sent has shut the window.
    shut: bool,
    /// All has been received but the end itself.
    ended: bool,
}

pub(crate) type Streams = HashMap<u32, Stream>;

impl TestHost {
    /// Opens a stream. With `more`, pieces of the request follow its head: [`send`](Self::send)
    /// them, then [`send_end`](Self::send_end). The timeout is that of the whole stream.
    pub fn open(
        &mut self,
        runtime: RuntimeId,
        head: &[u8],
        more: bool,
        timeout: Duration,
    ) -> Result<StreamId, CallError> {
        let pieces = Arc::new(Pieces::default());
        let owner = self.put(runtime, head, timeout, Some(pieces.clone()), more)?;
        self.streams.insert(owner, Stream { pieces, shut: false, ended: false });
        Ok(StreamId(owner))
    }

    /// Sends a piece of the request and waits until the next may follow. False where the runtime
    /// has ended the stream, or the time is over: [`receive`](Self::receive) tells.
    pub fn send(&mut self, stream: StreamId, piece: &[u8]) -> bool {
        self.offer(stream, piece);
        self.turn_until(None, |host| host.may_send(stream) || host.is_over(stream));
        !self.is_over(stream)
    }

    /// The same without waiting: the window may be shut afterwards. Who does not look whether it
    /// [`may_send`](Self::may_send) fills the memory.
    pub fn offer(&mut self, stream: StreamId, piece: &[u8]) -> bool {
        Buf::copy_of(piece).is_some_and(|piece| self.push(stream, Some(piece)))
    }

    /// Is the window of the request open?
    pub fn may_send(&self, stream: StreamId) -> bool {
        self.streams.get(&stream.0).is_some_and(|known| !known.shut || known.pieces.request.is_open())
    }

    /// No piece will follow.
    pub fn send_end(&mut self, stream: StreamId) -> bool {
        self.push(stream, None)
    }

    fn push(&mut self, stream: StreamId, piece: Option<Buf>) -> bool {
        let task = match self.waiting.get(&stream.0) {
            Some(waiting) if waiting.over.is_none() => waiting.task,
            _ => return false,
        };
        let Some(known) = self.streams.get_mut(&stream.0) else { return false };
        let sent = self.dispatch.send(task, &known.pieces, piece);
        known.shut = matches!(sent, Ok(true));
        self.dispatch.flush();
        sent.is_ok()
    }

    fn is_over(&self, stream: StreamId) -> bool {
        self.waiting.get(&stream.0).is_none_or(|waiting| waiting.over.is_some())
    }

    /// The next piece of the answer, waiting for it at most `most`.
    pub fn receive(&mut self, stream: StreamId, most: Duration) -> Result<Received, CallError> {
        let known = self.streams.get(&stream.0).ok_or(CallError::NoSuchCall)?;
        if known.ended {
            self.close(stream);
            return Ok(Received::End);
        }
        let pieces = known.pieces.clone();
        let until = Instant::now().checked_add(most);
        let ready = self.turn_until(until, |host| !pieces.answer.is_empty() || host.is_over(stream));
        let task = self.waiting.get(&stream.0).map_or(0, |waiting| waiting.task);
        if let Some(piece) = self.dispatch.receive(task, &pieces) {
            self.dispatch.flush();
            return Ok(Received::Piece(piece.as_slice().to_vec()));
        }
        if !ready {
            return Ok(Received::Nothing);
        }
        // Over, and all pieces are taken. The data of a reply() are one more.
        let over = self.forget(stream.0).and_then(|waiting| waiting.over).ok_or(CallError::NoSuchCall);
        let last = over.and_then(|over| over.into_result());
        match (last, self.streams.get_mut(&stream.0)) {
            (Ok(last), Some(known)) if !last.is_empty() => {
                known.ended = true;
                Ok(Received::Piece(last.as_slice().to_vec()))
            }
            (last, _) => {
                self.close(stream);
                last.map(|_| Received::End)
            }
        }
    }

    /// Gives the stream up, or forgets it where it is over.
    pub fn close(&mut self, stream: StreamId) {
        self.streams.remove(&stream.0);
        self.forget(stream.0);
        self.dispatch.flush();
    }
}
