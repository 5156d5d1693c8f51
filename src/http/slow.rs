//! `nffi_slow_log`: a line for each request that took its runtime long.

use std::fmt::Write as _;

use nginx_sys::{ngx_cached_http_log_iso8601, ngx_open_file_t};

use super::exchange::Exchange;
use crate::nginx;

/// Where slow requests are written down, and what is slow.
#[derive(Debug, Clone, Copy)]
pub struct Slow {
    /// nginx's own: it opens the file again at USR1.
    pub file: *mut ngx_open_file_t,
    /// In ms.
    pub threshold: u64,
}

/// Writes the line, if the location has such a log and the exchange, which is over, took so long.
///
/// # Safety
/// The exchange's request is live.
pub unsafe fn log(exchange: &Exchange) {
    // SAFETY: the location's configuration outlives its requests.
    let Some(slow) = (unsafe { (*exchange.conf).slow_log() }) else { return };
    let times = exchange.times;
    if times.submitted == 0 || times.over.saturating_sub(times.submitted) < slow.threshold * 1_000_000 {
        return;
    }
    // SAFETY: the caller's promise; nginx's time is a string, and its file is open.
    unsafe {
        let r = exchange.r;
        // Of one that no thread has taken, all of it is the queue's.
        let polled = if times.polled == 0 { times.over } else { times.polled };
        let us = |from: u64, to: u64| to.saturating_sub(from) / 1000;
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let mut line =
            String::from_utf8_lossy(nginx::bytes(&(&raw const ngx_cached_http_log_iso8601).read())).into_owned();
        line.push_str(" runtime=\"");
        escape(&mut line, exchange.runtime.name.as_bytes());
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            line,
            "\" trace={:032x} queue={} run={} status={} bytes={} client={} request=\"",
            exchange.trace,
            seconds(us(times.submitted, polled)),
            seconds(us(polled, times.over)),
            exchange.status,
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
                let _ = write!(line, "\\x{byte:02X}");
            }
            _ => line.push(char::from(*byte)),
        }
    }
}
