//! Calls and casts.

use std::ffi::{c_char, c_int};

use nffi_core::{
    buf::Buf,
    dispatch::{NOBODY, Submission},
};
use nginx_sys::ngx_http_request_t;

use super::{DONE, FAILED, Reply, bytes, deadline, enter, request_id, timeout};

/// Submits a call of the running coroutine and puts it to sleep. Returns the number to take the
/// answer by, after the yield that must follow; negative: nothing was submitted.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_call(
    r: *mut ngx_http_request_t,
    runtime: u32,
    data: *const c_char,
    len: usize,
    wanted: f64,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua passes its one reply structure, and a string that it holds.
    let (reply, data) = unsafe { (&mut *reply, bytes(data, len)) };
    enter(reply, |worker, reply| {
        let Some(default) = worker.dispatch.entry(runtime).map(|e| e.runtime.settings.timeout) else {
            return reply.fail(worker, "no such runtime");
        };
        let Some(timeout) = timeout(wanted, default) else {
            return reply.fail(worker, "bad timeout");
        };
        if let Err(refusal) = worker.dispatch.admit(runtime, data.len()) {
            return reply.fail(worker, refusal.words());
        }
        let Some(data) = Buf::copy_of(data) else {
            return reply.fail(worker, "no memory");
        };
        let Some(owners) = &mut worker.owners else {
            return reply.fail(worker, "no ngx_lua in this nginx");
        };
        // From here on nothing fails: a wait that is not followed by a yield would break ngx_lua.
        let owner = match owners.sleep_for_call(r, timeout, runtime) {
            Ok(owner) => owner,
            Err(why) => return reply.fail(worker, why),
        };
        let task = worker.submit(
            runtime,
            Submission {
                data,
                deadline: deadline(timeout),
                owner,
                // SAFETY: the request that Lua runs for.
                request_id: unsafe { request_id(r) },
                pieces: None,
                more: false,
            },
        );
        if let Some(owners) = &mut worker.owners {
            owners.set_task(owner, task);
        }
        owner as c_int
    })
}

/// The coroutine has resumed: takes its answer. An answer that is there beats the timeout that
/// may have resumed it (timers run before posted events).
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_take(owner: u32, reply: *mut Reply) -> c_int {
    // SAFETY: as in ngx_http_nffi_lua_call.
    let reply = unsafe { &mut *reply };
    enter(reply, |worker, reply| {
        let Some(owners) = &mut worker.owners else { return FAILED };
        let Some(call) = owners.take_call(owner) else {
            return reply.fail(worker, "resumed by something else while waiting");
        };
        let (task, runtime) = (call.task, call.runtime);
        match owners.recycle(call) {
            Some(outcome) => reply.outcome(worker, outcome),
            None => {
                worker.dispatch.count_timeout(runtime);
                worker.cancel(task);
                reply.fail(worker, "timeout")
            }
        }
    })
}

/// Submits a task whose answer nobody waits for. `r` may be NULL.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_cast(
    r: *mut ngx_http_request_t,
    runtime: u32,
    data: *const c_char,
    len: usize,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: as in ngx_http_nffi_lua_call.
    let (reply, data) = unsafe { (&mut *reply, bytes(data, len)) };
    enter(reply, |worker, reply| {
        if let Err(refusal) = worker.dispatch.admit(runtime, data.len()) {
            return reply.fail(worker, refusal.words());
        }
        let Some(data) = Buf::copy_of(data) else {
            return reply.fail(worker, "no memory");
        };
        // SAFETY: NULL, or the request that Lua runs for.
        let request_id = unsafe { request_id(r) };
        let submission = Submission { data, deadline: 0, owner: NOBODY, request_id, pieces: None, more: false };
        worker.submit(runtime, submission);
        DONE
    })
}
