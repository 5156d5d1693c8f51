//! An answer, as `resty_ffi` returns it.

use std::ffi::c_int;

use nffi_core::{dispatch::Outcome, slot::Answer};

use crate::{
    lua::{self, Reply},
    luajit::{self, Frame},
};

/// Lua: `seed_take(number)`. The coroutine has resumed: returns true and the answer, nil where the
/// runtime gave none; or false, the runtime's rc, and its message or nil; or false and a message of
/// nffi's own.
pub unsafe extern "C-unwind" fn take(lua: luajit::State) -> c_int {
    // SAFETY: called by LuaJIT.
    let Some(lua) = (unsafe { Frame::new(lua) }) else { return 0 };
    let mut reply = Reply::empty();
    let rc = lua::enter(&mut reply, |worker, reply| match lua::outcome(worker, lua.number(1) as u32) {
        Ok(Outcome::Answer(Answer { status, data })) => reply.bytes(worker, status, data),
        Ok(outcome) => reply.outcome(worker, outcome),
        Err(why) => reply.fail(worker, why),
    });
    lua.push_boolean(rc == lua::DONE);
    let mut pushed = 2;
    if let Some(status) = reply.failure() {
        lua.push_number(f64::from(status));
        pushed = 3;
    }
    // SAFETY: what a reply points to outlives the call.
    unsafe { reply.push_data(lua) };
    pushed
}
