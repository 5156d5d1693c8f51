//! A call in the hands of a blocking handler.

use std::{
    ops::Deref,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crate::{
    Error, Gone, Task,
    host::{Read, Written},
    life::{Flow, Life},
    log::{self, Level},
};

/// The most that is gathered of a request that comes in pieces.
pub(crate) const WHOLE_MAX: usize = 64 << 20;

pub(crate) fn too_long() -> Error {
    Error::new(413, format!("the request's pieces are more than {} MiB", WHOLE_MAX >> 20))
}

/// A call, as a blocking handler gets it: the request, what is known of it (see [`Task`]), and its
/// pieces.
///
/// Reading and writing pieces blocks the thread; another takes its place in the pool meanwhile, so
/// that streams do not hold up calls. Up to 1024 handlers may wait for pieces at a time.
#[derive(Debug)]
pub struct Request {
    task: Task,
    /// Made when the first piece is asked for.
    flow: OnceLock<Arc<Events>>,
}

impl Deref for Request {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl Request {
    pub(crate) fn new(task: Task) -> Self {
        Self { task, flow: OnceLock::new() }
    }

    pub(crate) fn place(&self) -> log::Place {
        self.task.life.place(self.task.id)
    }

    pub(crate) fn finish(&mut self, result: Result<&[u8], &Error>) {
        // Before the task ends: its number means nothing afterwards.
        self.forget();
        self.task.finish(result);
    }

    /// The next piece of the request after [`data`](Task::data), waiting for it; None at the end.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Gone> {
        if !self.has_more() {
            return Ok(None);
        }
        let events = self.events();
        loop {
            match self.task.life.host.read(self.task.id) {
                Read::Piece(piece) => return Ok(Some(piece)),
                Read::End => return Ok(None),
                Read::Gone => return Err(Gone),
                Read::Again => events.wait(self, |seen| &mut seen.readable)?,
            }
        }
    }

    /// The whole request: also where it comes in pieces, up to 64 MiB.
    pub fn whole(&self) -> Result<&[u8], Error> {
        if self.has_more() && self.task.whole.get().is_none() {
            let mut whole = self.task.first().to_vec();
            while let Some(piece) = self.read()? {
                if whole.len() + piece.len() > WHOLE_MAX {
                    return Err(too_long());
                }
                whole.extend_from_slice(&piece);
            }
            let _ = self.task.whole.set(whole);
        }
        Ok(self.data())
    }

    /// Sends a piece of the answer, and waits until there is room for the next. What the handler
    /// returns at the end is the last piece; return an empty one where all is written.
    pub fn write(&self, piece: &[u8]) -> Result<(), Gone> {
        let events = self.events();
        match self.task.life.host.write(self.task.id, piece) {
            Written::Taken => Ok(()),
            Written::Full => events.wait(self, |seen| &mut seen.writable),
            Written::Gone => Err(Gone),
            Written::NoMemory => {
                self.place().line(Level::Error, "no memory for a piece of the answer");
                Err(Gone)
            }
        }
    }

    /// Before the first read or write, or the event that answers it could come too early.
    fn events(&self) -> &Arc<Events> {
        self.flow.get_or_init(|| {
            let events = Arc::new(Events::default());
            self.task.life.register(self.task.id, Arc::clone(&events) as Arc<dyn Flow>);
            events
        })
    }

    fn forget(&mut self) {
        if self.flow.take().is_some() {
            self.task.life.forget(self.task.id);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The events of one call, for the thread that waits for them.
#[derive(Debug, Default)]
struct Events {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    readable: bool,
    writable: bool,
    over: bool,
}

impl Events {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for one event, which is forgotten then.
    fn wait(&self, request: &Request, which: impl Fn(&mut Seen) -> &mut bool) -> Result<(), Gone> {
        let life: &Life = &request.task.life;
        let take = |seen: &mut Seen| std::mem::take(which(seen));
        if take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        if let Err(why) = life.crew.step_aside() {
            request.place().line(Level::Error, &format!("a stream is given up: {why}"));
            return Err(Gone);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let result = loop {
            if take(&mut seen) {
                break Ok(());
            }
            // The event of the cancellation may have come before this call was registered.
            if seen.over || life.is_stopping() || life.cancelled(request.task.id) {
                break Err(Gone);
            }
            seen =
                self.changed.wait_timeout(seen, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(seen);
        life.crew.come_back();
        result
    }
}

impl Flow for Events {
    fn readable(&self) {
        self.note(|seen| seen.readable = true);
    }

    fn writable(&self) {
        self.note(|seen| seen.writable = true);
    }

    fn cancelled(&self) {
        self.note(|seen| seen.over = true);
    }

    fn stopping(&self) {
        self.note(|seen| seen.over = true);
    }
}
