//! The directives of locations: `nffi_pass` and what belongs to it. Documented in docs/http.md.
//! Runs on: the process that reads the configuration.

use std::{
    ffi::{c_char, c_void},
    mem, ptr,
};

use nginx_sys::{
    NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_SRV_CONF, ngx_command_t,
    ngx_conf_open_file, ngx_conf_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t,
    ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_request_t, ngx_int_t, ngx_parse_size, ngx_parse_time, ngx_pcalloc, ngx_str_t,
    ngx_uint_t,
};

use super::handler;
use crate::{
    barrier::barrier,
    conf::{CONF_ERROR, CONF_OK, name, report, words},
    nginx,
    slow::Slow,
};

/// The default of `nffi_window`, in bytes.
const WINDOW: usize = 64 * 1024;
/// The least: below it even a small page takes several turns.
const LEAST_WINDOW: usize = 1024;

/// A value that may have variables in it. nginx's pool owns it.
#[derive(Debug, Clone, Copy)]
pub struct Value(*mut ngx_http_complex_value_t);

impl Value {
    /// # Safety
    /// `cf` is nginx's, inside a directive's handler.
    unsafe fn compile(cf: *mut ngx_conf_t, text: ngx_str_t) -> Result<Self, String> {
        // SAFETY: the pool is the configuration's; nginx reads the text, which is in its pool, too.
        unsafe {
            let value: *mut ngx_http_complex_value_t =
                ngx_pcalloc((*cf).pool, size_of::<ngx_http_complex_value_t>()).cast();
            if value.is_null() {
                return Err("no memory".to_owned());
            }
            let mut text = text;
            let mut compile: ngx_http_compile_complex_value_t = mem::zeroed();
            compile.cf = cf;
            compile.value = &raw mut text;
            compile.complex_value = value;
            if ngx_http_compile_complex_value(&raw mut compile) != crate::OK {
                // nginx has said what is wrong.
                return Err(String::new());
            }
            Ok(Self(value))
        }
    }

    /// The value where it has no variables.
    pub fn constant(&self) -> Option<&[u8]> {
        // SAFETY: made by compile(); lives as long as the configuration.
        unsafe { (*self.0).lengths.is_null().then(|| nginx::bytes(&(*self.0).value)) }
    }

    /// # Safety
    /// `r` is a live request; the result lives as long as it.
    pub unsafe fn of<'a>(&self, r: *mut ngx_http_request_t) -> Option<&'a [u8]> {
        let mut value = ngx_str_t { len: 0, data: ptr::null_mut() };
        // SAFETY: as in constant(); the value is in the request's pool, or the configuration's.
        unsafe { (ngx_http_complex_value(r, self.0, &raw mut value) == crate::OK).then(|| nginx::bytes(&value)) }
    }
}

/// What a location says. `None` is what it inherits.
#[derive(Debug, Default)]
pub struct LocConf {
    pub pass: Option<Value>,
    timeout: Option<u64>,
    request_buffering: Option<bool>,
    window: Option<usize>,
    prefix: Option<Vec<u8>>,
    /// Names in lower case.
    hide: Option<Vec<Vec<u8>>>,
    intercept_errors: Option<bool>,
    ignore_client_abort: Option<bool>,
    params: Option<Vec<(Vec<u8>, Value)>>,
    slow_log: Option<Option<Slow>>,
    /// Of nffi_status: with the seed's names besides.
    gojinn_names: Option<bool>,
}

impl LocConf {
    /// In ms; `None` is the runtime's own.
    pub fn timeout(&self) -> Option<u64> {
        self.timeout
    }

    pub fn request_buffering(&self) -> bool {
        self.request_buffering.unwrap_or(true)
    }

    pub fn window(&self) -> usize {
        self.window.unwrap_or(WINDOW)
    }

    pub fn prefix(&self) -> &[u8] {
        self.prefix.as_deref().unwrap_or_default()
    }

    pub fn hides(&self, name: &[u8]) -> bool {
        self.hide.as_ref().is_some_and(|hide| hide.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)))
    }

    pub fn intercept_errors(&self) -> bool {
        self.intercept_errors.unwrap_or(false)
    }

    pub fn ignore_client_abort(&self) -> bool {
        self.ignore_client_abort.unwrap_or(false)
    }

    pub fn slow_log(&self) -> Option<Slow> {
        self.slow_log.flatten()
    }

    /// The same; `None` where nobody has said anything.
    pub fn slow_log_said(&self) -> Option<Option<Slow>> {
        self.slow_log
    }

    pub fn gojinn_names(&self) -> bool {
        self.gojinn_names.unwrap_or(false)
    }

    pub fn params(&self) -> &[(Vec<u8>, Value)] {
        self.params.as_deref().unwrap_or_default()
    }

    fn inherit(&mut self, from: &Self) {
        self.timeout = self.timeout.or(from.timeout);
        self.request_buffering = self.request_buffering.or(from.request_buffering);
        self.window = self.window.or(from.window);
        self.intercept_errors = self.intercept_errors.or(from.intercept_errors);
        self.ignore_client_abort = self.ignore_client_abort.or(from.ignore_client_abort);
        self.slow_log = self.slow_log.or(from.slow_log);
        if self.prefix.is_none() {
            self.prefix.clone_from(&from.prefix);
        }
        if self.hide.is_none() {
            self.hide.clone_from(&from.hide);
        }
        if self.params.is_none() {
            self.params.clone_from(&from.params);
        }
    }
}

// ---- nginx's tables ---------------------------------------------------------------------------

const ANYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;
const PLACE: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF;
const PASS: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;

type Set = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

const fn command(directive: &'static [u8], type_: u32, set: Set) -> ngx_command_t {
    ngx_command_t {
        name: name(directive),
        type_: type_ as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

/// One row of the module's table for each directive.
pub const COMMANDS: [ngx_command_t; 11] = [
    command(b"nffi_pass\0", PASS | NGX_CONF_TAKE1, set_pass),
    command(b"nffi_timeout\0", ANYWHERE | NGX_CONF_TAKE1, set_timeout),
    command(b"nffi_request_buffering\0", ANYWHERE | NGX_CONF_FLAG, set_request_buffering),
    command(b"nffi_window\0", ANYWHERE | NGX_CONF_TAKE1, set_window),
    command(b"nffi_prefix\0", ANYWHERE | NGX_CONF_TAKE1, set_prefix),
    command(b"nffi_hide_header\0", ANYWHERE | NGX_CONF_TAKE1, set_hide_header),
    command(b"nffi_intercept_errors\0", ANYWHERE | NGX_CONF_FLAG, set_intercept_errors),
    command(b"nffi_ignore_client_abort\0", ANYWHERE | NGX_CONF_FLAG, set_ignore_client_abort),
    command(b"nffi_param\0", ANYWHERE | NGX_CONF_TAKE2, set_param),
    command(b"nffi_slow_log\0", ANYWHERE | NGX_CONF_TAKE1 | NGX_CONF_TAKE2, set_slow_log),
    command(b"nffi_status\0", PLACE | NGX_CONF_NOARGS | NGX_CONF_TAKE1, set_status),
];

/// create_loc_conf: nginx's pool owns the result.
pub unsafe extern "C" fn create(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: cf is nginx's.
    unsafe { crate::conf::in_pool(cf, LocConf::default()) }
}

/// merge_loc_conf.
pub unsafe extern "C" fn merge(cf: *mut ngx_conf_t, parent: *mut c_void, child: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: nginx passes what create() returned, two different ones.
        let (parent, child) = unsafe { (&*parent.cast::<LocConf>(), &mut *child.cast::<LocConf>()) };
        child.inherit(parent);
        // SAFETY: the core module's configuration of the location that is being merged.
        let core = unsafe { &mut *core_loc_conf(cf) };
        // An "if" block in the location, or limit_except: it passes on what the location does.
        if core.noname() != 0 && child.pass.is_none() && parent.pass.is_some() {
            child.pass = parent.pass;
        }
        if core.lmt_excpt() != 0 && core.handler.is_none() && child.pass.is_some() {
            core.handler = Some(handler::handle);
        }
        CONF_OK
    })
}

/// # Safety
/// `cf` is nginx's, inside the http block.
unsafe fn core_loc_conf(cf: *mut ngx_conf_t) -> *mut ngx_http_core_loc_conf_t {
    // SAFETY: inside the http block the context is that of HTTP.
    unsafe {
        let ctx: *mut ngx_http_conf_ctx_t = (*cf).ctx.cast();
        (*(*ctx).loc_conf.add(ngx_http_core_module.ctx_index)).cast()
    }
}

// ---- the directives ---------------------------------------------------------------------------

/// Reads the only value of a directive that may be said once.
///
/// # Safety
/// nginx's arguments, inside a directive's handler.
unsafe fn once<T>(
    cf: *mut ngx_conf_t,
    slot: &mut Option<T>,
    read: impl FnOnce(&str, ngx_str_t) -> Result<T, String>,
) -> *mut c_char {
    // SAFETY: the caller's promise; the array holds the directive's words.
    let result = unsafe { words(cf) }.and_then(|words| {
        if slot.is_some() {
            return Err(format!("\"{}\" directive is duplicate", words[0]));
        }
        // SAFETY: nginx has counted the arguments.
        let raw = unsafe { *(*(*cf).args).elts.cast::<ngx_str_t>().add(1) };
        let value = read(&words[1], raw).map_err(|why| {
            if why.is_empty() { why } else { format!("invalid value \"{}\" in \"{}\": {why}", words[1], words[0]) }
        })?;
        *slot = Some(value);
        Ok(())
    });
    report(cf, result)
}

fn on_or_off(word: &str, _: ngx_str_t) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

fn time(_: &str, mut raw: ngx_str_t) -> Result<u64, String> {
    // SAFETY: nginx's own string.
    let ms = unsafe { ngx_parse_time(&raw mut raw, 0) };
    match u64::try_from(ms) {
        Ok(ms) if (1..=nffi_core::options::MAX_TIMEOUT).contains(&ms) => Ok(ms),
        _ => Err("a time such as 500ms, 5s or 1m, at least 1ms".to_owned()),
    }
}

fn size(_: &str, mut raw: ngx_str_t) -> Result<usize, String> {
    // SAFETY: nginx's own string.
    let bytes = unsafe { ngx_parse_size(&raw mut raw) };
    match usize::try_from(bytes) {
        Ok(bytes) if bytes >= LEAST_WINDOW => Ok(bytes),
        _ => Err("a size such as 64k, at least 1k".to_owned()),
    }
}

fn mount(word: &str, _: ngx_str_t) -> Result<Vec<u8>, String> {
    if word.is_empty() || (word.starts_with('/') && !word.ends_with('/')) {
        Ok(word.as_bytes().to_vec())
    } else {
        Err("it begins with a slash and does not end with one, such as /app; or is empty".to_owned())
    }
}

/// A directive of one value: its handler, as nginx calls it.
macro_rules! directive {
    ($set:ident, $field:ident, $read:ident) => {
        unsafe extern "C" fn $set(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
            // SAFETY: nginx passes what create() returned; nobody else looks at it meanwhile.
            barrier(CONF_ERROR, || unsafe { once(cf, &mut (*conf.cast::<LocConf>()).$field, $read) })
        }
    };
}

directive!(set_request_buffering, request_buffering, on_or_off);
directive!(set_intercept_errors, intercept_errors, on_or_off);
directive!(set_ignore_client_abort, ignore_client_abort, on_or_off);
directive!(set_timeout, timeout, time);
directive!(set_window, window, size);
directive!(set_prefix, prefix, mount);

unsafe extern "C" fn set_pass(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as in the directives above.
        unsafe {
            let conf = &mut *conf.cast::<LocConf>();
            if conf.gojinn_names.is_some() {
                return report(cf, Err("\"nffi_status\" and \"nffi_pass\" in one location".to_owned()));
            }
            let rc = once(cf, &mut conf.pass, |_, raw| Value::compile(cf, raw));
            if rc != CONF_OK {
                return rc;
            }
            if let Some(name) = conf.pass.as_ref().and_then(Value::constant) {
                crate::conf::expect_runtime(cf, &String::from_utf8_lossy(name));
            }
            let core = &mut *core_loc_conf(cf);
            core.handler = Some(handler::handle);
            if nginx::bytes(&core.name).ends_with(b"/") {
                core.set_auto_redirect(1);
            }
            CONF_OK
        }
    })
}

unsafe extern "C" fn set_hide_header(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as above.
        let (words, conf) = unsafe { (words(cf), &mut *conf.cast::<LocConf>()) };
        report(
            cf,
            words.map(|words| conf.hide.get_or_insert_default().push(words[1].to_ascii_lowercase().into_bytes())),
        )
    })
}

unsafe extern "C" fn set_param(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as above; nginx has counted the arguments.
        let result = unsafe {
            let conf = &mut *conf.cast::<LocConf>();
            words(cf).and_then(|words| {
                let raw = *(*(*cf).args).elts.cast::<ngx_str_t>().add(2);
                let value = Value::compile(cf, raw)?;
                conf.params.get_or_insert_default().push((words[1].clone().into_bytes(), value));
                Ok(())
            })
        };
        report(cf, result)
    })
}

unsafe extern "C" fn set_slow_log(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as above; nginx has counted the arguments, and keeps the name.
        let result = unsafe {
            let conf = &mut *conf.cast::<LocConf>();
            words(cf).and_then(|words| {
                let raw = |n: usize| *(*(*cf).args).elts.cast::<ngx_str_t>().add(n);
                if conf.slow_log.is_some() {
                    return Err("\"nffi_slow_log\" directive is duplicate".to_owned());
                }
                conf.slow_log = Some(match words.get(2) {
                    None if words[1] == "off" => None,
                    Some(_) if words[1] == "off" => return Err("\"nffi_slow_log\": off has no time".to_owned()),
                    None => return Err("\"nffi_slow_log\": a file and a time, or off".to_owned()),
                    Some(text) => {
                        let threshold = time(text, raw(2))
                            .map_err(|why| format!("invalid value \"{text}\" in \"nffi_slow_log\": {why}"))?;
                        let mut path = raw(1);
                        let file = ngx_conf_open_file((*cf).cycle, &raw mut path);
                        if file.is_null() {
                            return Err("\"nffi_slow_log\": no memory".to_owned());
                        }
                        crate::conf::expect_slow(cf);
                        Some(Slow { file, threshold })
                    }
                });
                Ok(())
            })
        };
        report(cf, result)
    })
}

unsafe extern "C" fn set_status(cf: *mut ngx_conf_t, _: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    barrier(CONF_ERROR, || {
        // SAFETY: as above.
        let result = unsafe {
            let conf = &mut *conf.cast::<LocConf>();
            words(cf).and_then(|words| {
                if conf.gojinn_names.is_some() {
                    return Err("\"nffi_status\" directive is duplicate".to_owned());
                }
                conf.gojinn_names = Some(match words.get(1).map(String::as_str) {
                    None | Some("gojinn_names=off") => false,
                    Some("gojinn_names=on") => true,
                    Some(other) => {
                        return Err(format!("invalid value \"{other}\" in \"nffi_status\": gojinn_names=on or off"));
                    }
                });
                if conf.pass.is_some() {
                    return Err("\"nffi_status\" and \"nffi_pass\" in one location".to_owned());
                }
                crate::conf::expect_zone(cf);
                (*core_loc_conf(cf)).handler = Some(crate::metrics::status);
                Ok(())
            })
        };
        report(cf, result)
    })
}

/// nginx's own types are plain; a status is one of them.
pub const fn status(code: u32) -> ngx_int_t {
    code as ngx_int_t
}
