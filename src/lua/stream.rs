//! Streams: an answer piece by piece, and a request too.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::Arc,
};

use nffi_core::{buf::Buf, dispatch::Submission, pipe::Pieces};
use nginx_sys::{ngx_http_cleanup_add, ngx_http_cleanup_t, ngx_http_request_t};

use super::{DONE, FAILED, Reply, YIELD, bytes, enter, request_id, timeout};
use crate::{
    owner::{Side, Stream},
    worker::{self, Worker},
};

/// A stream as Lua holds it. `ngx_http_nffi_lua_stream_t`. A serial of 0 is never a stream.
#[repr(C)]
pub struct LuaStream {
    number: u32,
    serial: u32,
}

/// Opens a stream; `more`: pieces of the request will follow `data`. It belongs to the request,
/// and is closed with it.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_open(
    r: *mut ngx_http_request_t,
    runtime: u32,
    data: *const c_char,
    len: usize,
    more: c_int,
    stream: *mut LuaStream,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua passes its own structures, and a string that it holds.
    let (reply, data, stream) = unsafe { (&mut *reply, bytes(data, len), &mut *stream) };
    enter(reply, |worker, reply| {
        if let Err(refusal) = worker.admit(runtime, data.len()) {
            return reply.fail(worker, refusal.words());
        }
        let Some(data) = Buf::copy_of(data) else {
            return reply.fail(worker, "no memory");
        };
        let Some(owners) = &mut worker.owners else {
            return reply.fail(worker, "no ngx_lua in this nginx");
        };
        // SAFETY: the request that Lua runs for.
        let cleanup = unsafe { cleanup_of(r) };
        if cleanup.is_null() {
            return reply.fail(worker, "no memory");
        }
        let pieces = Arc::new(Pieces::default());
        let (number, serial) = owners.add_stream(runtime, pieces.clone());
        (stream.number, stream.serial) = (number, serial);
        // SAFETY: in the request's pool; cleared when the stream is closed before the request.
        unsafe { (*cleanup).data = pack(number, serial) };
        if let Some(open) = owners.stream(number, serial) {
            open.cleanup = cleanup;
            open.sent_eof = more == 0;
        }
        let task = worker.submit(
            runtime,
            Submission {
                // SAFETY: the request that Lua runs for.
                request_id: unsafe { request_id(r) },
                // SAFETY: the same.
                witness: unsafe { worker.witness(r, "stream") },
                pieces: Some(pieces),
                more: more != 0,
                ..Submission::new(data, number)
            },
        );
        if let Some(owners) = &mut worker.owners {
            owners.set_task(number, task);
        }
        DONE
    })
}

/// A cleanup of the request for one more stream: one that a closed stream has left, or a new one.
///
/// # Safety
/// `r` is a request that Lua runs for.
unsafe fn cleanup_of(r: *mut ngx_http_request_t) -> *mut ngx_http_cleanup_t {
    // SAFETY: nginx's list of the main request; all on the event loop's thread.
    unsafe {
        let mut cleanup = (*(*r).main).cleanup;
        while !cleanup.is_null() {
            if (*cleanup).handler.is_some_and(|h| h as usize == request_ended as *const () as usize)
                && (*cleanup).data.is_null()
            {
                return cleanup;
            }
            cleanup = (*cleanup).next;
        }
        let cleanup = ngx_http_cleanup_add(r, 0);
        if !cleanup.is_null() {
            (*cleanup).handler = Some(request_ended);
            (*cleanup).data = ptr::null_mut();
        }
        cleanup
    }
}

/// Number and serial in the shape of a pointer; never NULL, serials start at 1.
fn pack(number: u32, serial: u32) -> *mut c_void {
    ptr::without_provenance_mut(((serial as usize) << 32) | number as usize)
}

/// The request that opened the stream is over.
unsafe extern "C" fn request_ended(stream: *mut c_void) {
    let (number, serial) = (stream.addr() as u32, (stream.addr() >> 32) as u32);
    worker::with(|worker| {
        if let Some(open) = worker.owners.as_mut().and_then(|owners| owners.stream(number, serial)) {
            open.cleanup = ptr::null_mut();
            close(worker, number, serial);
        }
    });
}

/// Closes the stream: a task that has not ended is cancelled.
fn close(worker: &mut Worker, number: u32, serial: u32) {
    let Some(owners) = &mut worker.owners else { return };
    let Some(stream) = owners.stream(number, serial) else { return };
    let task = if stream.ended.is_none() { stream.task } else { 0 };
    owners.forget(number);
    worker.cancel(task);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_close(stream: *mut LuaStream) {
    // SAFETY: Lua's structure. May run in a finalizer, also while the VM goes down.
    let stream = unsafe { &mut *stream };
    worker::with(|worker| close(worker, stream.number, stream.serial));
    stream.serial = 0;
}

/// Sends a piece. DONE: the window is open; YIELD: the piece is sent, wait before the next.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_send(
    stream: *const LuaStream,
    data: *const c_char,
    len: usize,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua's structures, and a string that it holds.
    let (stream, reply, data) = unsafe { (&*stream, &mut *reply, bytes(data, len)) };
    enter(reply, |worker, reply| {
        let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) else {
            return reply.fail(worker, "closed");
        };
        if open.ended.is_some() || open.sent_eof {
            return reply.fail(worker, "closed");
        }
        let (task, pieces, runtime) = (open.task, open.pieces.clone(), open.runtime);
        open.spend(data.len());
        let enough = open.has_spent_enough();
        let limit = worker.dispatch.entry(runtime).map_or(0, |e| e.runtime.settings.max_request);
        if data.len() > limit {
            return reply.fail(worker, "request too large");
        }
        let Some(piece) = Buf::copy_of(data) else {
            return reply.fail(worker, "no memory");
        };
        let sent = worker.dispatch.send(task, &pieces, Some(piece));
        worker.after();
        match sent {
            Ok(false) if !enough => DONE,
            Ok(_) => YIELD,
            Err(_) => reply.fail(worker, "closed"),
        }
    })
}

/// No more of the request follows.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_shutdown(stream: *const LuaStream, reply: *mut Reply) -> c_int {
    // SAFETY: Lua's structures.
    let (stream, reply) = unsafe { (&*stream, &mut *reply) };
    enter(reply, |worker, reply| {
        let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) else {
            return reply.fail(worker, "closed");
        };
        if std::mem::replace(&mut open.sent_eof, true) || open.ended.is_some() {
            return DONE;
        }
        let (task, pieces) = (open.task, open.pieces.clone());
        // A task that is over needs no end of its request.
        let _ = worker.dispatch.send(task, &pieces, None);
        worker.after();
        DONE
    })
}

/// Takes a piece of the answer. DONE: there it is; YIELD: none yet; FAILED: the end, with the
/// message "closed" where it was a clean one.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_receive(stream: *const LuaStream, reply: *mut Reply) -> c_int {
    // SAFETY: Lua's structures.
    let (stream, reply) = unsafe { (&*stream, &mut *reply) };
    enter(reply, |worker, reply| {
        let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) else {
            return reply.fail(worker, "closed");
        };
        if open.has_spent_enough() && !open.pieces.answer.is_empty() {
            return YIELD;
        }
        let (task, pieces) = (open.task, open.pieces.clone());
        if let Some(piece) = worker.dispatch.receive(task, &pieces) {
            worker.after();
            if let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) {
                // What is kept until the loop runs again is bounded by this, too.
                open.spend(piece.len());
            }
            reply.set(worker.keep(piece).as_slice(), 0, false);
            return DONE;
        }
        let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) else {
            return FAILED;
        };
        match open.ended.take() {
            None => YIELD,
            Some(outcome) => last_words(worker, stream, reply, outcome),
        }
    })
}

/// The task has ended and all its pieces are taken: what is left is the data of reply(), if any.
fn last_words(
    worker: &mut Worker,
    stream: &LuaStream,
    reply: &mut Reply,
    outcome: nffi_core::dispatch::Outcome,
) -> c_int {
    use nffi_core::{dispatch::Outcome, slot::Answer};
    let (said, left) = match outcome {
        Outcome::Answer(Answer { status: 0, data }) if !data.is_empty() => {
            reply.set(worker.keep(data).as_slice(), 0, false);
            (DONE, Answer { status: 0, data: Buf::none() })
        }
        Outcome::Answer(Answer { status: 0, data }) => {
            reply.fail(worker, "closed");
            (FAILED, Answer { status: 0, data })
        }
        other => {
            reply.outcome(worker, other);
            (FAILED, Answer { status: 0, data: Buf::none() })
        }
    };
    // From now on: closed.
    if let Some(open) = worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)) {
        open.ended = Some(Outcome::Answer(left));
    }
    said
}

/// Puts the running coroutine to sleep until the side has news (`side` 0: receive, 1: send).
/// YIELD: it must yield now.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_wait(
    r: *mut ngx_http_request_t,
    stream: *const LuaStream,
    side: c_int,
    wanted: f64,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua's structures; r is the request that Lua runs for.
    let (stream, reply) = unsafe { (&*stream, &mut *reply) };
    let side = if side == 0 { Side::Receive } else { Side::Send };
    enter(reply, |worker, reply| {
        let Some(runtime) =
            worker.owners.as_mut().and_then(|o| o.stream(stream.number, stream.serial)).map(|open| open.runtime)
        else {
            return reply.fail(worker, "closed");
        };
        let default = worker.dispatch.entry(runtime).map_or(0, |e| e.runtime.settings.timeout);
        let Some(timeout) = timeout(wanted, default) else {
            return reply.fail(worker, "bad timeout");
        };
        let Some(owners) = &mut worker.owners else { return FAILED };
        match owners.sleep_for_stream(r, timeout, stream.number, side) {
            Ok(()) => {
                let rests = owners.stream(stream.number, stream.serial).is_some_and(Stream::rest);
                if rests {
                    // There is news already; but it is others' turn.
                    worker.wake_stream_later(stream.number, side);
                } else {
                    // What came between the look and the wait will not be told again.
                    owners.wake_stream(stream.number);
                }
                worker.after();
                YIELD
            }
            Err(why) => reply.fail(worker, why),
        }
    })
}

/// The coroutine that waited on the side has resumed. DONE: there was news; FAILED: the timeout.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_resumed(stream: *const LuaStream, side: c_int, reply: *mut Reply) -> c_int {
    // SAFETY: Lua's structures.
    let (stream, reply) = unsafe { (&*stream, &mut *reply) };
    let side = if side == 0 { Side::Receive } else { Side::Send };
    enter(reply, |worker, reply| {
        let Some(owners) = &mut worker.owners else { return FAILED };
        if owners.stream(stream.number, stream.serial).is_none() {
            return reply.fail(worker, "closed");
        }
        if owners.settle_stream(stream.number, side) { DONE } else { reply.fail(worker, "timeout") }
    })
}
