//! What a task is made of, and the table of all tasks of the process.
//!
//! Slots live in chunks that never move and are never freed, so a handle from anywhere, of any
//! age, can be looked at safely. Who may touch what:
//!
//! | field     | written                                  | read                                   |
//! |-----------|------------------------------------------|----------------------------------------|
//! | `word`    | any thread, by its transitions           | any                                    |
//! | `request` | event loop, while FREE                   | the poller that made it RUNNING        |
//! | `answer`  | the runtime thread inside the section    | event loop, once ENDED                 |
//! | `pieces`  | loop while FREE, or inside the section   | both, while the task is RUNNING        |
//! | `http`    | loop while FREE, or inside the section   | event loop, once ENDED                 |
//! | `polled`  | the poller that made it RUNNING          | event loop                             |

use std::{
    ffi::c_char,
    ptr,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    buf::Buf,
    http::Http,
    mark::Marks,
    pipe::{Pieces, WINDOW},
    primitive::{AtomicPtr, AtomicU32, AtomicU64, Ordering, UnsafeCell},
    word::{self, LOW_BITS, Word},
};

// Small under loom and Miri, which keep an account of every atomic.
const CHUNK: usize = if cfg!(any(loom, miri)) { 4 } else { 1024 };
/// Slots there can be; slot 0 is the bulletin of [`crate::done`], never a task.
pub const MAX_SLOTS: usize = if cfg!(any(loom, miri)) { 32 } else { 1 << LOW_BITS };

/// The request as poll() hands it out.
#[derive(Debug)]
pub struct Request {
    pub data: Buf,
    pub deadline: u64,
    pub flags: u32,
}

/// What reply() or end() left. `data` is none after end().
#[derive(Debug)]
pub struct Answer {
    pub status: i32,
    pub data: Buf,
}

#[derive(Debug)]
pub struct Slot {
    pub word: Word,
    /// The next slot on the done list, while NEWS is set.
    pub next: AtomicU32,
    /// The runtime's number. Written while FREE.
    runtime: AtomicU32,
    request: UnsafeCell<Request>,
    answer: UnsafeCell<Answer>,
    /// One strong count of an `Arc<Pieces>`, or NULL.
    pieces: AtomicPtr<Pieces>,
    /// Set where the request is an HTTP request.
    http: UnsafeCell<Option<Box<Http>>>,
    /// When the task was polled: CLOCK_MONOTONIC, ns; 0 not yet.
    polled: AtomicU64,
}

// SAFETY: the cells are touched as the table in the module's documentation says; each row's
// writer and reader are ordered by a transition of `word`.
unsafe impl Sync for Slot {}
// SAFETY: nothing in a slot belongs to a thread.
unsafe impl Send for Slot {}

impl Slot {
    fn new() -> Self {
        Self {
            word: Word::free(),
            next: AtomicU32::new(0),
            runtime: AtomicU32::new(0),
            request: UnsafeCell::new(Request { data: Buf::none(), deadline: 0, flags: 0 }),
            answer: UnsafeCell::new(Answer { status: 0, data: Buf::none() }),
            pieces: AtomicPtr::new(ptr::null_mut()),
            http: UnsafeCell::new(None),
            polled: AtomicU64::new(0),
        }
    }

    /// The number of the runtime that the task belongs to.
    pub fn runtime(&self) -> u32 {
        self.runtime.load(Ordering::Relaxed)
    }

    /// Fills a free slot. Runs on: event loop.
    ///
    /// # Safety
    /// The slot is FREE and its generation's handle has been given to no one.
    pub unsafe fn fill(&self, runtime: u32, request: Request, pieces: Option<Arc<Pieces>>, http: Option<Box<Http>>) {
        self.runtime.store(runtime, Ordering::Relaxed);
        self.polled.store(0, Ordering::Relaxed);
        // SAFETY: a FREE slot is touched by the event loop only (the caller's promise).
        self.request.with_mut(|cell| unsafe { *cell = request });
        // SAFETY: as above.
        self.http.with_mut(|cell| unsafe { *cell = http });
        self.pieces.store(pieces.map_or(ptr::null_mut(), |p| Arc::into_raw(p).cast_mut()), Ordering::Relaxed);
    }

    /// The request. Runs on: the poller that made the task RUNNING.
    ///
    /// # Safety
    /// The caller has just made the task RUNNING and uses the reference before the task can end.
    pub unsafe fn request(&self) -> &Request {
        // SAFETY: written before QUEUED was published, not written again before FREE.
        self.request.with(|cell| unsafe { &*cell })
    }

    /// What makes it an HTTP task, if it is one. Runs on: runtime thread, or the poller that made the
    /// task RUNNING.
    ///
    /// # Safety
    /// The caller is inside the section of `word`, or as for [`request`](Self::request); the
    /// reference must not outlive that.
    #[expect(clippy::mut_from_ref, reason = "the section is the lock")]
    pub unsafe fn http(&self) -> Option<&mut Http> {
        // SAFETY: one thread at a time is inside the section, and the poller is alone before it.
        self.http.with_mut(|cell| unsafe { (*cell).as_deref_mut() })
    }

    /// The task has just been polled. Runs on: the poller that made it RUNNING.
    pub fn set_polled(&self, now: u64) {
        self.polled.store(now, Ordering::Relaxed);
    }

    /// When the task was polled: CLOCK_MONOTONIC, ns; 0 not yet. HTTP tasks, and all where the table is timed.
    pub fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// The flags the task was delivered with. Runs on: runtime thread.
    ///
    /// # Safety
    /// The caller is inside the section of `word`.
    pub unsafe fn request_flags(&self) -> u32 {
        // SAFETY: as in request(); the task cannot end inside another thread's section.
        self.request.with(|cell| unsafe { (*cell).flags })
    }

    /// Where the request is, and its length. Runs on: runtime thread.
    ///
    /// # Safety
    /// The caller is inside the section of `word`.
    pub unsafe fn request_data(&self) -> (*const c_char, usize) {
        // SAFETY: as in request_flags().
        self.request.with(|cell| unsafe { ((*cell).data.as_ptr(), (*cell).data.len()) })
    }

    /// Leaves the answer. Runs on: runtime thread.
    ///
    /// # Safety
    /// The caller is inside the section of `word` (between `enter` and `end`).
    pub unsafe fn set_answer(&self, answer: Answer) {
        // SAFETY: one thread at a time is inside the section, and the loop reads after ENDED.
        self.answer.with_mut(|cell| unsafe { *cell = answer });
    }

    /// The pieces, made now if there are none. Runs on: runtime thread.
    ///
    /// # Safety
    /// The caller is inside the section of `word`; the reference must not outlive it.
    pub unsafe fn pieces_or_new(&self) -> &Pieces {
        let mut pieces = self.pieces.load(Ordering::Acquire);
        if pieces.is_null() {
            // SAFETY: the caller's promise; used up here.
            let window = unsafe { self.http() }.map_or(WINDOW, |http| http.window);
            pieces = Arc::into_raw(Arc::new(Pieces::new(window))).cast_mut();
            self.pieces.store(pieces, Ordering::Release);
        }
        // SAFETY: a strong count is held by the slot until the event loop empties it, which it
        // does after ENDED only; inside the section the task is RUNNING.
        unsafe { &*pieces }
    }

    /// The pieces, if there are any. Runs on: event loop, or a runtime thread inside the section.
    pub fn pieces(&self) -> Option<Arc<Pieces>> {
        let pieces = self.pieces.load(Ordering::Acquire);
        if pieces.is_null() {
            return None;
        }
        // SAFETY: the slot holds a strong count, and only the event loop (the caller, or excluded
        // by the section as in pieces_or_new) gives it up.
        unsafe {
            Arc::increment_strong_count(pieces);
            Some(Arc::from_raw(pieces))
        }
    }

    /// Empties the slot. Runs on: event loop.
    ///
    /// # Safety
    /// The task has ended and is off the done list, or was cancelled while QUEUED.
    pub unsafe fn empty(&self) -> (Answer, Option<Arc<Pieces>>, Option<Box<Http>>) {
        let pieces = self.pieces.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: no runtime thread may enter any more, so the loop alone touches the cells;
        // the pointer, where not NULL, is a strong count that is now ours.
        unsafe {
            self.request.with_mut(|cell| (*cell).data = Buf::none());
            let none = Answer { status: 0, data: Buf::none() };
            let answer = self.answer.with_mut(|cell| std::mem::replace(&mut *cell, none));
            let http = self.http.with_mut(|cell| (*cell).take());
            (answer, (!pieces.is_null()).then(|| Arc::from_raw(pieces)), http)
        }
    }
}

/// All slots of the process.
#[derive(Debug)]
pub struct Table {
    chunks: Box<[std::sync::atomic::AtomicPtr<[Slot; CHUNK]>]>,
    pub marks: Marks,
    /// Somebody wants to know how long tasks take.
    timed: AtomicBool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            chunks: (0..MAX_SLOTS / CHUNK).map(|_| Default::default()).collect(),
            marks: Marks::default(),
            timed: AtomicBool::new(false),
        }
    }
}

impl Table {
    /// Runs on: event loop.
    pub fn time_from_now(&self) {
        self.timed.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Are the times of all tasks to be taken? Runs on: any thread.
    pub fn is_timed(&self) -> bool {
        self.timed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The slot with that number, if its chunk was ever made. Runs on: any thread.
    pub fn get(&self, slot: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: a chunk pointer is NULL or a leaked box that is never freed while the table is.
        let chunk = unsafe { chunk.as_ref() }?;
        chunk.get(slot as usize % CHUNK)
    }

    /// The slot and generation that a handle names. Runs on: any thread.
    pub fn resolve(&self, handle: u64) -> Option<(&Slot, u32, u64)> {
        let (generation, number) = word::split(handle);
        if number == 0 {
            return None;
        }
        Some((self.get(number)?, number, generation))
    }

    /// Makes the chunk that slot belongs to. Runs on: event loop.
    pub fn grow_to(&self, slot: u32) {
        let chunk = &self.chunks[slot as usize / CHUNK];
        if chunk.load(Ordering::Relaxed).is_null() {
            let slots: Box<[Slot]> = (0..CHUNK).map(|_| Slot::new()).collect();
            chunk.store(Box::into_raw(slots).cast(), Ordering::Release);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            let chunk = chunk.swap(ptr::null_mut(), Ordering::Acquire);
            if !chunk.is_null() {
                // SAFETY: made by grow_to from a boxed slice of CHUNK slots; &mut self: no users.
                drop(unsafe { Box::from_raw(chunk) });
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let pieces = self.pieces.load(Ordering::Relaxed);
        if !pieces.is_null() {
            // SAFETY: the slot's own strong count.
            drop(unsafe { Arc::from_raw(pieces) });
        }
    }
}
