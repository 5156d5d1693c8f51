//! A connection that was upgraded: the runtime's bytes go out as they are, the client's come in, both
//! with back-pressure. nginx's proxied upgrades are the model.

use std::{collections::VecDeque, ptr, slice};

use nffi_core::{
    buf::Buf,
    dispatch::Outcome,
    http::Head,
    pipe::{Piece, Weight},
};
use nginx_sys::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_FLUSH, NGX_OK, ngx_add_timer, ngx_connection_t,
    ngx_del_timer, ngx_handle_read_event, ngx_handle_write_event, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_http_send_special, ngx_int_t, ngx_post_event, ngx_posted_next_events, ngx_tcp_nodelay,
    ngx_uint_t,
};

use super::{
    body::TURN,
    conf::status,
    exchange::{Exchange, Next, Stage, go_on},
    failure::Failure,
    head,
};
use crate::{barrier::barrier, nginx};

const FAILED: ngx_int_t = NGX_ERROR as ngx_int_t;
/// Read at once; most WebSocket messages fit.
const READ: usize = 16 * 1024;

#[derive(Debug, Default)]
pub struct State {
    /// On their way to the client, oldest first, and how much of the first is gone.
    out: VecDeque<Buf>,
    sent: usize,
    /// The runtime has more unread than its window holds.
    shut: bool,
    /// The client will send nothing more.
    eof: bool,
}

/// Sends the 101; from now on the connection is the runtime's.
///
/// # Safety
/// `exchange` is one of a live request, to whose client nothing was sent.
pub unsafe fn begin(exchange: *mut Exchange, head: Head) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        let c = (*r).connection;
        this.status = 101;
        this.status_of_runtime = 101;
        let applied = head::apply(this, &head);
        this.heads.push(head);
        if let Err(failure) = applied {
            return Next::Fail(failure);
        }
        (*r).headers_out.content_length_n = -1;
        // nginx has words for those from 200 on.
        (*r).headers_out.status_line = nginx::str_of(b"101 Switching Protocols");
        (*r).set_keepalive(0);
        // Raw bytes have no rate, nor has what goes before them.
        (*r).limit_rate = 0;
        (*r).set_limit_rate_set(1);
        this.stage = Stage::Upgraded;
        (*r).read_event_handler = Some(on_readable);
        (*r).write_event_handler = Some(on_writable);
        if (*nginx::core_loc_conf(r)).tcp_nodelay != 0 && ngx_tcp_nodelay(c) != NGX_OK as ngx_int_t {
            return Next::Finalize(FAILED);
        }
        let rc = ngx_http_send_header(r);
        if rc == FAILED || rc > NGX_OK as ngx_int_t || ngx_http_send_special(r, NGX_HTTP_FLUSH as ngx_uint_t) == FAILED
        {
            return Next::Finalize(FAILED);
        }
        match receive(&mut *exchange) {
            Next::Wait => advance(exchange),
            next => next,
        }
    }
}

/// News of the task: bytes for the client, room for its bytes, or the end.
///
/// # Safety
/// `exchange` is one of a live request that was upgraded.
pub unsafe fn advance(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let this = &mut *exchange;
        while let Some(piece) = this.take_piece() {
            match piece {
                Piece::Data(data) if !data.is_empty() => {
                    this.bytes += data.len() as u64;
                    this.raw.out.push_back(data);
                }
                other => this.consumed(other.weight()),
            }
        }
        if let Some(Outcome::Http(end)) = &mut this.ended
            && end.status == 0
        {
            let last = std::mem::replace(&mut end.data, Buf::none());
            if !last.is_empty() {
                this.bytes += last.len() as u64;
                this.raw.out.push_back(last);
            }
        }
        if this.raw.shut && this.has_room() {
            this.raw.shut = false;
            match receive(this) {
                Next::Wait => {}
                next => return next,
            }
        }
        flush(exchange)
    }
}

/// Sends what there is; ends the connection after the last of it.
///
/// # Safety
/// The exchange's request is live.
unsafe fn flush(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let r = (*exchange).r;
        let c = (*r).connection;
        let write = (*c).write;
        // What nginx still holds of the head goes first.
        if !(*r).out.is_null() || nginx::is_buffered(c) {
            if ngx_http_output_filter(r, ptr::null_mut()) == FAILED {
                return Next::Finalize(FAILED);
            }
            if !(*r).out.is_null() || nginx::is_buffered(c) {
                return wait_for_client(&mut *exchange);
            }
        }
        let this = &mut *exchange;
        while let Some(first) = this.raw.out.front() {
            let Some(send) = (*c).send else { return Next::Finalize(FAILED) };
            let rest = &first.as_slice()[this.raw.sent..];
            let n = send(c, rest.as_ptr().cast_mut(), rest.len());
            if n == NGX_AGAIN as isize {
                break;
            }
            let Ok(n) = usize::try_from(n) else {
                return Next::Finalize(status(NGX_HTTP_CLIENT_CLOSED_REQUEST));
            };
            this.raw.sent += n;
            if this.raw.sent == first.len() {
                let weight = first.weight();
                this.raw.out.pop_front();
                this.raw.sent = 0;
                this.consumed(weight);
            }
        }
        if this.raw.out.is_empty() {
            if (*write).timer_set() != 0 {
                ngx_del_timer(write);
            }
            if let Some(ended) = &this.ended {
                return match Failure::of(ended) {
                    Some(failure) => Next::Fail(failure),
                    None => Next::Finalize(NGX_OK as ngx_int_t),
                };
            }
            this.arm();
            Next::Wait
        } else {
            wait_for_client(this)
        }
    }
}

/// The client's time runs, not the runtime's.
///
/// # Safety
/// The exchange's request is live.
unsafe fn wait_for_client(this: &mut Exchange) -> Next {
    this.disarm();
    // SAFETY: the caller's promise.
    unsafe {
        let write = (*(*this.r).connection).write;
        let core = nginx::core_loc_conf(this.r);
        ngx_add_timer(write, (*core).send_timeout);
        if ngx_handle_write_event(write, (*core).send_lowat) != NGX_OK as ngx_int_t {
            return Next::Finalize(FAILED);
        }
    }
    Next::Wait
}

/// Hands on what the client has sent, as far as the runtime's window goes.
///
/// # Safety
/// The exchange's request is live.
unsafe fn receive(this: &mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let r = this.r;
        let c = (*r).connection;
        let read = (*c).read;
        let mut turn = 0;
        let mut bytes = [0; READ];
        if this.raw.eof && is_reset(c) {
            return Next::Finalize(status(NGX_HTTP_CLIENT_CLOSED_REQUEST));
        }
        while !this.raw.shut && !this.raw.eof {
            // What came with the request's head is first.
            let early = preread(r);
            let n = if early.is_empty() { receive_some(c, &mut bytes) } else { early.len() as isize };
            if n == NGX_AGAIN as isize {
                break;
            }
            if n == 0 {
                this.raw.eof = true;
                push(this, None);
                break;
            }
            let Ok(n) = usize::try_from(n) else {
                return Next::Finalize(status(NGX_HTTP_CLIENT_CLOSED_REQUEST));
            };
            let Some(piece) = Buf::copy_of(if early.is_empty() { &bytes[..n] } else { early }) else {
                return Next::Fail(Failure::NoMemory);
            };
            if this.raw.out.is_empty() {
                this.arm();
            }
            push(this, Some(piece));
            turn += n;
            if turn > TURN {
                ngx_post_event(read, &raw mut ngx_posted_next_events);
                break;
            }
        }
        if ngx_handle_read_event(read, 0) != NGX_OK as ngx_int_t {
            return Next::Finalize(FAILED);
        }
        Next::Wait
    }
}

/// Has the client, after it ended its side, reset the connection? No read would tell.
///
/// # Safety
/// `c` is a live connection.
unsafe fn is_reset(c: *mut ngx_connection_t) -> bool {
    let mut error: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the caller's promise; error has room for len bytes.
    let rc =
        unsafe { libc::getsockopt((*c).fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut len) };
    rc == 0 && error != 0
}

/// # Safety
/// `c` is a live connection.
unsafe fn receive_some(c: *mut ngx_connection_t, bytes: &mut [u8; READ]) -> isize {
    // SAFETY: the caller's promise; room for as many bytes as it is told.
    unsafe {
        if (*(*c).read).ready() == 0 {
            return NGX_AGAIN as isize;
        }
        match (*c).recv {
            Some(recv) => recv(c, bytes.as_mut_ptr(), bytes.len()),
            None => FAILED,
        }
    }
}

/// Takes what nginx has read beyond the request's head.
///
/// # Safety
/// `r` is a live request.
unsafe fn preread<'a>(r: *mut ngx_http_request_t) -> &'a [u8] {
    // SAFETY: the caller's promise; the buffer holds pos up to last, and lives as long as the request.
    unsafe {
        let buf = (*r).header_in;
        let (pos, last) = ((*buf).pos, (*buf).last);
        if ptr::eq(pos, last) {
            return &[];
        }
        (*buf).pos = last;
        slice::from_raw_parts(pos, last.offset_from(pos).cast_unsigned())
    }
}

/// Gives the runtime a piece, or the client's end.
fn push(this: &mut Exchange, piece: Option<Buf>) {
    this.raw.shut = this.send(piece);
}

unsafe extern "C" fn on_readable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls it for a live request.
    barrier((), || unsafe {
        let Some(exchange) = Exchange::of(r) else { return };
        let next = receive(&mut *exchange);
        go_on(exchange, next);
    });
}

unsafe extern "C" fn on_writable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls it for a live request.
    barrier((), || unsafe {
        let Some(exchange) = Exchange::of(r) else { return };
        let next = if (*(*(*r).connection).write).timedout() != 0 {
            (*(*r).connection).set_timedout(1);
            Next::Finalize(status(nginx_sys::NGX_HTTP_REQUEST_TIME_OUT))
        } else {
            flush(exchange)
        };
        go_on(exchange, next);
    });
}
