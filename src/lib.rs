//! nffi: code of any language inside nginx, without blocking it.
//!
//! This crate is the nginx side; the host of the ABI, with no nginx in it, is `nffi-core`.
//! Everything here runs on the event loop's thread, but for what [`sink`] and [`process`] say.
//!
//! # The flow of a call
//!
//! 1. [`conf`] reads `nffi_runtime` and checks what it names; [`worker`] starts the runtimes in
//!    each worker.
//! 2. `resty.nffi`, in Lua, enters through [`lua`]: the request is copied, the coroutine is put to
//!    sleep on one of ngx_lua's semaphores ([`sema`]), kept by its [`owner`], and the task goes
//!    onto the runtime's queue (`nffi_core::dispatch`).
//! 3. At the end of the loop's iteration [`worker`] wakes the runtime, once for all that came.
//! 4. A runtime thread answers; the [`sink`] wakes the event loop; [`worker`] drains what is done,
//!    gives each owner its outcome and posts its semaphore.
//! 5. The coroutine resumes, and takes the outcome through [`lua`].
//!
//! Requests without Lua, by `nffi_pass`, have a life of their own: [`http`].
//!
//! [`seed`] takes in libraries of lua-resty-ffi's ABI. [`barrier`] stops panics, [`process`] keeps signals and exits of foreign code from doing harm, [`errlog`] writes,
//! [`slow`] writes down what took long.

mod barrier;
mod conf;
mod errlog;
mod events;
mod http;
mod lua;
mod luajit;
mod metrics;
mod nginx;
mod owner;
mod process;
mod seed;
mod sema;
mod sink;
mod slow;
mod worker;

use nginx_sys::{NGX_HTTP_MODULE, NGX_LOG_EMERG, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t};

use crate::{barrier::barrier, worker::Worker};

const OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
const ERROR: ngx_int_t = nginx_sys::NGX_ERROR as ngx_int_t;

static MODULE_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(conf::finish),
    create_main_conf: Some(conf::create),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(http::conf::create),
    merge_loc_conf: Some(http::conf::merge),
};

ngx::ngx_modules!(ngx_http_nffi_module);

/// nginx's table of this module. nginx writes its index into it.
#[used]
#[allow(non_upper_case_globals)]
pub static mut ngx_http_nffi_module: ngx_module_t = ngx_module_t {
    ctx: &raw const MODULE_CTX as _,
    commands: &raw mut conf::COMMANDS as _,
    type_: NGX_HTTP_MODULE as _,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// Runs on: the process that reads the configuration, before it does.
unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its own.
    let rc = unsafe { lua::preload(cf) };
    if rc == OK { barrier(ERROR, || http::add_variables(cf)) } else { rc }
}

/// Runs on: the master (or the single process), for each new configuration.
extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the new cycle.
    barrier((), || unsafe {
        process::guard_workers((*cycle).log);
        conf::warn_of_env(cycle);
    });
    OK
}

/// Runs on: each new process, cache helpers included. Where nothing is declared, nffi starts with
/// its first use from Lua.
extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    barrier(ERROR, || {
        if !worker::is_worker() || conf::declared().0.is_empty() {
            return OK;
        }
        match Worker::ensure() {
            Ok(()) => OK,
            Err(error) => {
                // SAFETY: nginx passes its cycle.
                errlog::write(unsafe { (*cycle).log }, NGX_LOG_EMERG as _, format_args!("nffi: {error}"));
                ERROR
            }
        }
    })
}

/// Runs on: a worker that leaves.
extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    barrier((), worker::leave);
}
