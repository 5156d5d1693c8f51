//! An answer on its way through nginx's output filters: as it comes from the runtime, and as fast as
//! the client takes it.

use std::{mem, os::fd::AsRawFd, ptr};

use nffi_core::{
    buf::Buf,
    dispatch::Outcome,
    http::{Head, HttpEnd},
    pipe::{Piece, Weight},
};
use nginx_sys::{
    NGX_ERROR, NGX_ETIMEDOUT, NGX_HTTP_FLUSH, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_LAST, NGX_HTTP_LOG_UNSAFE,
    NGX_HTTP_NOT_FOUND, NGX_HTTP_NOT_MODIFIED, NGX_HTTP_OK, NGX_HTTP_REQUEST_TIME_OUT, NGX_LOG_INFO, NGX_OK,
    ngx_add_timer, ngx_buf_t, ngx_chain_t, ngx_del_timer, ngx_file_t, ngx_handle_write_event, ngx_http_core_get_method,
    ngx_http_finalize_request, ngx_http_internal_redirect, ngx_http_named_location, ngx_http_output_filter,
    ngx_http_parse_unsafe_uri, ngx_http_request_t, ngx_http_send_header, ngx_http_send_special, ngx_int_t,
    ngx_list_push, ngx_log_error_core, ngx_pcalloc, ngx_str_t, ngx_table_elt_t, ngx_tcp_nodelay, ngx_uint_t,
};

use super::{
    body,
    conf::status,
    exchange::{Discard, Exchange, Next, Stage, go_on},
    failure::Failure,
    head::{self, Verdict},
    upgrade,
};
use crate::{barrier::barrier, nginx};

const FAILED: ngx_int_t = NGX_ERROR as ngx_int_t;

/// A piece that nginx works on: its buffer, and the link that brings it there. In the request's pool.
#[derive(Debug)]
#[repr(C)]
pub struct OutBuf {
    link: ngx_chain_t,
    buf: ngx_buf_t,
    file: ngx_file_t,
    piece: Option<Piece>,
}

impl OutBuf {
    fn is_consumed(&self) -> bool {
        if self.buf.in_file() != 0 { self.buf.file_pos >= self.buf.file_last } else { self.buf.pos >= self.buf.last }
    }
}

/// Takes what has come from the runtime as far as the client can have it.
///
/// # Safety
/// `exchange` is one of a live request.
pub unsafe fn advance(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        match body::go_on_where_open(exchange) {
            Next::Wait => {}
            next => return next,
        }
        let this = &mut *exchange;
        if let Some(failure) = this.ended.as_ref().and_then(Failure::of) {
            return Next::Fail(failure);
        }
        let mut batch = Batch::default();
        while let Some(piece) = this.take_piece() {
            let weight = piece.weight();
            match piece {
                Piece::Head(head) => {
                    this.consumed(weight);
                    match head.status {
                        101 => return upgrade::begin(exchange, *head),
                        // Hints for the client: this nginx cannot send them.
                        100..200 => {}
                        _ => batch.head = Some(*head),
                    }
                }
                piece => batch.add(piece),
            }
        }
        if let Some(Outcome::Http(end)) = &mut this.ended {
            batch.end(end);
        }
        send(exchange, batch)
    }
}

/// What came from the runtime at once.
#[derive(Debug, Default)]
struct Batch {
    head: Option<Head>,
    pieces: Vec<Piece>,
    bytes: u64,
    trailers: Option<Head>,
    last: bool,
}

fn len_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Data(data) => data.len() as u64,
        Piece::File { length, .. } => *length,
        Piece::Head(_) => 0,
    }
}

impl Batch {
    fn add(&mut self, piece: Piece) {
        self.bytes += len_of(&piece);
        self.pieces.push(piece);
    }

    fn end(&mut self, end: &mut HttpEnd) {
        self.last = true;
        if end.head.is_some() {
            self.head = end.head.take();
        }
        self.trailers = end.trailers.take();
        let data = mem::replace(&mut end.data, Buf::none());
        if !data.is_empty() {
            self.add(Piece::Data(data));
        }
    }
}

/// Takes a pointer, as all here do that have nginx's filters run: those ask for the exchange's variables.
///
/// # Safety
/// `exchange` is one of a live request.
unsafe fn send(exchange: *mut Exchange, mut batch: Batch) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        if this.stage == Stage::Waiting {
            let Some(head) = batch.head.take() else {
                return if batch.last {
                    Next::Fail(Failure::Protocol("an answer without a head".into()))
                } else {
                    Next::Wait
                };
            };
            if let Err(next) = send_head(exchange, head, &batch) {
                return next;
            }
        }
        let this = &mut *exchange;
        if let Stage::Discarding(what) = this.stage {
            for piece in batch.pieces {
                this.consumed(piece.weight());
            }
            return match what {
                _ if !batch.last => settle(this),
                Discard::Nothing => Next::Finalize(NGX_OK as ngx_int_t),
                Discard::Redirect => Next::Redirect,
            };
        }
        if let Some(rest) = this.rest {
            let Some(left) = rest.checked_sub(batch.bytes) else {
                return Next::Fail(Failure::Protocol("more bytes than its Content-Length says".into()));
            };
            if batch.last && left > 0 {
                return Next::Fail(Failure::Protocol(format!("{left} bytes less than its Content-Length says").into()));
            }
            this.rest = Some(left);
        }
        this.bytes += batch.bytes;
        if let Some(trailers) = batch.trailers.take() {
            add_trailers(this, &trailers);
            this.heads.push(trailers);
        }
        let rc = match put(this, batch.pieces, batch.last) {
            Ok(first) if !first.is_null() => ngx_http_output_filter(r, first),
            Ok(_) if batch.last => ngx_http_send_special(r, NGX_HTTP_LAST as ngx_uint_t),
            Ok(_) => NGX_OK as ngx_int_t,
            Err(()) => return Next::Fail(Failure::NoMemory),
        };
        if batch.last {
            // nginx sees to what the client has not taken yet.
            return Next::Finalize(rc);
        }
        if rc == FAILED {
            return Next::Finalize(rc);
        }
        settle(&mut *exchange)
    }
}

/// `Err`: there is nothing more to be done now, but that.
///
/// # Safety
/// As for [`send`].
unsafe fn send_head(exchange: *mut Exchange, head: Head, batch: &Batch) -> Result<(), Next> {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        this.status = head.status;
        this.status_of_runtime = head.status;
        let verdict = head::judge(this, &head);
        // nginx's headers point into what the head holds, which stays where it is: so it is kept in any case.
        if verdict != Verdict::Send {
            let kept = head::keep(this, &head, &verdict);
            this.heads.push(head);
            kept.map_err(Next::Fail)?;
            if verdict == Verdict::Intercept {
                return Err(Next::Page(status(this.status.into())));
            }
            this.stage = Stage::Discarding(Discard::Redirect);
            return Ok(());
        }
        let applied = head::apply(this, &head);
        this.heads.push(head);
        applied.map_err(Next::Fail)?;
        let is_head = (*r).method == NGX_HTTP_HEAD as usize;
        if let Some(rest) = this.rest
            && (batch.bytes > rest || (batch.last && batch.bytes < rest))
        {
            // The client has got nothing yet: it may learn that this went wrong.
            return Err(Next::Fail(Failure::Protocol(
                format!("{} bytes where its Content-Length says {rest}", batch.bytes).into(),
            )));
        }
        // The length that a 304 could say is that of the page which it stands for.
        let known = batch.last && batch.trailers.is_none() && !is_head && this.status != NGX_HTTP_NOT_MODIFIED as u16;
        if known && (*r).headers_out.content_length_n < 0 {
            (*r).headers_out.content_length_n = batch.bytes as i64;
        }
        if batch.last && (*r).reading_body() != 0 {
            // nginx will close it: better said than found out.
            (*r).set_keepalive(0);
        }
        if batch.trailers.is_some() {
            (*r).set_expect_trailers(1);
        }
        if matches!(batch.pieces.first(), Some(Piece::File { .. })) && (*r).headers_out.status == NGX_HTTP_OK as usize {
            // A file is the same the next time: ranges of it, and 304, are nginx's to give.
            (*r).set_allow_ranges(1);
            (*r).set_single_range(1);
            (*r).set_disable_not_modified(0);
            // nginx says so itself.
            if let Some(header) = (*r).headers_out.accept_ranges.as_mut() {
                header.hash = 0;
            }
        }
        let rc = ngx_http_send_header(r);
        if rc == FAILED || rc > NGX_OK as ngx_int_t {
            return Err(Next::Finalize(rc));
        }
        if (*r).header_only() != 0 {
            (*exchange).stage = Stage::Discarding(Discard::Nothing);
            return Ok(());
        }
        (*exchange).stage = Stage::Sending;
        let c = (*r).connection;
        if !batch.last && (*nginx::core_loc_conf(r)).tcp_nodelay != 0 && ngx_tcp_nodelay(c) != NGX_OK as ngx_int_t {
            return Err(Next::Finalize(FAILED));
        }
        if !batch.last && batch.pieces.is_empty() && ngx_http_send_special(r, NGX_HTTP_FLUSH as ngx_uint_t) == FAILED {
            return Err(Next::Finalize(FAILED));
        }
        Ok(())
    }
}

/// # Safety
/// The exchange's request is live, and the trailers live as long as it.
unsafe fn add_trailers(exchange: &Exchange, trailers: &Head) {
    // SAFETY: the location's configuration outlives its requests.
    let conf = unsafe { &*exchange.conf };
    for (name, value) in trailers.headers().filter(|(name, _)| head::may_trail(name) && !conf.hides(name)) {
        // SAFETY: the caller's promise; what is pushed is not initialised.
        unsafe {
            let trailer: *mut ngx_table_elt_t = ngx_list_push(&raw mut (*exchange.r).headers_out.trailers).cast();
            if !trailer.is_null() {
                let mut new: ngx_table_elt_t = mem::zeroed();
                new.hash = 1;
                new.key = nginx::str_of(name);
                new.value = nginx::str_of(value);
                trailer.write(new);
            }
        }
    }
}

/// Puts the pieces into buffers; the first link of their chain, or NULL.
///
/// # Safety
/// As for [`send`].
unsafe fn put(this: &mut Exchange, pieces: Vec<Piece>, last: bool) -> Result<*mut ngx_chain_t, ()> {
    let mut first = ptr::null_mut();
    let mut before: *mut OutBuf = ptr::null_mut();
    for piece in pieces {
        if len_of(&piece) == 0 {
            this.consumed(piece.weight());
            continue;
        }
        // SAFETY: the caller's promise; buffers live as long as the request's pool.
        unsafe {
            let out = out_buf(this)?;
            fill(&mut *out, this.r, piece);
            if before.is_null() {
                first = &raw mut (*out).link;
            } else {
                (*before).link.next = &raw mut (*out).link;
            }
            this.busy.push_back(out);
            before = out;
        }
    }
    if !before.is_null() {
        // SAFETY: as above.
        unsafe {
            let buf = &mut (*before).buf;
            if last {
                buf.set_last_in_chain(1);
                buf.set_last_buf(u32::from(ptr::eq(this.r, (*this.r).main)));
            } else {
                buf.set_flush(1);
            }
        }
    }
    Ok(first)
}

/// # Safety
/// As for [`send`].
unsafe fn out_buf(this: &mut Exchange) -> Result<*mut OutBuf, ()> {
    if let Some(out) = this.spare.pop() {
        return Ok(out);
    }
    // SAFETY: the caller's promise; all-zero is a valid value, None included, which write() makes sure of.
    unsafe {
        let out: *mut OutBuf = ngx_pcalloc((*this.r).pool, size_of::<OutBuf>()).cast();
        if out.is_null() {
            return Err(());
        }
        (&raw mut (*out).piece).write(None);
        Ok(out)
    }
}

/// # Safety
/// As for [`send`]; `out` is not in nginx's hands.
unsafe fn fill(out: &mut OutBuf, r: *mut ngx_http_request_t, piece: Piece) {
    // SAFETY: all-zero is a valid buffer.
    out.buf = unsafe { mem::zeroed() };
    match &piece {
        Piece::Data(data) => {
            let start = data.as_ptr().cast_mut().cast::<u8>();
            // SAFETY: len bytes.
            let end = unsafe { start.add(data.len()) };
            (out.buf.start, out.buf.pos, out.buf.last, out.buf.end) = (start, start, end, end);
            out.buf.set_temporary(1);
        }
        Piece::File { file, offset, length } => {
            // SAFETY: as above; and the request is live.
            unsafe {
                out.file = mem::zeroed();
                out.file.log = (*(*r).connection).log;
            }
            out.file.fd = file.as_raw_fd();
            out.file.name = nginx::str_of(b"a file of a runtime's");
            out.buf.set_in_file(1);
            out.buf.file = &raw mut out.file;
            out.buf.file_pos = *offset as i64;
            out.buf.file_last = (offset + length) as i64;
        }
        Piece::Head(_) => {}
    }
    out.buf.tag = (&raw mut crate::ngx_http_nffi_module).cast();
    out.link.buf = &raw mut out.buf;
    out.link.next = ptr::null_mut();
    out.piece = Some(piece);
}

/// Gives back what nginx has consumed; waits for the client where there is more, else for the
/// runtime.
///
/// # Safety
/// As for [`send`].
unsafe fn settle(this: &mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows. Buffers are consumed in their order.
    unsafe {
        let mut weight = 0;
        while let Some(&out) = this.busy.front()
            && (*out).is_consumed()
        {
            weight += (*out).piece.take().map_or(0, |piece| piece.weight());
            this.busy.pop_front();
            this.spare.push(out);
        }
        if weight > 0 {
            this.consumed(weight);
        }
        let r = this.r;
        let c = (*r).connection;
        let write = (*c).write;
        // What filters made of the pieces (a chunk's end, gzip's blocks, a TLS record) waits for the client, too.
        let buffered = ptr::eq((*c).data.cast(), r) && nginx::is_buffered(c);
        if this.busy.is_empty() && !buffered {
            if (*write).timer_set() != 0 && (*write).delayed() == 0 && !nginx::is_buffered(c) {
                ngx_del_timer(write);
            }
            this.arm();
            return Next::Wait;
        }
        // The client's time runs, not the runtime's. A subrequest's turn may not have come.
        this.disarm();
        if ptr::eq((*c).data.cast(), r) {
            let core = nginx::core_loc_conf(r);
            if (*write).delayed() == 0 {
                ngx_add_timer(write, (*core).send_timeout);
            }
            if ngx_handle_write_event(write, (*core).send_lowat) != NGX_OK as ngx_int_t {
                return Next::Finalize(FAILED);
            }
        }
        Next::Wait
    }
}

/// nginx's write event: the client can take more.
pub unsafe extern "C" fn on_writable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls it for a live request.
    barrier((), || unsafe {
        if let Some(exchange) = Exchange::of(r) {
            let next = writable(exchange);
            go_on(exchange, next);
        }
    });
}

/// # Safety
/// `exchange` is one of a live request.
unsafe fn writable(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        // Of a head that is all, the client may have got a part.
        if !matches!((*exchange).stage, Stage::Sending | Stage::Discarding(Discard::Nothing)) {
            return Next::Wait;
        }
        let r = (*exchange).r;
        let c = (*r).connection;
        let write = (*c).write;
        if (*write).timedout() != 0 {
            (*c).set_timedout(1);
            if (*(*c).log).log_level >= NGX_LOG_INFO as usize {
                ngx_log_error_core(NGX_LOG_INFO as _, (*c).log, NGX_ETIMEDOUT as _, c"client timed out".as_ptr());
            }
            return Next::Finalize(NGX_HTTP_REQUEST_TIME_OUT as ngx_int_t);
        }
        if (*write).delayed() == 0 && ngx_http_output_filter(r, ptr::null_mut()) == FAILED {
            return Next::Finalize(FAILED);
        }
        match settle(&mut *exchange) {
            Next::Wait => advance(exchange),
            next => next,
        }
    }
}

/// To where X-Accel-Redirect said.
///
/// # Safety
/// `exchange` is one of a live request; both may be gone afterwards.
pub unsafe fn redirect(exchange: *mut Exchange) {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        this.part();
        let target = this
            .heads
            .iter()
            .flat_map(|head| head.headers())
            .find_map(|(name, value)| name.eq_ignore_ascii_case(b"x-accel-redirect").then_some(value));
        let mut uri = nginx::str_of(target.unwrap_or_default());
        if target.is_some_and(|target| target.starts_with(b"@")) {
            ngx_http_named_location(r, &raw mut uri);
        } else {
            let mut args = ngx_str_t { len: 0, data: ptr::null_mut() };
            let mut flags = NGX_HTTP_LOG_UNSAFE as ngx_uint_t;
            if ngx_http_parse_unsafe_uri(r, &raw mut uri, &raw mut args, &raw mut flags) != NGX_OK as ngx_int_t {
                ngx_http_finalize_request(r, NGX_HTTP_NOT_FOUND as ngx_int_t);
                return;
            }
            if (*r).method != NGX_HTTP_HEAD as usize {
                (*r).method = NGX_HTTP_GET as usize;
                (*r).method_name = ngx_http_core_get_method;
            }
            ngx_http_internal_redirect(r, &raw mut uri, &raw mut args);
        }
        ngx_http_finalize_request(r, nginx_sys::NGX_DONE as ngx_int_t);
    }
}

/// Frees what the request's buffers hold.
///
/// # Safety
/// nginx looks at them no more.
pub unsafe fn drop_pieces(this: &mut Exchange) {
    for out in this.busy.drain(..) {
        // SAFETY: made by out_buf, in the pool that goes after this.
        drop(unsafe { (*out).piece.take() });
    }
}
