//! The module's functions by the fake host: those that lua/resty/nffi/ffi.lua declares (that the
//! signatures are the module's is tested, tests/lua/agreement.rs), and those of Lua's own interface.

use std::{
    ffi::{c_char, c_int, c_void},
    fmt::Write,
    ptr, slice,
};

use mlua::lua_State;

use crate::host::{self, Host, Say};

unsafe extern "C-unwind" {
    // OpenResty's LuaJIT has it; the module looks it up the same way.
    fn lua_isyieldable(lua: *mut lua_State) -> c_int;
    fn lua_pushboolean(lua: *mut lua_State, value: c_int);
    fn lua_pushlstring(lua: *mut lua_State, data: *const c_char, len: usize);
    fn lua_pushnil(lua: *mut lua_State);
    fn lua_pushnumber(lua: *mut lua_State, value: f64);
    fn lua_tolstring(lua: *mut lua_State, index: c_int, len: *mut usize) -> *const c_char;
    fn lua_tonumber(lua: *mut lua_State, index: c_int) -> f64;
}

/// What the module puts into package.preload.
pub const FUNCTIONS: [(&str, CFunction); 3] =
    [("resty.nffi.can_yield", can_yield), ("resty.nffi.submit", submit), ("resty.nffi.take", take)];

type CFunction = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

unsafe extern "C-unwind" fn can_yield(lua: *mut lua_State) -> c_int {
    // SAFETY: called by Lua, with a slot to push to.
    unsafe { lua_pushboolean(lua, lua_isyieldable(lua)) };
    1
}

const FAILED: c_int = -1;
const DONE: c_int = 0;
const YIELD: c_int = 1;

#[repr(C)]
pub struct Reply {
    data: *const c_char,
    len: f64,
    status: c_int,
    own: c_int,
}

#[repr(C)]
pub struct LuaSettings {
    queue: f64,
    tasks: f64,
    timeout: f64,
    stop_timeout: f64,
    max_request: f64,
    max_response: f64,
    spin: f64,
}

#[repr(C)]
pub struct LuaStats {
    name: *const c_char,
    name_len: usize,
    library: *const c_char,
    library_len: usize,
    error: *const c_char,
    error_len: usize,
    state: c_int,
    declared: c_int,
    queued: f64,
    in_flight: f64,
    abandoned: f64,
    calls: f64,
    casts: f64,
    answers: f64,
    errors: f64,
    timeouts: f64,
    cancelled: f64,
    rejected: f64,
    bad_answers: f64,
    dropped_logs: f64,
}

#[repr(C)]
pub struct LuaStream {
    number: u32,
    serial: u32,
}

/// # Safety
/// `data` has `len` bytes, or `len` is 0.
unsafe fn bytes<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    if len == 0 { &[] } else { unsafe { slice::from_raw_parts(data.cast(), len) } }
}

fn quoted(bytes: &[u8]) -> String {
    if bytes.len() > 300 { format!("{} bytes", bytes.len()) } else { format!("\"{}\"", bytes.escape_ascii()) }
}

/// `-` for no request, else what `vm` has made up as its address.
fn request(address: usize) -> String {
    if address == 0 { "-".to_owned() } else { format!("r{address:x}") }
}

fn side(side: c_int) -> String {
    match side {
        0 => "receive".to_owned(),
        1 => "send".to_owned(),
        other => format!("side {other}"),
    }
}

/// Writes the call down, and replies what the script says to it.
///
/// # Safety
/// `reply` is the structure that Lua shares with all functions.
unsafe fn answer(function: &'static str, arguments: &str, reply: *mut Reply) -> c_int {
    // SAFETY: the caller's promise.
    let reply = unsafe { &mut *reply };
    host::with(|host| {
        host.journal.push(format!("{function} {arguments}"));
        let say = host.says(function);
        say_it(host, say, reply)
    })
}

fn say_it(host: &mut Host, say: Say, reply: &mut Reply) -> c_int {
    let (rc, data, status, own) = match say {
        Say::Done | Say::Echo => return unread(DONE, reply),
        Say::Number(number) => return unread(number, reply),
        Say::Yield => return unread(YIELD, reply),
        Say::Data(data) => (DONE, data, 0, false),
        Say::Own(words) => (FAILED, words.as_bytes().to_vec(), 0, true),
        Say::Runtime(status, message) => (FAILED, message, status, false),
    };
    let data = host.keep(data, own);
    *reply = Reply { data: data.as_ptr().cast(), len: data.len() as f64, status, own: c_int::from(own) };
    rc
}

/// A reply that must not be read: it shows if it is.
fn unread(rc: c_int, reply: &mut Reply) -> c_int {
    let data = b"not for reading";
    *reply = Reply { data: data.as_ptr().cast(), len: data.len() as f64, status: 99, own: 0 };
    rc
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_find(name: *const c_char, len: usize, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the string, and the structure.
    unsafe { answer("find", &quoted(bytes(name, len)), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_load(
    name: *const c_char,
    name_len: usize,
    config: *const c_char,
    config_len: usize,
    settings: *const LuaSettings,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua holds the strings, and the structures.
    let (name, config, s) = unsafe { (bytes(name, name_len), bytes(config, config_len), &*settings) };
    let mut line = format!("{} {}", quoted(name), quoted(config));
    let given = [
        ("queue", s.queue),
        ("tasks", s.tasks),
        ("timeout", s.timeout),
        ("stop_timeout", s.stop_timeout),
        ("max_request", s.max_request),
        ("max_response", s.max_response),
        ("spin", s.spin),
    ];
    for (option, value) in given.into_iter().filter(|(_, value)| !value.is_nan()) {
        let _ = write!(line, " {option}={value}");
    }
    // SAFETY: as above.
    unsafe { answer("load", &line, reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_ready(r: *mut c_void, runtime: u32, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structure.
    unsafe { answer("ready", &format!("{} {runtime}", request(r.addr())), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_unload(runtime: u32, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structure.
    unsafe { answer("unload", &runtime.to_string(), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_stats(runtime: u32, stats: *mut LuaStats, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structures.
    let (stats, reply) = unsafe { (&mut *stats, &mut *reply) };
    host::with(|host| {
        let Some(facts) = host.runtimes.get(runtime as usize) else {
            return say_it(host, Say::Own("no such runtime"), reply);
        };
        let [queued, in_flight, abandoned, calls, casts, answers, errors, timeouts, cancelled, rejected, bad, dropped] =
            facts.counts;
        *stats = LuaStats {
            name: facts.name.as_ptr().cast(),
            name_len: facts.name.len(),
            library: facts.library.as_ptr().cast(),
            library_len: facts.library.len(),
            error: facts.error.as_ptr().cast(),
            error_len: facts.error.len(),
            state: facts.state,
            declared: facts.declared,
            queued,
            in_flight,
            abandoned,
            calls,
            casts,
            answers,
            errors,
            timeouts,
            cancelled,
            rejected,
            bad_answers: bad,
            dropped_logs: dropped,
        };
        DONE
    })
}

/// `resty.nffi.submit`, as Lua's own interface has it.
pub unsafe extern "C-unwind" fn submit(lua: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with a number, a string and a number.
    let (runtime, data, wanted) = unsafe {
        let mut len = 0;
        let data = lua_tolstring(lua, 2, &mut len);
        (lua_tonumber(lua, 1), bytes(data, len), lua_tonumber(lua, 3))
    };
    // SAFETY: called by Lua.
    let yieldable = unsafe { lua_isyieldable(lua) } != 0;
    let mut reply = Reply { data: ptr::null(), len: 0.0, status: 0, own: 1 };
    let said = host::with(|host| {
        if !yieldable || host.request == 0 {
            return None;
        }
        host.journal.push(format!("call {} {runtime} {} {wanted}", request(host.request), quoted(data)));
        let say = match host.says("call") {
            Say::Echo => {
                host.last_owner += 1;
                host.kept.insert(host.last_owner, data.to_vec());
                Say::Number(host.last_owner as c_int)
            }
            say => say,
        };
        Some(say_it(host, say, &mut reply))
    });
    // SAFETY: called by Lua; the host keeps what the reply points to.
    unsafe {
        match said {
            None => 0,
            Some(owner) if owner >= 0 => {
                lua_pushnumber(lua, f64::from(owner));
                1
            }
            Some(_) => push_failure(lua, &reply),
        }
    }
}

/// `resty.nffi.take`, likewise.
pub unsafe extern "C-unwind" fn take(lua: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with a number.
    let owner = unsafe { lua_tonumber(lua, 1) } as u32;
    let mut reply = Reply { data: ptr::null(), len: 0.0, status: 0, own: 1 };
    let rc = host::with(|host| {
        host.journal.push(format!("take {owner}"));
        match (host.says("take"), host.kept.remove(&owner)) {
            (Say::Echo, Some(kept)) => say_it(host, Say::Data(kept), &mut reply),
            (Say::Echo, None) => say_it(host, Say::Own("taken twice"), &mut reply),
            (say, _) => say_it(host, say, &mut reply),
        }
    });
    // SAFETY: called by Lua; the host keeps what the reply points to.
    unsafe {
        if rc != DONE {
            return push_failure(lua, &reply);
        }
        lua_pushlstring(lua, reply.data, reply.len as usize);
    }
    1
}

/// # Safety
/// Called by Lua; the reply is filled in.
unsafe fn push_failure(lua: *mut lua_State, reply: &Reply) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        lua_pushnil(lua);
        lua_pushlstring(lua, reply.data, reply.len as usize);
        if reply.own != 0 {
            return 2;
        }
        lua_pushnumber(lua, f64::from(reply.status));
    }
    3
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_cast(
    r: *mut c_void,
    runtime: u32,
    data: *const c_char,
    len: usize,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua holds the string, and the structure.
    unsafe { answer("cast", &format!("{} {runtime} {}", request(r.addr()), quoted(bytes(data, len))), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_open(
    r: *mut c_void,
    runtime: u32,
    data: *const c_char,
    len: usize,
    more: c_int,
    stream: *mut LuaStream,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua holds the string, and the structures.
    unsafe {
        let line = format!("{} {runtime} {} more={more}", request(r.addr()), quoted(bytes(data, len)));
        let rc = answer("open", &line, reply);
        if rc == DONE {
            host::with(|host| {
                host.serial += 1;
                host.open.push(host.serial);
                *stream = LuaStream { number: 0, serial: host.serial };
            });
        }
        rc
    }
}

/// A function of a stream: "closed" where that is not open.
///
/// # Safety
/// Lua holds both structures.
unsafe fn of_stream(function: &'static str, stream: *const LuaStream, rest: &str, reply: *mut Reply) -> c_int {
    // SAFETY: the caller's promise.
    let (serial, said) = unsafe { ((*stream).serial, &mut *reply) };
    if host::with(|host| !host.open.contains(&serial)) {
        host::note(&format!("{function} of no stream"));
        return host::with(|host| say_it(host, Say::Own("closed"), said));
    }
    // SAFETY: the caller's promise.
    unsafe { answer(function, format!("s{serial} {rest}").trim_end(), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_send(
    stream: *const LuaStream,
    data: *const c_char,
    len: usize,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua holds the string, and the structures.
    unsafe { of_stream("send", stream, &quoted(bytes(data, len)), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_shutdown(stream: *const LuaStream, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structures.
    unsafe { of_stream("shutdown", stream, "", reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_receive(stream: *const LuaStream, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structures.
    unsafe { of_stream("receive", stream, "", reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_wait(
    r: *mut c_void,
    stream: *const LuaStream,
    which: c_int,
    wanted: f64,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua holds the structures.
    unsafe { of_stream("wait", stream, &format!("{} {} {wanted}", request(r.addr()), side(which)), reply) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_resumed(stream: *const LuaStream, which: c_int, reply: *mut Reply) -> c_int {
    // SAFETY: Lua holds the structures.
    unsafe { of_stream("resumed", stream, &side(which), reply) }
}

/// Only a close of an open stream is worth a line: as in the module, another one does nothing.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_close(stream: *mut LuaStream) {
    // SAFETY: Lua holds the structure.
    let stream = unsafe { &mut *stream };
    host::with(|host| {
        if let Some(at) = host.open.iter().position(|&serial| serial == stream.serial) {
            host.open.remove(at);
            host.journal.push(format!("close s{}", stream.serial));
        }
    });
    stream.serial = 0;
}
