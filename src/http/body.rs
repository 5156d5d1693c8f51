//! A request's body that is streamed: piece by piece to the runtime, as fast as it reads.

use nffi_core::buf::Buf;
use nginx_sys::{
    NGX_AGAIN, NGX_HTTP_SPECIAL_RESPONSE, ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_handle_read_event,
    ngx_http_block_reading, ngx_http_read_unbuffered_request_body, ngx_http_request_t, ngx_http_test_reading,
    ngx_int_t, ngx_post_event, ngx_posted_events, ngx_posted_next_events,
};

use super::{
    exchange::{Exchange, Next, go_on},
    failure::Failure,
    request,
};
use crate::{barrier::barrier, nginx};

/// Bytes of one client after which others have their turn.
pub const TURN: usize = 256 * 1024;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing more comes: nginx has read it whole, or all has been sent.
    #[default]
    Done,
    /// The client is waited for.
    Reading,
    /// The runtime is.
    Shut,
}

/// From now on a client that leaves is noticed, where it matters: a post_action, say, is for nobody.
///
/// # Safety
/// The exchange's request is live, and nobody reads from its connection.
pub unsafe fn watch_client(exchange: &Exchange) {
    // SAFETY: the caller's promise.
    unsafe {
        let r = exchange.r;
        if (*exchange.conf).ignore_client_abort() || (*r).post_action() != 0 {
            (*r).read_event_handler = Some(ngx_http_block_reading);
            return;
        }
        (*r).read_event_handler = Some(ngx_http_test_reading);
        if (*r).stream.is_null() {
            let read = (*(*r).connection).read;
            // With "listen ... deferred" nobody may have asked for events yet. What it could fail with shows
            // elsewhere.
            ngx_handle_read_event(read, 0);
            if (*read).pending_eof() != 0 {
                // It has left already, and makes no other event.
                ngx_post_event(read, &raw mut ngx_posted_events);
            }
        }
    }
}

/// Sends on what the client has sent, until one of the two has to be waited for.
///
/// # Safety
/// `exchange` is one of a live request.
pub unsafe fn pump(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        let read = (*(*r).connection).read;
        let mut turn = 0;
        loop {
            let Ok(Sent { bytes, shut }) = send_all(this) else { return Next::Fail(Failure::NoMemory) };
            turn += bytes;
            if shut && (*r).reading_body() != 0 {
                this.body = State::Shut;
                this.rearm();
                if (*read).timer_set() != 0 {
                    ngx_del_timer(read);
                }
                watch_client(this);
                return Next::Wait;
            }
            if (*r).reading_body() == 0 {
                this.body = State::Done;
                this.send(None);
                this.rearm();
                watch_client(this);
                return Next::Wait;
            }
            this.body = State::Reading;
            (*r).read_event_handler = Some(on_readable);
            let rc = ngx_http_read_unbuffered_request_body(r);
            if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == crate::ERROR {
                return Next::Fail(Failure::Nginx(rc));
            }
            let dry = rc == NGX_AGAIN as ngx_int_t && (*(*r).request_body).bufs.is_null();
            // Where nginx has read it all there is no client to wait for: what is left is sent now.
            let turn_is_over = turn > TURN && (*r).reading_body() != 0;
            if !dry && turn_is_over {
                ngx_post_event(read, &raw mut ngx_posted_next_events);
            }
            if dry || turn_is_over {
                wait_for_client(this, read);
                return Next::Wait;
            }
        }
    }
}

/// The client's time runs now, not the runtime's.
///
/// # Safety
/// The exchange's request is live, and `read` its connection's event.
unsafe fn wait_for_client(exchange: &mut Exchange, read: *mut ngx_event_t) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*read).timer_set() == 0 {
            ngx_add_timer(read, (*nginx::core_loc_conf(exchange.r)).client_body_timeout);
        }
    }
    exchange.disarm();
}

struct Sent {
    bytes: usize,
    /// The runtime has a window of them unread.
    shut: bool,
}

/// Sends what nginx has read. `Err`: there is no memory.
///
/// # Safety
/// The exchange's request is live.
unsafe fn send_all(exchange: &mut Exchange) -> Result<Sent, ()> {
    // SAFETY: the caller's promise; nginx takes a buffer for consumed once pos is at its end, and links for
    // free once they are back in the pool.
    unsafe {
        let r = exchange.r;
        let body = &mut *(*r).request_body;
        // One piece of them all: a client may send chunks of a byte each.
        let piece = Buf::copy_of_all(&request::in_memory(body.bufs)).ok_or(())?;
        while let Some(link) = body.bufs.as_mut() {
            let buf = &mut *link.buf;
            buf.pos = buf.last;
            body.bufs = link.next;
            nginx::free_chain((*r).pool, link);
        }
        let bytes = piece.len();
        Ok(Sent { bytes, shut: bytes > 0 && exchange.send(Some(piece)) })
    }
}

/// The runtime has read. To be called where it may have.
///
/// # Safety
/// As for [`pump`].
pub unsafe fn go_on_where_open(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise.
    unsafe {
        let this = &*exchange;
        if this.body == State::Shut && this.has_room() {
            return pump(exchange);
        }
    }
    Next::Wait
}

unsafe extern "C" fn on_readable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls it for a live request.
    barrier((), || unsafe {
        if let Some(exchange) = Exchange::of(r) {
            let next = pump(exchange);
            go_on(exchange, next);
        }
    });
}
