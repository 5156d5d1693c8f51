//! One call as the host handed it over, and the duty to answer it once.

use std::{
    slice,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use nffi_abi::{NFFI_CAST, NFFI_MORE, NFFI_PIECES, nffi_event};

use crate::{Error, life::Life};

/// What is known of a call, whichever kind of handler it has. Both
/// [`Request`](crate::Request) types deref to it.
///
/// Everything may be asked on any thread.
pub struct Task {
    pub(crate) life: Arc<Life>,
    pub(crate) id: u64,
    data: *const u8,
    len: usize,
    flags: u32,
    /// CLOCK_MONOTONIC, nanoseconds; 0 none.
    deadline: u64,
    /// The whole request, where it came in pieces and somebody wanted it in one.
    pub(crate) whole: OnceLock<Vec<u8>>,
    ended: bool,
}

// SAFETY: the request behind `data` is read only, and the host keeps it until the task ends: in
// `finish` and `drop`, which have the task for themselves.
unsafe impl Send for Task {}
// SAFETY: as above; nothing else of a task changes behind a shared reference, but for the cell.
unsafe impl Sync for Task {}

impl Task {
    /// # Safety
    /// `event` is an NFFI_CALL that `life`'s host has handed out just now, and no other `Task` is
    /// made of it.
    pub(crate) unsafe fn new(life: Arc<Life>, event: &nffi_event) -> Self {
        Self {
            life,
            id: event.task,
            data: event.data.cast(),
            len: event.len,
            flags: event.flags,
            deadline: event.deadline,
            whole: OnceLock::new(),
            ended: false,
        }
    }

    /// Ends a task of a kind that the runtime does not take.
    ///
    /// # Safety
    /// As for [`new`](Self::new), but for NFFI_HTTP.
    pub(crate) unsafe fn refuse_http(life: &Arc<Life>, event: &nffi_event) {
        // SAFETY: as the caller promises; nobody looks at the data.
        let mut task = unsafe { Self::new(Arc::clone(life), event) };
        task.finish(Err(&Error::from("this runtime takes messages (nffi.call), not HTTP requests (nffi_pass)")));
    }

    /// The request. Where it comes in pieces ([`has_more`](Self::has_more)): the first of them, or
    /// all of them once `whole` was called.
    pub fn data(&self) -> &[u8] {
        if let Some(whole) = self.whole.get() {
            return whole;
        }
        self.first()
    }

    /// What came with the call itself.
    pub(crate) fn first(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: len bytes, unchanged until the task ends, which takes more than a `&self`.
        unsafe { slice::from_raw_parts(self.data, self.len) }
    }

    /// The host's number of this call: different for every call of a process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How long the caller will still wait; None where there is no limit (casts, streams), zero
    /// where the time is over.
    pub fn time_left(&self) -> Option<Duration> {
        if self.deadline == 0 {
            return None;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        Some(Duration::from_nanos(self.deadline).saturating_sub(now))
    }

    /// When the caller stops waiting; None where there is no limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.time_left().and_then(|left| Instant::now().checked_add(left))
    }

    /// Nobody waits for the answer.
    pub fn is_cast(&self) -> bool {
        self.flags & NFFI_CAST != 0
    }

    /// Pieces of the request follow [`data`](Self::data).
    pub fn has_more(&self) -> bool {
        self.flags & NFFI_MORE != 0
    }

    /// The caller takes the answer piece by piece. Pieces may be written in any case: without it
    /// the host gathers them.
    pub fn wants_pieces(&self) -> bool {
        self.flags & NFFI_PIECES != 0
    }

    /// Has the caller gone (timeout, disconnect), so that the work is in vain? Costs a few
    /// nanoseconds. Also true some time after the runtime was told to stop.
    pub fn cancelled(&self) -> bool {
        self.life.cancelled(self.id)
    }

    /// Something that asks [`cancelled`](Self::cancelled) elsewhere: in a thread that the handler
    /// has started, or after the call was put aside. The runtime is not over while one is there.
    pub fn watch(&self) -> Watch {
        Watch { life: Arc::clone(&self.life), id: self.id }
    }

    /// Runs `body`, on any thread, so that what it logs carries this request's number.
    pub fn scope<T>(&self, body: impl FnOnce() -> T) -> T {
        self.watch().scope(body)
    }

    /// Ends the task. Only the first time counts.
    pub(crate) fn finish(&mut self, outcome: Result<&[u8], &Error>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match outcome {
            Ok(body) => self.life.host.reply(self.id, 0, body),
            Err(error) => self.life.host.reply(self.id, error.status(), error.message().as_bytes()),
        }
    }
}

/// Knows whether the caller of a call has gone. See [`Task::watch`].
#[derive(Clone)]
pub struct Watch {
    life: Arc<Life>,
    id: u64,
}

impl Watch {
    #[cfg(feature = "http")]
    pub(crate) fn new(life: Arc<Life>, id: u64) -> Self {
        Self { life, id }
    }

    /// Has the caller gone, or has the call ended?
    pub fn cancelled(&self) -> bool {
        self.life.cancelled(self.id)
    }

    /// As [`Task::scope`].
    pub fn scope<T>(&self, body: impl FnOnce() -> T) -> T {
        let _here = crate::log::enter(self.life.place(self.id));
        body()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Err(&Error::from("the call was dropped without an answer")));
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("len", &self.len).field("ended", &self.ended).finish()
    }
}
