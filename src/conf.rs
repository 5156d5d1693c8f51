//! The directives of the http block: `nffi_runtime` and `nffi_done_sink`; those of locations are in
//! [`crate::http::conf`]. Runs on: the process
//! that reads the configuration (the master, or `nginx -t`), and once in each worker.

mod block;
mod check;

use std::{
    ffi::{c_char, c_void},
    fmt,
    path::PathBuf,
    ptr::{self, NonNull},
    slice,
    sync::OnceLock,
};

use nffi_core::runtime::Spec;
use nginx_sys::{
    NGX_CONF_BLOCK, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_LOG_EMERG,
    NGX_LOG_WARN, ngx_array_push, ngx_command_t, ngx_conf_t, ngx_core_conf_t, ngx_core_module, ngx_cycle, ngx_cycle_t,
    ngx_http_conf_ctx_t, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_module,
    ngx_http_phases_NGX_HTTP_LOG_PHASE, ngx_int_t, ngx_pool_cleanup_add, ngx_shm_zone_t, ngx_str_t, ngx_uint_t,
};

use crate::{barrier::barrier, errlog, http::LocConf, metrics, sink};

/// What the http block says.
#[derive(Debug, Default)]
pub struct MainConf {
    runtimes: Vec<Spec>,
    sink: Option<sink::Choice>,
    /// Runtimes that locations name, and where.
    expected: Vec<(String, String)>,
    zone: Option<NonNull<ngx_shm_zone_t>>,
    /// Where the first location is that shows what is counted.
    status: Option<String>,
    /// Somewhere there is an nffi_slow_log.
    slow_log: bool,
}

pub const fn name(bytes: &'static [u8]) -> ngx_str_t {
    // The NUL is not counted.
    ngx_str_t { len: bytes.len() - 1, data: bytes.as_ptr().cast_mut() }
}

/// nginx wants them mutable; it does not write to them.
pub static mut COMMANDS: [ngx_command_t; COUNT] = all_commands();

/// The last is empty.
const COUNT: usize = OF_HTTP.len() + crate::http::conf::COMMANDS.len() + 1;

const fn all_commands() -> [ngx_command_t; COUNT] {
    let mut all = [const { ngx_command_t::empty() }; COUNT];
    let mut n = 0;
    while n < OF_HTTP.len() {
        all[n] = OF_HTTP[n];
        n += 1;
    }
    while n < OF_HTTP.len() + crate::http::conf::COMMANDS.len() {
        all[n] = crate::http::conf::COMMANDS[n - OF_HTTP.len()];
        n += 1;
    }
    all
}

const OF_HTTP: [ngx_command_t; 3] = [
    ngx_command_t {
        name: name(b"nffi_runtime\0"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_BLOCK | NGX_CONF_TAKE2) as ngx_uint_t,
        set: Some(set_runtime),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: name(b"nffi_done_sink\0"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set_done_sink),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: name(b"nffi_zone\0"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2) as ngx_uint_t,
        set: Some(set_zone),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
];

/// nginx's success; and the failure whose message was logged already.
pub const CONF_OK: *mut c_char = ptr::null_mut();
pub const CONF_ERROR: *mut c_char = usize::MAX as *mut c_char;

/// A message becomes a line in the error log with file and line, and fails the configuration; an empty one was
/// said already, by nginx or by an option of the block.
pub fn report(cf: *mut ngx_conf_t, result: Result<(), String>) -> *mut c_char {
    match result {
        Ok(()) => CONF_OK,
        Err(said) if said.is_empty() => CONF_ERROR,
        Err(message) => {
            errlog::conf(cf, NGX_LOG_EMERG as _, format_args!("{message}"));
            CONF_ERROR
        }
    }
}

/// The words of the directive that is being read, the directive's own name first.
///
/// # Safety
/// `cf` is nginx's, inside a directive's handler.
pub unsafe fn words(cf: *mut ngx_conf_t) -> Result<Vec<String>, String> {
    // SAFETY: cf->args is an array of ngx_str_t.
    let words = unsafe { slice::from_raw_parts((*(*cf).args).elts.cast::<ngx_str_t>(), (*(*cf).args).nelts) };
    // SAFETY: nginx's strings have len bytes.
    let bytes = |word: &ngx_str_t| unsafe { slice::from_raw_parts(word.data, word.len) }.to_vec();
    let name = words.first().map(|word| String::from_utf8_lossy(&bytes(word)).into_owned()).unwrap_or_default();
    words
        .iter()
        .map(|word| String::from_utf8(bytes(word)).map_err(|_| format!("\"{name}\" has a word that is not UTF-8")))
        .collect()
}

/// nginx's prefix, to which library names are relative. Absolute, whatever `nginx -p` was given: the
/// threads of a runtime may be elsewhere.
fn prefix(cf: *mut ngx_conf_t) -> PathBuf {
    // SAFETY: the cycle has its prefix before any configuration is read.
    let prefix = unsafe { path_of(&(*(*cf).cycle).prefix) };
    std::path::absolute(&prefix).unwrap_or(prefix)
}

/// The same for `nffi.load`, in workers, which may have moved. A process has one prefix for life.
pub static PREFIX: OnceLock<PathBuf> = OnceLock::new();

/// Runs on: the process that reads the configuration, before it does.
pub fn keep_prefix(cf: *mut ngx_conf_t) {
    PREFIX.get_or_init(|| prefix(cf));
}

/// The folder of nginx.conf, to which `config_file` is relative, as with `include`.
fn conf_prefix(cf: *mut ngx_conf_t) -> PathBuf {
    // SAFETY: as in prefix().
    unsafe { path_of(&(*(*cf).cycle).conf_prefix) }
}

/// # Safety
/// `s` is one of nginx's strings.
unsafe fn path_of(s: &ngx_str_t) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: len bytes.
    PathBuf::from(std::ffi::OsStr::from_bytes(unsafe { slice::from_raw_parts(s.data, s.len) }))
}

/// create_main_conf: nginx's pool owns the result.
pub unsafe extern "C" fn create(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: cf is nginx's.
    unsafe { in_pool(cf, MainConf::default()) }
}

/// Gives a value to the configuration's pool. NULL where no memory is left.
///
/// # Safety
/// `cf` is nginx's.
pub unsafe fn in_pool<T>(cf: *mut ngx_conf_t, value: T) -> *mut c_void {
    unsafe extern "C" fn destroy<T>(value: *mut c_void) {
        // SAFETY: made below, and nginx calls this once.
        drop(unsafe { Box::from_raw(value.cast::<T>()) });
    }
    // SAFETY: cf and its pool are nginx's; the cleanup runs once, when the pool goes.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*cf).pool, 0);
        if cleanup.is_null() {
            return ptr::null_mut();
        }
        let value = Box::into_raw(Box::new(value));
        (*cleanup).handler = Some(destroy::<T>);
        (*cleanup).data = value.cast();
        value.cast()
    }
}

/// A location names a runtime; it may be declared further down. Runs on: a directive's handler.
///
/// # Safety
/// `cf` is nginx's, inside the http block.
pub unsafe fn expect_runtime(cf: *mut ngx_conf_t, name: &str) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(conf) = main_conf(cf) {
            (*conf).expected.push((name.to_owned(), place(cf)));
        }
    }
}

/// A location shows what is counted. Runs on: a directive's handler.
///
/// # Safety
/// As for [`expect_runtime`].
pub unsafe fn expect_zone(cf: *mut ngx_conf_t) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(conf) = main_conf(cf) {
            (*conf).status.get_or_insert_with(|| place(cf));
        }
    }
}

/// A location writes down what takes long. Runs on: a directive's handler.
///
/// # Safety
/// As for [`expect_runtime`].
pub unsafe fn expect_slow(cf: *mut ngx_conf_t) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(conf) = main_conf(cf) {
            (*conf).slow_log = true;
        }
    }
}

/// Where in the configuration nginx is now, as it says so itself at a message's end.
///
/// # Safety
/// As for [`expect_runtime`].
unsafe fn place(cf: *mut ngx_conf_t) -> String {
    // SAFETY: the caller's promise; the file's name is nginx's own.
    unsafe {
        let file = (*cf).conf_file;
        if file.is_null() {
            return String::new();
        }
        format!(" in {}:{}", path_of(&(*file).file.name).display(), (*file).line)
    }
}

/// # Safety
/// As for [`expect_runtime`].
unsafe fn main_conf(cf: *mut ngx_conf_t) -> Option<*mut MainConf> {
    // SAFETY: the caller's promise.
    unsafe {
        let ctx: *mut ngx_http_conf_ctx_t = (*cf).ctx.cast();
        let conf: *mut MainConf = (*(*ctx).main_conf.add(crate::ngx_http_nffi_module.ctx_index)).cast();
        (!conf.is_null()).then_some(conf)
    }
}

/// postconfiguration: all is read; do the runtimes that locations name exist?
pub unsafe extern "C" fn finish(cf: *mut ngx_conf_t) -> ngx_int_t {
    barrier(crate::ERROR, || {
        // SAFETY: nginx passes its own.
        if unsafe { add_log_handler(cf) }.is_none() {
            return crate::ERROR;
        }
        // SAFETY: nginx passes its own, with the context of the http block.
        let Some(conf) = (unsafe { main_conf(cf).map(|conf| &*conf) }) else { return crate::OK };
        if let (Some(place), None) = (&conf.status, conf.zone) {
            refuse_there(cf, format_args!("nffi_status needs an \"nffi_zone NAME SIZE;\" in the http block{place}"));
            return crate::ERROR;
        }
        let known: Vec<&str> = conf.runtimes.iter().map(|spec| spec.name.as_str()).collect();
        let Some((name, place)) = conf.expected.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return crate::OK;
        };
        let declared = if known.is_empty() { "none is".to_owned() } else { format!("there are: {}", known.join(", ")) };
        refuse_there(
            cf,
            format_args!("nffi_pass \"{name}\": no nffi_runtime of that name is declared ({declared}){place}"),
        );
        crate::ERROR
    })
}

/// An error in what was read before: its place is in the message already, and not where nginx is now.
fn refuse_there(cf: *mut ngx_conf_t, message: fmt::Arguments<'_>) {
    // SAFETY: the one that nginx is parsing with.
    errlog::write(unsafe { (*cf).log }, NGX_LOG_EMERG as _, message);
}

/// `None` where no memory is left.
///
/// # Safety
/// `cf` is nginx's, with the context of the http block.
unsafe fn add_log_handler(cf: *mut ngx_conf_t) -> Option<()> {
    // SAFETY: the caller's promise; the core module's own type, and an element for what is pushed.
    unsafe {
        let ctx: *mut ngx_http_conf_ctx_t = (*cf).ctx.cast();
        let core: *mut ngx_http_core_main_conf_t =
            (*(*ctx).main_conf.add((&raw const ngx_http_core_module).read().ctx_index)).cast();
        let handlers = &raw mut (*core).phases[ngx_http_phases_NGX_HTTP_LOG_PHASE as usize].handlers;
        let handler: *mut ngx_http_handler_pt = ngx_array_push(handlers).cast();
        (!handler.is_null()).then(|| handler.write(Some(crate::http::log)))
    }
}

unsafe extern "C" fn set_runtime(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes what create returned; nobody else looks at it meanwhile.
    let conf = unsafe { &mut *conf.cast::<MainConf>() };
    // SAFETY: inside a directive's handler.
    match barrier(Err(String::new()), || unsafe { block::read(cf, &conf.runtimes) }) {
        Ok(spec) => {
            conf.runtimes.push(spec);
            CONF_OK
        }
        Err(message) => report(cf, Err(message)),
    }
}

unsafe extern "C" fn set_done_sink(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: as in set_runtime.
    let conf = unsafe { &mut *conf.cast::<MainConf>() };
    // SAFETY: inside a directive's handler.
    let result = unsafe { words(cf) }.and_then(|words| {
        if conf.sink.is_some() {
            return Err("\"nffi_done_sink\" directive is duplicate".to_owned());
        }
        conf.sink = Some(match words.get(1).map(String::as_str) {
            Some("auto") => sink::Choice::Auto,
            Some("eventfd") => sink::Choice::EventFd,
            Some("thread_pool") if sink::patched() => sink::Choice::ThreadPool,
            Some("thread_pool") => {
                return Err("\"nffi_done_sink thread_pool\" needs an nginx built with nffi's patch \
                            (ngx_thread_pool_post_done is missing); use \"auto\" or \"eventfd\""
                    .to_owned());
            }
            other => {
                let other = other.unwrap_or_default();
                return Err(format!("invalid value \"{other}\" in \"nffi_done_sink\": auto, thread_pool or eventfd"));
            }
        });
        Ok(())
    });
    report(cf, result)
}

unsafe extern "C" fn set_zone(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as in set_runtime; nginx has counted the arguments.
        let result = unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            let words: *const ngx_str_t = (*(*cf).args).elts.cast();
            if conf.zone.is_some() {
                Err("\"nffi_zone\" directive is duplicate".to_owned())
            } else {
                metrics::zone::declare(cf, *words.add(1), *words.add(2)).map(|zone| conf.zone = Some(zone))
            }
        };
        report(cf, result)
    })
}

/// Says in the log which variables runtimes want from nginx that it does not hand on. No error: this
/// is known only when the whole configuration has been read, too late to refuse it.
///
/// # Safety
/// `cycle` is nginx's new one, with its configuration.
pub unsafe fn warn_of_env(cycle: *mut ngx_cycle_t) {
    // SAFETY: the caller's promise; the core module's configuration is always there.
    let (specs, handed) = unsafe {
        let core = *(*cycle).conf_ctx.add(ngx_core_module.index) as *const ngx_core_conf_t;
        let env = &(*core).env;
        let handed = if env.nelts == 0 { &[] } else { slice::from_raw_parts(env.elts.cast::<ngx_str_t>(), env.nelts) };
        (of_cycle(cycle), handed)
    };
    for spec in specs.map_or(&[][..], |conf| &conf.runtimes) {
        for (name, _) in spec.surroundings.env.iter().filter(|(_, value)| value.is_none()) {
            // NAME, or NAME=VALUE.
            let is_handed = |word: &ngx_str_t| {
                // SAFETY: len bytes.
                let word = unsafe { slice::from_raw_parts(word.data, word.len) };
                word.strip_prefix(name.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'=')))
            };
            if name != "TZ" && !handed.iter().any(is_handed) {
                // SAFETY: the new cycle's log.
                let log = unsafe { (*cycle).log };
                let runtime = &spec.name;
                errlog::write(
                    log,
                    NGX_LOG_WARN as _,
                    format_args!(
                        "nffi_runtime \"{runtime}\": env {name}: nginx does not hand it to its workers, where the runtime \
                         will fail; add \"env {name};\" at the top of nginx.conf"
                    ),
                );
            }
        }
    }
}

/// # Safety
/// `cycle` is one of nginx's, with its configuration, which lives as long as it.
unsafe fn of_cycle<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
    // SAFETY: the caller's promise.
    unsafe {
        let ctx = context(cycle)?;
        (*ctx.main_conf.add(crate::ngx_http_nffi_module.ctx_index)).cast::<MainConf>().as_ref()
    }
}

/// What was read of the http block. Without one there is none.
///
/// # Safety
/// As for [`of_cycle`].
unsafe fn context<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a ngx_http_conf_ctx_t> {
    // SAFETY: the caller's promise.
    unsafe { (*(*cycle).conf_ctx.add(ngx_http_module.index) as *const ngx_http_conf_ctx_t).as_ref() }
}

/// What the running configuration's http block says for all locations. Runs on: event loop.
pub fn of_http<'a>() -> Option<&'a LocConf> {
    // SAFETY: the worker's cycle.
    unsafe {
        let ctx = context(ngx_cycle)?;
        (*ctx.loc_conf.add(crate::ngx_http_nffi_module.ctx_index)).cast::<LocConf>().as_ref()
    }
}

/// Does the running configuration have an nffi_slow_log? Runs on: event loop.
pub fn has_slow_log() -> bool {
    // SAFETY: the worker's cycle.
    unsafe { of_cycle(ngx_cycle) }.is_some_and(|conf| conf.slow_log)
}

/// The zone of the running configuration. Runs on: event loop.
pub fn zone() -> Option<NonNull<ngx_shm_zone_t>> {
    // SAFETY: the worker's cycle.
    unsafe { of_cycle(ngx_cycle) }?.zone
}

/// What the running configuration declares. Runs on: event loop.
pub fn declared() -> (Vec<Spec>, sink::Choice) {
    // SAFETY: the worker's cycle.
    match unsafe { of_cycle(ngx_cycle) } {
        Some(conf) => (conf.runtimes.clone(), conf.sink.unwrap_or_default()),
        None => (Vec::new(), sink::Choice::default()),
    }
}
