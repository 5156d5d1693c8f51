//! The two ways in which a runtime's thread wakes the event loop.

use std::{
    ffi::c_int,
    mem,
    sync::atomic::{AtomicBool, Ordering},
};

use nffi_core::{done::Sink, pollfd::Event as EventFd};
use nginx_sys::{NGX_USE_EPOLL_EVENT, ngx_event_flags, ngx_event_handler_pt, ngx_thread_task_t, ngx_uint_t};

use crate::{events, sema::symbol};

/// `nffi_done_sink`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The thread pool's where nginx has the patch, else the eventfd.
    #[default]
    Auto,
    ThreadPool,
    EventFd,
}

/// What patches/ adds to nginx: appends to the thread pool's done queue, from any thread.
type PostDone = unsafe extern "C" fn(*mut ngx_thread_task_t);

/// Does this nginx have the patch?
pub fn patched() -> bool {
    post_done().is_some()
}

fn post_done() -> Option<PostDone> {
    // SAFETY: the name is the patch's, and so is the type.
    unsafe { symbol(c"ngx_thread_pool_post_done") }
}

/// Makes the sink; `handler` will be called on the event loop after each notification.
pub fn make(choice: Choice, handler: ngx_event_handler_pt) -> Result<Box<dyn Sink>, String> {
    // SAFETY: written by nginx before any module's init_process.
    if unsafe { ngx_event_flags } & NGX_USE_EPOLL_EVENT as ngx_uint_t == 0 {
        return Err("needs the event method epoll (\"use epoll;\" in the events block)".to_owned());
    }
    match (choice, post_done()) {
        (Choice::ThreadPool, None) => Err("nffi_done_sink thread_pool: this nginx lacks the patch".to_owned()),
        (Choice::Auto | Choice::ThreadPool, Some(post)) => Ok(Box::new(ThreadPool::new(post, handler))),
        (Choice::Auto | Choice::EventFd, _) => {
            let fd = EventFd::new().map_err(|e| format!("eventfd: {e}"))?;
            if !events::watch(std::os::fd::AsRawFd::as_raw_fd(&fd.fd()) as c_int, handler) {
                return Err("cannot watch an eventfd".to_owned());
            }
            Ok(Box::new(fd))
        }
    }
}

/// The thread pool's task is on nginx's done queue.
static QUEUED: AtomicBool = AtomicBool::new(false);

/// nginx has called the handler: the task is off its queue. Runs on: event loop, before it drains.
pub fn arrived() {
    // A swap, as in notify(): of two swaps one sees the other, and what went before it.
    QUEUED.swap(false, Ordering::AcqRel);
}

/// One task for ever. It is on the done queue at most once, whoever drains the list meanwhile.
struct ThreadPool {
    post: PostDone,
    task: *mut ngx_thread_task_t,
}

// SAFETY: the task is handed to nginx's queue, under its lock, by one notifier at a time (QUEUED);
// the function may be called from any thread.
unsafe impl Send for ThreadPool {}
// SAFETY: as for Send.
unsafe impl Sync for ThreadPool {}

impl ThreadPool {
    fn new(post: PostDone, handler: ngx_event_handler_pt) -> Self {
        // SAFETY: all-zero is a valid task.
        let mut task: Box<ngx_thread_task_t> = Box::new(unsafe { mem::zeroed() });
        let template = events::Event::new(handler);
        // SAFETY: the template is a valid event of our own; a copy of it is as good.
        task.event = unsafe { std::ptr::read(template.as_ptr()) };
        Self { post, task: events::keep(task) }
    }
}

impl Sink for ThreadPool {
    fn notify(&self) {
        if !QUEUED.swap(true, Ordering::AcqRel) {
            // SAFETY: the task lives for ever and is on no queue now.
            unsafe { (self.post)(self.task) };
        }
    }
}
