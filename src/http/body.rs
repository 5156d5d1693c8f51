//! A request's body that is streamed: piece by piece to the runtime, as fast as it reads.

use nffi_core::buf::Buf;
use nginx_sys::{
    NGX_AGAIN, NGX_HTTP_SPECIAL_RESPONSE, ngx_add_timer, ngx_del_timer, ngx_handle_read_event, ngx_http_block_reading,
    ngx_http_read_unbuffered_request_body, ngx_http_request_t, ngx_http_test_reading, ngx_int_t,
};

use super::{
    exchange::{Exchange, Next, go_on},
    failure::Failure,
    nginx, request,
};
use crate::barrier::barrier;

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
        // With "listen ... deferred" nobody may have asked for events yet. What it could fail with shows
        // elsewhere.
        if (*r).stream.is_null() {
            ngx_handle_read_event((*(*r).connection).read, 0);
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
        loop {
            match send_all(this) {
                Err(()) => return Next::Fail(Failure::NoMemory),
                Ok(true) if (*r).reading_body() != 0 => {
                    this.body = State::Shut;
                    this.rearm();
                    if (*read).timer_set() != 0 {
                        ngx_del_timer(read);
                    }
                    watch_client(this);
                    return Next::Wait;
                }
                Ok(_) => {}
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
            if rc == NGX_AGAIN as ngx_int_t && (*(*r).request_body).bufs.is_null() {
                // The client's time runs now, not the runtime's.
                if (*read).timer_set() == 0 {
                    ngx_add_timer(read, (*nginx::core_loc_conf(r)).client_body_timeout);
                }
                this.disarm();
                return Next::Wait;
            }
        }
    }
}

/// Sends what nginx has read; `Ok(true)` where the window is shut now.
///
/// # Safety
/// The exchange's request is live.
unsafe fn send_all(exchange: &mut Exchange) -> Result<bool, ()> {
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
        Ok(!piece.is_empty() && exchange.send(Some(piece)))
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
