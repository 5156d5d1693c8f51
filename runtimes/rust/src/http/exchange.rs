//! One HTTP task: what its request's body and its answer share, and the duty to end it once.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use nffi_abi::nffi_header;
use tokio::task::AbortHandle;

use crate::{
    Gone,
    aio::serve::Running,
    host::{Read, Written, http::Piece},
    life::{Flow, Life},
    log::{Level, Place},
};

pub(super) struct Exchange {
    pub(super) life: Arc<Life>,
    pub(super) id: u64,
    state: Mutex<State>,
    /// Once it has a task of tokio's.
    abort: OnceLock<AbortHandle>,
    registered: AtomicBool,
}

/// The host is called with the lock held wherever the call needs a task that has not ended: the body
/// of a request may be in other hands than the answer.
#[derive(Default)]
struct State {
    ended: bool,
    stopping: bool,
    /// The window is shut.
    full: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Exchange {
    pub(super) fn new(life: Arc<Life>, id: u64) -> Self {
        Self { life, id, state: Mutex::default(), abort: OnceLock::new(), registered: AtomicBool::new(false) }
    }

    pub(super) fn place(&self) -> Place {
        self.life.place(self.id)
    }

    /// The next piece of the request; None at its end.
    pub(super) fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        let mut state = self.lock();
        if state.ended {
            return Poll::Ready(Err(Gone));
        }
        match self.life.host.read(self.id) {
            Read::Piece(piece) => Poll::Ready(Ok(Some(piece.into()))),
            Read::End => Poll::Ready(Ok(None)),
            Read::Gone => Poll::Ready(Err(Gone)),
            Read::Again if state.stopping => Poll::Ready(Err(Gone)),
            Read::Again => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Is there room for the next piece?
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.lock();
        if state.ended || (state.full && state.stopping) {
            return Poll::Ready(Err(Gone));
        }
        if !state.full {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn hand(&self, hand: impl FnOnce() -> Written) -> Result<(), Gone> {
        let mut state = self.lock();
        if state.ended {
            return Err(Gone);
        }
        match hand() {
            Written::Taken => Ok(()),
            Written::Full => {
                state.full = true;
                Ok(())
            }
            Written::Gone | Written::NoMemory => Err(Gone),
        }
    }

    pub(super) fn write(&self, piece: Piece) -> Result<(), Gone> {
        self.hand(|| self.life.host.write_piece(self.id, piece))
    }

    pub(super) fn flush(&self) -> Result<(), Gone> {
        self.hand(|| self.life.host.flush(self.id))
    }

    pub(super) fn file(&self, file: OwnedFd, offset: i64, length: i64) -> Result<(), Gone> {
        self.hand(|| self.life.host.http_file(self.id, file, offset, length))
    }

    /// # Safety
    /// The strings of the headers are valid.
    pub(super) unsafe fn head(&self, status: u16, headers: &[nffi_header]) -> Result<(), Gone> {
        // SAFETY: as the caller promises.
        self.hand(|| match unsafe { self.life.host.http_head(self.id, status, headers) } {
            true => Written::Taken,
            false => Written::Gone,
        })
    }

    /// # Safety
    /// As for [`head`](Self::head).
    pub(super) unsafe fn trailers(&self, headers: &[nffi_header]) -> Result<(), Gone> {
        // SAFETY: as the caller promises.
        self.hand(|| match unsafe { self.life.host.http_trailers(self.id, headers) } {
            true => Written::Taken,
            false => Written::Gone,
        })
    }

    pub(super) fn piece(&self, data: &mut impl Buf, len: usize) -> Result<Piece, Gone> {
        self.life.host.piece(data, len).ok_or_else(|| {
            self.place().line(Level::Error, "no memory for a piece of the answer");
            Gone
        })
    }

    /// Ends the task. Only the first time counts.
    pub(super) fn end(&self, status: i32, last: Option<Piece>) {
        let reader = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.reader.take()
        };
        if self.registered.swap(false, Ordering::AcqRel) {
            self.life.forget(self.id);
        }
        self.life.host.reply_piece(self.id, status, last);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the task, and says why.
    pub(super) fn fail(&self, why: &str) {
        let mut message = why.as_bytes();
        let message = self.life.host.piece(&mut message, why.len());
        self.end(crate::error::FAILED, message);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running for Exchange {
    fn registered(&self) {
        self.registered.store(true, Ordering::Release);
    }

    fn set_abort(&self, handle: AbortHandle) {
        let _ = self.abort.set(handle);
    }
}

impl Flow for Exchange {
    fn readable(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn writable(&self) {
        let writer = {
            let mut state = self.lock();
            state.full = false;
            state.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn cancelled(&self) {
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    fn stopping(&self) {
        let wakers = {
            let mut state = self.lock();
            state.stopping = true;
            [state.reader.take(), state.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Whoever has it is to end the task; where it is dropped, it does.
pub(super) struct Owed(pub(super) Arc<Exchange>);

impl Drop for Owed {
    fn drop(&mut self) {
        if self.0.lock().ended {
            return;
        }
        let life = &self.0.life;
        self.0.fail(if life.is_stopping() { "the runtime stops" } else { "cancelled" });
    }
}
