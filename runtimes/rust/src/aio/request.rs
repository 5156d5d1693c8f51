//! A call in the hands of an async handler.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::Notify, task::AbortHandle};

use super::serve::Running;
use crate::{
    Error, Gone, Task,
    host::{Read, Written},
    life::{Flow, Life},
    log::Level,
    request::{WHOLE_MAX, too_long},
};

/// A call, as an async handler gets it: the request, what is known of it (see [`Task`]), and its
/// pieces.
#[derive(Debug)]
pub struct Request {
    task: Task,
    pub(super) events: Arc<Events>,
}

impl Deref for Request {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl Request {
    pub(super) fn new(task: Task) -> Self {
        Self { task, events: Arc::default() }
    }

    pub(super) fn finish(&mut self, result: Result<&[u8], &Error>) {
        self.forget();
        self.task.finish(result);
    }

    /// The next piece of the request after [`data`](Task::data); None at the end. One future at a
    /// time may read; one that is dropped has taken nothing.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, Gone> {
        if !self.has_more() {
            return Ok(None);
        }
        loop {
            match self.life.host.read(self.task.id) {
                Read::Piece(piece) => return Ok(Some(piece)),
                Read::End => return Ok(None),
                Read::Gone => return Err(Gone),
                Read::Again => self.events.wait(&self.life, &self.events.readable).await?,
            }
        }
    }

    /// The whole request: also where it comes in pieces, up to 64 MiB. Not to be dropped half-way,
    /// where pieces are wanted afterwards.
    pub async fn whole(&self) -> Result<&[u8], Error> {
        if self.has_more() && self.task.whole.get().is_none() {
            let mut whole = self.task.first().to_vec();
            while let Some(piece) = self.read().await? {
                if whole.len() + piece.len() > WHOLE_MAX {
                    return Err(too_long());
                }
                whole.extend_from_slice(&piece);
            }
            let _ = self.task.whole.set(whole);
        }
        Ok(self.data())
    }

    /// Sends a piece of the answer; done when there is room for the next. What the handler returns
    /// at the end is the last piece; return an empty one where all is written. One future at a time
    /// may write; the piece of one that is dropped is on its way all the same.
    pub async fn write(&self, piece: &[u8]) -> Result<(), Gone> {
        match self.life.host.write(self.task.id, piece) {
            Written::Taken => Ok(()),
            Written::Full => self.events.wait(&self.life, &self.events.writable).await,
            Written::Gone => Err(Gone),
            Written::NoMemory => {
                self.life.place(self.task.id).line(Level::Error, "no memory for a piece of the answer");
                Err(Gone)
            }
        }
    }

    pub(super) fn forget(&self) {
        if self.events.registered.swap(false, Ordering::AcqRel) {
            self.task.life.forget(self.task.id);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.forget();
        let mut abandoned = Error::from("cancelled");
        if self.life.is_stopping() {
            abandoned = Error::from("the runtime stops");
        }
        self.task.finish(Err(&abandoned));
    }
}

/// The events of one call, for its future.
#[derive(Debug, Default)]
pub(super) struct Events {
    readable: Notify,
    writable: Notify,
    /// Once the call has a task of tokio's.
    abort: OnceLock<AbortHandle>,
    registered: AtomicBool,
}

impl Events {
    /// Waits for one event; one that came before counts.
    async fn wait(&self, life: &Life, which: &Notify) -> Result<(), Gone> {
        if life.is_stopping() {
            return Err(Gone);
        }
        which.notified().await;
        if life.is_stopping() { Err(Gone) } else { Ok(()) }
    }
}

impl Running for Events {
    fn registered(&self) {
        self.registered.store(true, Ordering::Release);
    }

    fn set_abort(&self, handle: AbortHandle) {
        let _ = self.abort.set(handle);
    }
}

impl Flow for Events {
    fn readable(&self) {
        self.readable.notify_one();
    }

    fn writable(&self) {
        self.writable.notify_one();
    }

    fn cancelled(&self) {
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    fn stopping(&self) {
        self.readable.notify_one();
        self.writable.notify_one();
    }
}
