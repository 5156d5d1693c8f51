//! Runtimes from Lua: finding declared ones, loading and unloading, and what goes on in them.

use std::ffi::{c_char, c_int};

use nffi_core::{
    dispatch::State,
    library,
    options::{MAX_SPIN, MAX_TASKS, MAX_TIMEOUT, Settings},
    runtime::Spec,
};
use nginx_sys::ngx_http_request_t;

use super::{DONE, Reply, YIELD, bytes, enter, prefix};
use crate::worker::Worker;

/// The settings of `nffi.load`; NaN: the default. `ngx_http_nffi_lua_settings_t`.
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

impl LuaSettings {
    fn checked(&self) -> Result<Settings, String> {
        let default = Settings::default();
        let pick = |name: &str, value: f64, least: u64, most: u64, default: u64| {
            if value.is_nan() {
                Ok(default)
            } else if value.ceil() >= least as f64 && value <= most as f64 {
                // As everywhere in the Lua API: a fraction is rounded up.
                Ok(value.ceil() as u64)
            } else {
                Err(format!("bad option: \"{name}\" is a number from {least} to {most}"))
            }
        };
        let size = isize::MAX as u64 / 2;
        Ok(Settings {
            queue: pick("queue", self.queue, 1, MAX_TASKS as u64, default.queue as u64)? as usize,
            tasks: pick("tasks", self.tasks, 1, MAX_TASKS as u64, default.tasks as u64)? as usize,
            timeout: pick("timeout", self.timeout, 1, MAX_TIMEOUT, default.timeout)?,
            stop_timeout: pick("stop_timeout", self.stop_timeout, 1, MAX_TIMEOUT, default.stop_timeout)?,
            max_request: pick("max_request", self.max_request, 0, size, default.max_request as u64)? as usize,
            max_response: pick("max_response", self.max_response, 0, size, default.max_response as u64)? as usize,
            spin: pick("spin", self.spin, 0, MAX_SPIN, default.spin)?,
        })
    }
}

/// The number of a declared runtime.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_find(name: *const c_char, len: usize, reply: *mut Reply) -> c_int {
    // SAFETY: Lua passes its one reply structure, and a string that it holds.
    let (reply, name) = unsafe { (&mut *reply, bytes(name, len)) };
    enter(reply, |worker, reply| {
        let number = std::str::from_utf8(name).ok().and_then(|name| worker.declared.get(name).copied());
        match number {
            Some(number) => number as c_int,
            None => reply.fail(worker, "no such runtime"),
        }
    })
}

/// The number of the runtime of that library and configuration, started now unless it runs.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_load(
    name: *const c_char,
    name_len: usize,
    config: *const c_char,
    config_len: usize,
    settings: *const LuaSettings,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: as above; settings is Lua's structure.
    let (reply, name, config, settings) =
        unsafe { (&mut *reply, bytes(name, name_len), bytes(config, config_len), &*settings) };
    enter(reply, |worker, reply| match load(worker, name, config, settings) {
        Ok(number) => number as c_int,
        Err(message) => reply.fail(worker, message),
    })
}

fn load(worker: &mut Worker, name: &[u8], config: &[u8], settings: &LuaSettings) -> Result<u32, String> {
    let name = std::str::from_utf8(name).map_err(|_| "bad library: not UTF-8".to_owned())?;
    let settings = settings.checked()?;
    let library = library::find(name, prefix()).map_err(|e| format!("runtime failed: {e}"))?;
    let key = (library.clone(), config.to_vec());
    if let Some(&number) = worker.loaded.get(&key)
        && worker.dispatch.entry(number).is_some_and(|e| !matches!(e.state, State::Unloading | State::Stopped))
    {
        return Ok(number);
    }
    let stem = library.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = stem.strip_prefix("lib").unwrap_or(&stem).to_owned();
    let number =
        worker.start(Spec { name, library, config: config.to_vec(), settings, surroundings: Default::default() });
    worker.loaded.insert(key, number);
    Ok(number)
}

/// Is the runtime ready? YIELD: the coroutine is asleep until it is; yield, settle, ask again. With
/// `r` NULL it never sleeps.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_ready(r: *mut ngx_http_request_t, runtime: u32, reply: *mut Reply) -> c_int {
    // SAFETY: as above.
    let reply = unsafe { &mut *reply };
    enter(reply, |worker, reply| {
        let Some(entry) = worker.dispatch.entry(runtime) else {
            return reply.fail(worker, "no such runtime");
        };
        match &entry.state {
            State::Ready => DONE,
            State::Failed(why) => {
                let message = format!("runtime failed: {why}");
                reply.fail(worker, message)
            }
            State::Unloading | State::Stopped => reply.fail(worker, "unloaded"),
            State::Starting if r.is_null() => DONE,
            State::Starting => {
                let timeout = i32::try_from(entry.runtime.settings.timeout).unwrap_or(i32::MAX);
                let Some(owners) = &mut worker.owners else { return DONE };
                // A refusal means that no one can wait here: calls will.
                let asleep = owners.sleep_for_load(r, timeout, runtime).is_ok();
                worker.after();
                if asleep { YIELD } else { DONE }
            }
        }
    })
}

/// Ends a runtime, for all who have loaded it: after what was accepted.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_unload(runtime: u32, reply: *mut Reply) -> c_int {
    // SAFETY: as above.
    let reply = unsafe { &mut *reply };
    enter(reply, |worker, reply| match worker.dispatch.unload(runtime) {
        Ok(()) => {
            if let Some(owners) = &mut worker.owners {
                owners.wake_loads(runtime);
            }
            worker.after();
            DONE
        }
        Err(refusal) => reply.fail(worker, refusal.words()),
    })
}

/// One runtime, for `nffi.runtimes()`. `ngx_http_nffi_lua_stats_t`.
#[repr(C)]
pub struct LuaStats {
    name: *const c_char,
    name_len: usize,
    library: *const c_char,
    library_len: usize,
    error: *const c_char,
    error_len: usize,
    /// 0 starting, 1 ready, 2 failed, 3 unloading, 4 stopped.
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

/// Fills in the runtime with that number; negative past the last one.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_lua_stats(runtime: u32, stats: *mut LuaStats, reply: *mut Reply) -> c_int {
    // SAFETY: as above; stats is Lua's structure.
    let (stats, reply) = unsafe { (&mut *stats, &mut *reply) };
    enter(reply, |worker, reply| {
        let failed = match worker.dispatch.entry(runtime).map(|entry| &entry.state) {
            Some(State::Failed(why)) => why.clone(),
            _ => String::new(),
        };
        // Kept: a finalizer may unload the runtime before Lua has read why it failed.
        let error = worker.keep_message(failed).as_bytes();
        let (error, error_len) = (error.as_ptr().cast(), error.len());
        let Some(entry) = worker.dispatch.entry(runtime) else {
            return reply.fail(worker, "no such runtime");
        };
        let name = entry.runtime.name.as_bytes();
        let library = entry.runtime.library.as_os_str().as_encoded_bytes();
        let count = |n: u64| n as f64;
        *stats = LuaStats {
            name: name.as_ptr().cast(),
            name_len: name.len(),
            library: library.as_ptr().cast(),
            library_len: library.len(),
            error,
            error_len,
            state: match entry.state {
                State::Starting => 0,
                State::Ready => 1,
                State::Failed(_) => 2,
                State::Unloading => 3,
                State::Stopped => 4,
            },
            declared: c_int::from(worker.declared.values().any(|&number| number == runtime)),
            queued: count(entry.runtime.queue.len() as u64),
            in_flight: count(entry.in_flight as u64),
            abandoned: count(entry.abandoned as u64),
            calls: count(entry.stats.calls),
            casts: count(entry.stats.casts),
            answers: count(entry.stats.answers),
            errors: count(entry.stats.errors),
            timeouts: count(entry.stats.timeouts),
            cancelled: count(entry.stats.cancelled),
            rejected: count(entry.stats.rejected),
            bad_answers: count(entry.runtime.bad_answers.load(std::sync::atomic::Ordering::Relaxed)),
            dropped_logs: count(entry.stats.dropped_logs),
        };
        DONE
    })
}
