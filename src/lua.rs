//! What `resty.nffi` calls: through LuaJIT's FFI (the C declarations are in lua/resty/nffi/ffi.lua),
//! and, where every tenth of a microsecond counts, as functions of Lua's own. All run on: event
//! loop. None calls Lua, none panics into it; LuaJIT itself may raise "not enough memory".
//!
//! A function that can fail returns a negative number, and leaves the message in `Reply`. What a
//! `Reply` points to is valid until Lua returns to the event loop: LuaJIT may run finalizers that
//! call us before the caller has copied it.

mod call;
mod load;
mod stream;

use std::{
    borrow::Cow,
    ffi::{CStr, c_char, c_int},
    path::{Path, PathBuf},
    ptr, slice,
    sync::LazyLock,
};

use nffi_core::{abi, buf::Buf, dispatch::Outcome, library, options::MAX_TIMEOUT, slot::Answer};
use nginx_sys::{NGX_LOG_EMERG, NGX_LOG_WARN, ngx_conf_t, ngx_current_msec, ngx_http_request_t, ngx_int_t};

use crate::{
    barrier::barrier,
    conf, errlog,
    luajit::{self, Frame, Function},
    seed,
    sema::symbol,
    worker::{self, Worker},
};

pub use self::call::outcome;

/// The call was refused, or has failed; `Reply` says why.
pub const FAILED: c_int = -1;
pub const DONE: c_int = 0;
/// The coroutine is asleep: it must yield, then ask again.
const YIELD: c_int = 1;

/// Room for every message of nffi's own.
const MESSAGE_CAP: usize = 4096;

/// What a function tells Lua besides its return value. `ngx_http_nffi_lua_reply_t`.
#[repr(C)]
pub struct Reply {
    data: *const c_char,
    /// A double, as it stands in Lua: LuaJIT makes an object of a size_t, and that may run the
    /// collector, whose finalizers may call us.
    len: f64,
    /// The runtime's status; 0 also where the message is nffi's own (see `own`).
    status: c_int,
    /// The message is nffi's own, not the runtime's.
    own: c_int,
}

impl Reply {
    pub const fn empty() -> Self {
        Self { data: ptr::null(), len: 0.0, status: 0, own: 1 }
    }

    fn set(&mut self, bytes: &[u8], status: c_int, own: bool) {
        self.data = bytes.as_ptr().cast();
        self.len = bytes.len() as f64;
        self.status = status;
        self.own = c_int::from(own);
    }

    /// A message of nffi's own.
    pub fn fail(&mut self, worker: &mut Worker, message: impl Into<Cow<'static, str>>) -> c_int {
        match message.into() {
            Cow::Borrowed(message) => self.set(message.as_bytes(), 0, true),
            Cow::Owned(message) => self.set(worker.keep_message(message).as_bytes(), 0, true),
        }
        FAILED
    }

    /// How a task ended.
    pub fn outcome(&mut self, worker: &mut Worker, outcome: Outcome) -> c_int {
        match outcome {
            Outcome::Answer(answer) => self.answer(worker, answer),
            Outcome::TooLarge => self.fail(worker, "answer too large"),
            // Owners of calls have none.
            Outcome::Http(_) => self.fail(worker, "an HTTP answer"),
            Outcome::Failed(why) => self.fail(worker, format!("runtime failed: {why}")),
            Outcome::NoMemory => self.fail(worker, "no memory"),
        }
    }

    fn answer(&mut self, worker: &mut Worker, Answer { status, data }: Answer) -> c_int {
        if status != 0 && data.is_empty() {
            self.set(worker.keep_message(format!("runtime error {status}")).as_bytes(), status, false);
        } else {
            self.set(worker.keep(data).as_slice(), status, false);
        }
        if status == 0 { DONE } else { FAILED }
    }

    /// An answer as it is: no data at all stay NULL.
    pub fn bytes(&mut self, worker: &mut Worker, status: c_int, data: Buf) -> c_int {
        if data.is_none() {
            *self = Self { status, own: 0, ..Self::empty() };
        } else {
            self.set(worker.keep(data).as_slice(), status, false);
        }
        if status == 0 { DONE } else { FAILED }
    }

    /// The runtime's status, where the failure is its own.
    pub fn failure(&self) -> Option<c_int> {
        (self.own == 0 && self.status != 0).then_some(self.status)
    }

    /// Pushes the data; nil where there are none.
    ///
    /// # Safety
    /// The reply has been filled in.
    pub unsafe fn push_data(&self, lua: Frame) {
        if self.data.is_null() {
            lua.push_nil();
        } else {
            // SAFETY: what a reply points to outlives the call.
            unsafe { lua.push_string(self.data, self.len as usize) };
        }
    }

    /// Returns the failure from a function of Lua's own: nil, message, and the runtime's status.
    ///
    /// # Safety
    /// The reply has been filled in.
    unsafe fn push_failure(&self, lua: Frame) -> c_int {
        // A copy: pushing may run finalizers before it looks, and more of their messages than are kept.
        let mut message = [0u8; MESSAGE_CAP];
        // SAFETY: a message has len bytes, and nothing has run since it was made.
        let said = unsafe { bytes(self.data, self.len as usize) };
        let mut from = self.data;
        if let Some(room) = message.get_mut(..said.len()) {
            room.copy_from_slice(said);
            from = message.as_ptr().cast();
        }
        lua.push_nil();
        // SAFETY: ours, on the stack; or a runtime's long message, which is kept as answers are.
        unsafe { lua.push_string(from, said.len()) };
        if self.own != 0 {
            return 2;
        }
        lua.push_number(f64::from(self.status));
        3
    }
}

/// The common frame: the worker, made now where this is its first use, or the message that there
/// is none.
pub fn enter(reply: &mut Reply, f: impl FnOnce(&mut Worker, &mut Reply) -> c_int) -> c_int {
    if !worker::is_up() {
        if !worker::is_worker() {
            // Without a worker to hold the words only what cannot change may be said.
            reply.set(if worker::is_helper() { NO_WORKER } else { DISABLED }.as_bytes(), 0, true);
            return FAILED;
        }
        if let Err(why) = barrier(Ok(()), Worker::ensure) {
            errlog::cycle(NGX_LOG_EMERG as _, format_args!("nffi: {why}"));
        }
    }
    worker::with(|worker| f(worker, reply)).unwrap_or_else(|| {
        reply.set(BROKEN.as_bytes(), 0, true);
        FAILED
    })
}

const DISABLED: &str = "API disabled in the context of init_by_lua*";
const NO_WORKER: &str = "API disabled in this process: it is no worker";
const BROKEN: &str = "runtime failed: nffi could not start in this worker, or was interrupted; see the error log";

/// # Safety
/// `data` has `len` bytes, or `len` is 0.
pub unsafe fn bytes<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// nginx's prefix, which relative paths start from.
pub fn prefix() -> &'static Path {
    // Kept by preload(), before any Lua runs.
    conf::PREFIX.get().map_or(Path::new(""), PathBuf::as_path)
}

/// Milliseconds as Lua gave them: 0 means the runtime's own, a fraction is rounded up.
fn timeout(wanted: f64, default: u64) -> Option<i32> {
    if wanted == 0.0 {
        return i32::try_from(default).ok();
    }
    let up = wanted.ceil();
    (up >= 1.0 && up <= MAX_TIMEOUT as f64).then_some(up as i32)
}

/// When a call of so many ms from now ends, as the ABI counts: CLOCK_MONOTONIC, from the loop's
/// cached time.
fn deadline(timeout: i32) -> u64 {
    // SAFETY: the loop's cached time, read on its own thread.
    (unsafe { ngx_current_msec } as u64 + timeout as u64) * 1_000_000
}

/// What log lines of the request's tasks are marked with: nginx's number of its connection.
///
/// # Safety
/// `r` is NULL or a request that Lua runs for.
unsafe fn request_id(r: *mut ngx_http_request_t) -> u64 {
    if r.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; a request always has a connection.
    unsafe { (*(*r).connection).number }
}

// ---- the functions for Lua's own interface ------------------------------------------------------

/// ngx_lua's; looked up so that the module loads without it.
type AddPreload = unsafe extern "C" fn(*mut ngx_conf_t, *const c_char, Function) -> ngx_int_t;

/// What Lua finds in `package.preload`, to be used as they are.
const FUNCTIONS: [(&CStr, Function); 4] = [
    (c"resty.nffi.can_yield", can_yield),
    (c"resty.nffi.submit", call::submit),
    (c"resty.nffi.take", call::take),
    (c"resty.nffi.seed_take", seed::call::take),
];

/// preconfiguration: makes the functions known to every Lua VM. It has to be now: init_by_lua runs
/// before our postconfiguration.
pub unsafe extern "C" fn preload(cf: *mut ngx_conf_t) -> ngx_int_t {
    // Here, where LD_LIBRARY_PATH can still be read.
    LazyLock::force(&library::SEARCH_PATH);
    conf::keep_prefix(cf);
    // SAFETY: ngx_lua's documented signature for other modules; a function that may unwind is called
    // like one that may not.
    let Some(add) = (unsafe { symbol::<AddPreload>(c"ngx_http_lua_add_package_preload") }) else {
        return crate::OK;
    };
    if !luajit::find() {
        errlog::conf(
            cf,
            NGX_LOG_WARN as _,
            format_args!(
                "nffi: this LuaJIT is not OpenResty's (lua_getexdata is missing): there is no resty.nffi in it"
            ),
        );
        return crate::OK;
    }
    for (name, function) in FUNCTIONS {
        // SAFETY: ngx_lua keeps the name's address: it is static.
        if unsafe { add(cf, name.as_ptr(), function) } != crate::OK {
            errlog::conf(cf, NGX_LOG_EMERG as _, format_args!("nffi: ngx_lua would not take a preloaded function"));
            return crate::ERROR;
        }
    }
    crate::OK
}

/// Lua: can the running coroutine yield here? LuaJIT's `coroutine` does not say.
unsafe extern "C-unwind" fn can_yield(lua: luajit::State) -> c_int {
    // SAFETY: called by LuaJIT.
    let Some(frame) = (unsafe { Frame::new(lua) }) else { return 0 };
    frame.push_boolean(frame.is_yieldable());
    1
}

const _: () = assert!(abi::NFFI_OK == 0);
