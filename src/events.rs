//! The module's own events: nginx structures that live as long as the process.

use std::{
    ffi::c_void,
    sync::{Mutex, PoisonError, atomic::AtomicPtr},
};

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_event_actions, ngx_event_handler_pt, ngx_event_t, ngx_int_t,
    ngx_post_event, ngx_posted_events, ngx_posted_next_events, ngx_uint_t,
};

// Macros in nginx's headers, for epoll.
const READ_EVENT: ngx_int_t = (libc::EPOLLIN | libc::EPOLLRDHUP) as ngx_int_t;
const CLEAR_EVENT: ngx_uint_t = libc::EPOLLET as u32 as ngx_uint_t;

/// An nginx event that is never freed.
#[derive(Debug, Clone, Copy)]
pub struct Event(*mut ngx_event_t);

/// Holds what nginx has been given for the life of the process, so that a leak checker sees who
/// holds it.
pub fn keep<T>(kept: Box<T>) -> *mut T {
    static KEPT: Mutex<Vec<AtomicPtr<c_void>>> = Mutex::new(Vec::new());
    let kept = Box::into_raw(kept);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(AtomicPtr::new(kept.cast()));
    kept
}

/// A connection that is not one: nginx's events point to a connection, if only to log its
/// descriptor. It takes no `worker_connections` slot, and needs no closing.
fn pseudo_connection(fd: i32) -> *mut ngx_connection_t {
    // SAFETY: all-zero is a valid value of nginx's plain C structures.
    let mut connection: Box<ngx_connection_t> = Box::new(unsafe { std::mem::zeroed() });
    connection.fd = fd;
    // SAFETY: ngx_cycle is set before any module runs.
    connection.log = unsafe { (*ngx_cycle).log };
    keep(connection)
}

fn new_event(connection: *mut ngx_connection_t, handler: ngx_event_handler_pt) -> *mut ngx_event_t {
    // SAFETY: as above.
    let mut event: Box<ngx_event_t> = Box::new(unsafe { std::mem::zeroed() });
    event.data = connection.cast();
    event.handler = handler;
    // SAFETY: as above. A worker's cycle lives until it exits.
    event.log = unsafe { (*ngx_cycle).log };
    event.index = u32::MAX as _;
    keep(event)
}

impl Event {
    pub fn new(handler: ngx_event_handler_pt) -> Self {
        Self(new_event(pseudo_connection(-1), handler))
    }

    /// Runs the handler at the end of this iteration of the loop.
    pub fn post(self) {
        // SAFETY: the event is ours and lives for ever; we are on the loop's thread.
        unsafe { ngx_post_event(self.0, &raw mut ngx_posted_events) };
    }

    /// Runs the handler in the loop's next iteration, which will not sleep.
    pub fn post_next(self) {
        // SAFETY: as in post().
        unsafe { ngx_post_event(self.0, &raw mut ngx_posted_next_events) };
    }

    pub fn is_armed(self) -> bool {
        // SAFETY: as in post().
        unsafe { (*self.0).timer_set() != 0 }
    }

    /// Runs the handler in `ms`; does nothing where it is due already. Holds a worker that exits
    /// gracefully.
    pub fn arm(self, ms: usize) {
        // SAFETY: as in post().
        if !self.is_armed() {
            // SAFETY: as in post().
            unsafe { ngx_add_timer(self.0, ms) };
        }
    }

    /// The address, as the thread pool's tasks want it.
    pub fn as_ptr(self) -> *mut ngx_event_t {
        self.0
    }
}

/// Has the loop call `handler` whenever `fd` becomes readable (edge-triggered: nobody needs to
/// read). False where nginx's event method would not have it.
pub fn watch(fd: i32, handler: ngx_event_handler_pt) -> bool {
    let connection = pseudo_connection(fd);
    let read = new_event(connection, handler);
    let write = new_event(connection, None);
    // SAFETY: three structures of our own that live for ever, wired as nginx's epoll expects them.
    unsafe {
        (*write).set_write(1);
        (*connection).read = read;
        (*connection).write = write;
        match ngx_event_actions.add {
            Some(add) => add(read, READ_EVENT, CLEAR_EVENT) == crate::OK,
            None => false,
        }
    }
}
