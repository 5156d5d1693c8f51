//! Calls and casts.

use std::ffi::{c_char, c_int};

use nffi_core::{
    buf::Buf,
    dispatch::{NOBODY, Outcome, Submission},
    meter::End,
};
use nginx_sys::ngx_http_request_t;

use super::{DONE, Reply, bytes, deadline, enter, request_id, timeout};
use crate::{
    luajit::{self, Frame},
    worker::Worker,
};

/// Lua: `submit(runtime, request, timeout)`. Submits a call of the running coroutine and puts it to
/// sleep. A request of nil, which only the seed's runtimes are given, is NULL. Returns the number to
/// take the answer by, after the yield that must follow; or nil and why nothing was submitted; or
/// nothing where the coroutine cannot yield here.
pub unsafe extern "C-unwind" fn submit(lua: luajit::State) -> c_int {
    // SAFETY: called by LuaJIT.
    let Some(lua) = (unsafe { Frame::new(lua) }) else { return 0 };
    let r = lua.exdata().cast::<ngx_http_request_t>();
    if r.is_null() || !lua.is_yieldable() {
        return 0;
    }
    let mut reply = Reply::empty();
    let Some(runtime) = lua.index(1) else {
        return enter_and_refuse(lua, &mut reply);
    };
    let (data, len) = lua.string(2);
    // SAFETY: the string is an argument: it lives until we return.
    let data = (!data.is_null()).then(|| unsafe { bytes(data, len) });
    let owner = call(r, runtime, data, lua.number(3), &mut reply);
    if owner < 0 {
        // SAFETY: call() has filled the reply in.
        return unsafe { reply.push_failure(lua) };
    }
    lua.push_number(f64::from(owner));
    1
}

/// rt.call(…) for rt:call(…).
fn enter_and_refuse(lua: Frame, reply: &mut Reply) -> c_int {
    enter(reply, |worker, reply| reply.fail(worker, "bad runtime: call its methods with a colon, rt:call(...)"));
    // SAFETY: enter() has filled the reply in.
    unsafe { reply.push_failure(lua) }
}

fn call(r: *mut ngx_http_request_t, runtime: u32, data: Option<&[u8]>, wanted: f64, reply: &mut Reply) -> c_int {
    enter(reply, |worker, reply| {
        let Some(default) = worker.dispatch.entry(runtime).map(|e| e.runtime.settings.timeout) else {
            return reply.fail(worker, "no such runtime");
        };
        let Some(timeout) = timeout(wanted, default) else {
            return reply.fail(worker, "bad timeout");
        };
        if let Err(refusal) = worker.admit(runtime, data.map_or(0, <[u8]>::len)) {
            return reply.fail(worker, refusal.words());
        }
        let Some(data) = data.map_or(Some(Buf::none()), Buf::copy_of) else {
            return reply.fail(worker, "no memory");
        };
        // SAFETY: the request that Lua runs for.
        let (request_id, witness) = unsafe { (request_id(r), worker.witness(r, "call")) };
        let Some(owners) = &mut worker.owners else {
            return reply.fail(worker, "no ngx_lua in this nginx");
        };
        // From here on nothing fails: a wait that is not followed by a yield would break ngx_lua.
        let owner = match owners.sleep_for_call(r, timeout) {
            Ok(owner) => owner,
            Err(why) => return reply.fail(worker, why),
        };
        let task = worker.submit(
            runtime,
            Submission { deadline: deadline(timeout), request_id, witness, ..Submission::new(data, owner) },
        );
        if let Some(owners) = &mut worker.owners {
            owners.set_task(owner, task);
        }
        owner as c_int
    })
}

/// Lua: `take(number)`. The coroutine has resumed: returns its answer; or nil, message, status. An
/// answer that is there beats the timeout that may have resumed it (timers run before posted
/// events).
pub unsafe extern "C-unwind" fn take(lua: luajit::State) -> c_int {
    // SAFETY: called by LuaJIT.
    let Some(lua) = (unsafe { Frame::new(lua) }) else { return 0 };
    let mut reply = Reply::empty();
    let Some(owner) = lua.index(1) else {
        return enter_and_refuse(lua, &mut reply);
    };
    let rc = taken(owner, &mut reply);
    // SAFETY: taken() has filled the reply in, and what it points to outlives the call.
    unsafe {
        if rc != DONE {
            return reply.push_failure(lua);
        }
        reply.push_data(lua);
    }
    1
}

fn taken(owner: u32, reply: &mut Reply) -> c_int {
    enter(reply, |worker, reply| match outcome(worker, owner) {
        Ok(outcome) => reply.outcome(worker, outcome),
        Err(why) => reply.fail(worker, why),
    })
}

/// How the call of a coroutine that has resumed went; or why it has no outcome.
pub fn outcome(worker: &mut Worker, owner: u32) -> Result<Outcome, &'static str> {
    let call = worker.owners.as_mut().and_then(|owners| owners.take_call(owner));
    let call = call.ok_or("resumed by something else while waiting")?;
    let task = call.task;
    worker.owners.as_mut().and_then(|owners| owners.recycle(call)).ok_or_else(|| {
        worker.cancel_as(task, End::Timeout);
        "timeout"
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
    // SAFETY: Lua passes its one reply structure, and a string that it holds.
    let (reply, data) = unsafe { (&mut *reply, bytes(data, len)) };
    enter(reply, |worker, reply| {
        if let Err(refusal) = worker.admit(runtime, data.len()) {
            return reply.fail(worker, refusal.words());
        }
        let Some(data) = Buf::copy_of(data) else {
            return reply.fail(worker, "no memory");
        };
        // SAFETY: NULL, or the request that Lua runs for.
        let (request_id, witness) = unsafe { (request_id(r), worker.witness(r, "cast")) };
        let submission = Submission { request_id, witness, ..Submission::new(data, NOBODY) };
        worker.submit(runtime, submission);
        DONE
    })
}
