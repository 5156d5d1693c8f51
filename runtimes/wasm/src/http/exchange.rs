//! One task: what its request's body and its answer share, and the duty to end it once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use nffi_abi::nffi_task;

use crate::host::{Host, Level, Piece, Written};

/// Nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

pub struct Exchange {
    host: Host,
    pub task: nffi_task,
    state: Mutex<State>,
}

/// The host is called with the lock held wherever the call needs a task that has not ended: the body of a
/// request may be in other hands than the answer.
#[derive(Default)]
struct State {
    ended: bool,
    gone: bool,
    /// No event will come any more.
    stopping: bool,
    /// The window is shut.
    full: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Of whoever is to hear that the client has gone.
    watcher: Option<Waker>,
}

impl Exchange {
    pub fn new(host: Host, task: nffi_task) -> Self {
        Self { host, task, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log(&self, level: Level, message: &str) {
        self.host.log(self.task, level, message);
    }

    /// The next piece of the request; None at its end.
    pub fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        let mut state = self.lock();
        if state.ended || state.gone {
            return Poll::Ready(Err(Gone));
        }
        let mut piece = Vec::new();
        match self.host.read(self.task, &mut piece) {
            Piece::Bytes => Poll::Ready(Ok(Some(piece.into()))),
            Piece::End => Poll::Ready(Ok(None)),
            Piece::Gone => Poll::Ready(Err(Gone)),
            Piece::Later if state.stopping => Poll::Ready(Err(Gone)),
            Piece::Later => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Is there room for the next piece?
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.lock();
        if state.ended || state.gone || (state.full && state.stopping) {
            return Poll::Ready(Err(Gone));
        }
        if !state.full {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Until the client has gone.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.gone {
            return Poll::Ready(());
        }
        if !state.watcher.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            state.watcher = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn with(&self, hand: impl FnOnce(&mut State) -> Written) -> Result<(), Gone> {
        let mut state = self.lock();
        if state.ended {
            return Err(Gone);
        }
        match hand(&mut state) {
            Written::Taken => Ok(()),
            Written::Full => {
                state.full = true;
                Ok(())
            }
            Written::Gone => Err(Gone),
        }
    }

    pub fn head(&self, status: u16, headers: &[(&[u8], &[u8])]) -> Result<(), Gone> {
        self.with(|_| if self.host.head(self.task, status, headers) { Written::Taken } else { Written::Gone })
    }

    /// A piece of no bytes sends the head.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Gone> {
        self.with(|_| self.host.write(self.task, bytes))
    }

    pub fn trailers(&self, headers: &[(&[u8], &[u8])]) -> Result<(), Gone> {
        self.with(|_| if self.host.trailers(self.task, headers) { Written::Taken } else { Written::Gone })
    }

    /// Ends the task, with the answer's last piece or a message. Only the first time counts.
    pub fn end(&self, status: i32, data: &[u8]) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        self.host.reply(self.task, status, data);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    // ---- what the host says ---------------------------------------------------------------------

    fn readable(&self) {
        let reader = self.lock().reader.take();
        reader.into_iter().for_each(Waker::wake);
    }

    fn writable(&self) {
        let mut state = self.lock();
        state.full = false;
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
    }

    /// STOP: who waits for the host would wait for ever.
    fn stopping(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn cancelled(&self) {
        let mut state = self.lock();
        state.gone = true;
        let wakers = [state.reader.take(), state.writer.take(), state.watcher.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The exchanges that have not ended, by their tasks.
#[derive(Default)]
pub struct Exchanges(Mutex<HashMap<nffi_task, Arc<Exchange>>>);

impl Exchanges {
    fn lock(&self) -> MutexGuard<'_, HashMap<nffi_task, Arc<Exchange>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open(self: &Arc<Self>, host: Host, task: nffi_task) -> Open {
        let exchange = Arc::new(Exchange::new(host, task));
        self.lock().insert(task, exchange.clone());
        Open { exchange, all: self.clone() }
    }

    fn tell(&self, task: nffi_task, what: impl FnOnce(&Exchange)) {
        let exchange = self.lock().get(&task).cloned();
        if let Some(exchange) = exchange {
            what(&exchange);
        }
    }

    pub fn readable(&self, task: nffi_task) {
        self.tell(task, Exchange::readable);
    }

    pub fn writable(&self, task: nffi_task) {
        self.tell(task, Exchange::writable);
    }

    pub fn cancelled(&self, task: nffi_task) {
        self.tell(task, Exchange::cancelled);
    }

    pub fn stopping(&self) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for exchange in all {
            exchange.stopping();
        }
    }
}

/// Whoever has it is to end the task; where it is dropped, it does.
pub struct Open {
    pub exchange: Arc<Exchange>,
    all: Arc<Exchanges>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // First forgotten: the host may use the number again.
        self.all.lock().remove(&self.exchange.task);
        self.exchange.end(1, b"the request was given up");
    }
}
