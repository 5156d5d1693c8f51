//! What the log phase adds: the runtimes of requests that never reached one, and `nffi_slow_log`.

use std::fmt::Write as _;

use nginx_sys::{
    NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, NGX_LOG_ERR, ngx_cached_http_log_iso8601, ngx_http_request_t, ngx_int_t,
    ngx_open_file_t,
};

use super::{conf::LocConf, exchange::Exchange};
use crate::{barrier::barrier, errlog, nginx};

/// Where slow requests are written down, and what is slow.
#[derive(Debug, Clone, Copy)]
pub struct Slow {
    /// nginx's own: it opens the file again at USR1.
    pub file: *mut ngx_open_file_t,
    /// In ms.
    pub threshold: u64,
}

/// Runs on: event loop, in the log phase.
pub unsafe extern "C" fn handle(r: *mut ngx_http_request_t) -> ngx_int_t {
    barrier(crate::OK, || {
        // SAFETY: nginx passes a live request.
        unsafe {
            let conf: *const LocConf = nginx::loc_conf(r, &raw const crate::ngx_http_nffi_module);
            match Exchange::latest(r) {
                Some(exchange) => {
                    if let Some(slow) = (*(*exchange).conf).slow_log() {
                        log_slow(r, &*exchange, slow);
                    }
                }
                None => log_too_large(r, &*conf),
            }
        }
        crate::OK
    })
}

/// Names the runtime of a request that nginx has refused before any content handler, for the Content-Length
/// of its body.
///
/// # Safety
/// `r` is a live request, and `conf` its location's.
unsafe fn log_too_large(r: *mut ngx_http_request_t, conf: &LocConf) {
    // SAFETY: the caller's promise.
    unsafe {
        if (*r).headers_out.status != NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as usize {
            return;
        }
        if let Some(name) = conf.pass.as_ref().and_then(|pass| pass.of(r)) {
            let name = String::from_utf8_lossy(name);
            errlog::write(
                (*(*r).connection).log,
                NGX_LOG_ERR as _,
                format_args!(
                    "nffi runtime \"{name}\" gets nothing of a request that ended with 413 (client_max_body_size)"
                ),
            );
        }
    }
}

/// # Safety
/// `r` is a live request, and `exchange` its own.
unsafe fn log_slow(r: *mut ngx_http_request_t, exchange: &Exchange, slow: Slow) {
    let times = exchange.times;
    let total = times.over.saturating_sub(times.submitted);
    if times.submitted == 0 || total < slow.threshold * 1_000_000 {
        return;
    }
    // SAFETY: the caller's promise; nginx's time is a string, and its file is open.
    unsafe {
        // Of one that no thread has taken, all of it is the queue's.
        let polled = if times.polled == 0 { times.over } else { times.polled };
        let us = |from: u64, to: u64| to.saturating_sub(from) / 1000;
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let mut line = format!(
            "{} runtime=\"{}\" trace={:032x} queue={} run={} status={} bytes={} client={} request=\"",
            String::from_utf8_lossy(nginx::bytes(&(&raw const ngx_cached_http_log_iso8601).read())),
            exchange.runtime.name,
            exchange.trace,
            seconds(us(times.submitted, polled)),
            seconds(us(polled, times.over)),
            (*r).headers_out.status,
            exchange.bytes,
            String::from_utf8_lossy(nginx::bytes(&(*(*r).connection).addr_text)),
        );
        escape(&mut line, nginx::bytes(&(*r).request_line));
        line.push_str("\"\n");
        // One write: lines of several workers do not mix. A full disk is no reason to fail a request.
        libc::write((*slow.file).fd, line.as_ptr().cast(), line.len());
    }
}

/// As nginx's access log does it: a client cannot forge a line.
fn escape(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\x{byte:02X}");
            }
            _ => line.push(char::from(*byte)),
        }
    }
}
