//! Writing to nginx's error log. Runs on: event loop, or the master while it configures.

use std::fmt;

use nffi_core::{abi, dispatch::Mark, log::Line};
use nginx_sys::{
    NGX_LOG_DEBUG, NGX_LOG_EMERG, ngx_conf_log_error, ngx_conf_t, ngx_cycle, ngx_log_error_core, ngx_log_t, ngx_uint_t,
};

/// What nginx itself puts into one line, less its prefix.
const MAX_LINE: usize = 1900;

/// Writes a message of nffi's own to `log`.
pub fn write(log: *mut ngx_log_t, level: ngx_uint_t, message: fmt::Arguments<'_>) {
    write_bytes(log, level, message.to_string().as_bytes());
}

/// Writes a message to the log of the running configuration.
pub fn cycle(level: ngx_uint_t, message: fmt::Arguments<'_>) {
    // SAFETY: ngx_cycle is set before any module runs; its log is looked up anew each time, since
    // it dangles after a reload.
    write(unsafe { (*ngx_cycle).log }, level, message);
}

fn write_bytes(log: *mut ngx_log_t, level: ngx_uint_t, message: &[u8]) {
    // SAFETY: log is one of nginx's, alive for the call; the format takes a length and a pointer.
    unsafe {
        if (*log).log_level >= level {
            ngx_log_error_core(level, log, 0, c"%*s".as_ptr(), message.len(), message.as_ptr());
        }
    }
}

/// An error in the configuration file: nginx adds file and line.
pub fn conf(cf: *mut ngx_conf_t, level: ngx_uint_t, message: fmt::Arguments<'_>) {
    let message = message.to_string();
    // SAFETY: cf is the one that nginx is parsing with.
    unsafe { ngx_conf_log_error(level, cf, 0, c"%*s".as_ptr(), message.len(), message.as_ptr()) };
}

/// A runtime's own line, marked with its name and, where it belongs to a request, that request's
/// connection number, as nginx marks its own lines, and its trace. A message of several lines becomes
/// several.
pub fn runtime(name: &str, line: &Line, mark: Mark) {
    let level = syslog_to_nginx(line.level);
    // SAFETY: as in cycle(). The copy carries the connection's number without pointing to it.
    let mut log = unsafe { std::ptr::read((*ngx_cycle).log) };
    log.connection = mark.request_id as _;
    log.handler = None;
    for text in line.message.split(|&b| b == b'\n').filter(|text| !text.is_empty()) {
        for piece in text.chunks(MAX_LINE) {
            let mut message = format!("nffi runtime \"{name}\": ").into_bytes();
            message.extend_from_slice(piece);
            if mark.trace != 0 {
                message.extend_from_slice(format!(", trace: {:032x}", mark.trace).as_bytes());
            }
            write_bytes(&raw mut log, level, &message);
        }
    }
}

/// syslog counts from 0 emerg to 7 debug, nginx from 1 to 8.
fn syslog_to_nginx(level: u8) -> ngx_uint_t {
    const { assert!(abi::NFFI_LOG_EMERG + 1 == NGX_LOG_EMERG && abi::NFFI_LOG_DEBUG + 1 == NGX_LOG_DEBUG) };
    ngx_uint_t::from(level) + 1
}
