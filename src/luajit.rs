//! LuaJIT's C interface, as far as a call needs it. Looked up at run time, so that the module loads
//! in an nginx without Lua; once, before any library is loaded: a look-up waits for the dynamic
//! linker while another thread loads one.
//!
//! Why not FFI, as for the rest: a coroutine that yields is never compiled, and LuaJIT's
//! interpreter takes several times as long for a call through FFI as for one of these.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use crate::sema::symbol;

/// A `lua_State`.
pub type State = *mut c_void;

/// A `lua_CFunction`. Pushing may raise an error (no memory), which unwinds through the function:
/// hence its ABI, and nothing in its frame may need a drop by then.
pub type Function = unsafe extern "C-unwind" fn(State) -> c_int;

#[derive(Debug, Clone, Copy)]
pub struct Api {
    is_yieldable: unsafe extern "C" fn(State) -> c_int,
    exdata: unsafe extern "C" fn(State) -> *mut c_void,
    kind: unsafe extern "C" fn(State, c_int) -> c_int,
    to_number: unsafe extern "C" fn(State, c_int) -> f64,
    to_string: unsafe extern "C-unwind" fn(State, c_int, *mut usize) -> *const c_char,
    push_boolean: unsafe extern "C" fn(State, c_int),
    push_nil: unsafe extern "C" fn(State),
    push_number: unsafe extern "C" fn(State, f64),
    push_string: unsafe extern "C-unwind" fn(State, *const c_char, usize),
}

/// LUA_TNUMBER and LUA_TSTRING.
const NUMBER: c_int = 3;
const STRING: c_int = 4;

static API: OnceLock<Api> = OnceLock::new();

/// Looks everything up; false in an nginx without OpenResty's LuaJIT.
pub fn find() -> bool {
    // SAFETY: the types are those of LuaJIT's lua.h.
    let api = unsafe { look_up() };
    // The same each time: LuaJIT stays loaded.
    api.map(|api| API.set(api)).is_some()
}

/// # Safety
/// Nothing but OpenResty's LuaJIT exports these names.
unsafe fn look_up() -> Option<Api> {
    // SAFETY: the caller's promise.
    unsafe {
        Some(Api {
            is_yieldable: symbol(c"lua_isyieldable")?,
            exdata: symbol(c"lua_getexdata")?,
            kind: symbol(c"lua_type")?,
            to_number: symbol(c"lua_tonumber")?,
            to_string: symbol(c"lua_tolstring")?,
            push_boolean: symbol(c"lua_pushboolean")?,
            push_nil: symbol(c"lua_pushnil")?,
            push_number: symbol(c"lua_pushnumber")?,
            push_string: symbol(c"lua_pushlstring")?,
        })
    }
}

/// A running C function's view of its VM: its arguments, and what it returns.
#[derive(Clone, Copy)]
pub struct Frame {
    api: &'static Api,
    state: State,
}

impl Frame {
    /// # Safety
    /// `state` is what LuaJIT has just called a [`Function`] with, and the frame is gone when that
    /// returns.
    pub unsafe fn new(state: State) -> Option<Self> {
        Some(Self { api: API.get()?, state })
    }

    /// Can the running coroutine yield here? Not inside gsub's callback, sort's comparison or
    /// require; LuaJIT's own metamethods can.
    pub fn is_yieldable(self) -> bool {
        // SAFETY: the frame's promise; so below.
        unsafe { (self.api.is_yieldable)(self.state) != 0 }
    }

    /// ngx_lua's: the request that this coroutine runs for, or NULL.
    pub fn exdata(self) -> *mut c_void {
        // SAFETY: as above.
        unsafe { (self.api.exdata)(self.state) }
    }

    /// A number of a runtime or of a call; `None` for anything else.
    pub fn index(self, argument: c_int) -> Option<u32> {
        // SAFETY: as above.
        if unsafe { (self.api.kind)(self.state, argument) } != NUMBER {
            return None;
        }
        let value = self.number(argument);
        (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
    }

    /// 0 where there is no number.
    pub fn number(self, argument: c_int) -> f64 {
        // SAFETY: as above.
        unsafe { (self.api.to_number)(self.state, argument) }
    }

    /// A string, which lives as long as the frame: the VM holds the argument. NULL where there is none;
    /// a number is none.
    pub fn string(self, argument: c_int) -> (*const c_char, usize) {
        let mut len = 0;
        // SAFETY: as above.
        if unsafe { (self.api.kind)(self.state, argument) } != STRING {
            return (ptr::null(), 0);
        }
        // SAFETY: as above.
        let data = unsafe { (self.api.to_string)(self.state, argument, &mut len) };
        (data, len)
    }

    pub fn push_boolean(self, value: bool) {
        // SAFETY: as above; LuaJIT gives every function room for 20 values.
        unsafe { (self.api.push_boolean)(self.state, c_int::from(value)) };
    }

    pub fn push_nil(self) {
        // SAFETY: as in push_boolean.
        unsafe { (self.api.push_nil)(self.state) };
    }

    pub fn push_number(self, value: f64) {
        // SAFETY: as in push_boolean.
        unsafe { (self.api.push_number)(self.state, value) };
    }

    /// Copies `len` bytes. May run finalizers, and raise an error.
    ///
    /// # Safety
    /// `data` has `len` bytes, also while finalizers call this module.
    pub unsafe fn push_string(self, data: *const c_char, len: usize) {
        // SAFETY: as in push_boolean, and the caller's promise.
        unsafe { (self.api.push_string)(self.state, data, len) };
    }
}
