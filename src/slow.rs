//! `nffi_slow_log`: a line for each request, and each call of Lua's, that took its runtime long.

use std::{fmt::Write as _, ptr};

use nffi_core::{
    dispatch::{Times, Witness},
    meter::End,
    runtime::Runtime,
    trace,
};
use nginx_sys::{ngx_cached_http_log_iso8601, ngx_http_request_t, ngx_open_file_t};

use crate::{
    conf,
    http::{Exchange, LocConf},
    nginx,
};

/// Where those that are slow are written down, and what is slow.
#[derive(Debug, Clone, Copy)]
pub struct Slow {
    /// nginx's own: it opens the file again at USR1.
    pub file: *mut ngx_open_file_t,
    /// In ms.
    pub threshold: u64,
}

// SAFETY: nginx's file is used on the event loop only, where all of this runs.
unsafe impl Send for Slow {}

impl Slow {
    fn is(&self, times: Times) -> bool {
        times.submitted != 0 && times.over.saturating_sub(times.submitted) >= self.threshold * 1_000_000
    }
}

/// Writes the line, if the location has such a log and the exchange, which is over, took so long.
///
/// # Safety
/// The exchange's request is live.
pub unsafe fn log(exchange: &Exchange) {
    // SAFETY: the location's configuration outlives its requests.
    let Some(slow) = (unsafe { (*exchange.conf).slow_log() }) else { return };
    if !slow.is(exchange.times) {
        return;
    }
    // SAFETY: the caller's promise; a live request has a connection.
    unsafe {
        let mut line = begin(&exchange.runtime.name, exchange.trace, exchange.times);
        let _ = write!(line, " status={} bytes={}", exchange.status, exchange.bytes);
        let r = exchange.r;
        end(&slow, line, nginx::bytes(&(*(*r).connection).addr_text), nginx::bytes(&(*r).request_line));
    }
}

/// A call of Lua's, which knows what its line shall say: when the call is over its request may be, too.
#[derive(Debug)]
struct Call {
    slow: Slow,
    /// `call`, `cast` or `stream`.
    kind: &'static str,
    trace: u128,
    client: Vec<u8>,
    request: Vec<u8>,
}

/// Whoever writes the line of a call, in the log of the request's location. Without a location, in timers of
/// init_worker's for instance, in that of the http block.
///
/// # Safety
/// `r` is NULL or a request that Lua runs for, also one that ngx_lua has made up.
pub unsafe fn witness(r: *mut ngx_http_request_t, kind: &'static str) -> Option<Box<dyn Witness>> {
    // SAFETY: the caller's promise; configurations outlive requests.
    unsafe {
        let of_location: *const LocConf =
            if r.is_null() { ptr::null() } else { nginx::loc_conf(r, &raw const crate::ngx_http_nffi_module) };
        let said = |conf: &LocConf| conf.slow_log_said();
        let slow = of_location.as_ref().and_then(said).or_else(|| conf::of_http().and_then(said)).flatten()?;
        let mut call = Call { slow, kind, trace: 0, client: Vec::new(), request: Vec::new() };
        if let Some(r) = r.as_ref() {
            call.client = nginx::bytes(&(*r.connection).addr_text).to_vec();
            call.request = nginx::bytes(&r.request_line).to_vec();
            nginx::each_header(&r.headers_in.headers, |name, value| {
                if name.eq_ignore_ascii_case(b"traceparent") {
                    call.trace = trace::parse(value).unwrap_or(0);
                }
            });
        }
        Some(Box::new(call))
    }
}

impl Witness for Call {
    fn over(self: Box<Self>, runtime: &Runtime, outcome: End, times: Times) {
        if !self.slow.is(times) {
            return;
        }
        // SAFETY: on the event loop; the file is the running configuration's.
        unsafe {
            let mut line = begin(&runtime.name, self.trace, times);
            let _ = write!(line, " {}={}", self.kind, outcome.name());
            end(&self.slow, line, &self.client, &self.request);
        }
    }
}

/// The line as far as it is everybody's. Writing to a String cannot fail, here and elsewhere.
///
/// # Safety
/// Runs on: event loop.
unsafe fn begin(runtime: &str, trace: u128, times: Times) -> String {
    // SAFETY: nginx's time is a string, which changes on the event loop only.
    let now = unsafe { nginx::bytes(&(&raw const ngx_cached_http_log_iso8601).read()) };
    let mut line = String::from_utf8_lossy(now).into_owned();
    line.push_str(" runtime=\"");
    escape(&mut line, runtime.as_bytes());
    line.push_str("\" trace=");
    let _ = if trace == 0 { write!(line, "-") } else { write!(line, "{trace:032x}") };
    // Of one that no thread has taken, all of it is the queue's.
    let polled = if times.polled == 0 { times.over } else { times.polled };
    let us = |from: u64, to: u64| to.saturating_sub(from) / 1000;
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let (queue, run) = (us(times.submitted, polled), us(polled, times.over));
    let _ = write!(line, " queue={} run={}", seconds(queue), seconds(run));
    line
}

/// Writes it, with whose it was.
///
/// # Safety
/// The file is open.
unsafe fn end(slow: &Slow, mut line: String, client: &[u8], request: &[u8]) {
    let or_none = |bytes| if <[u8]>::is_empty(bytes) { b"-" } else { bytes };
    let _ = write!(line, " client={} request=\"", String::from_utf8_lossy(or_none(client)));
    escape(&mut line, or_none(request));
    line.push_str("\"\n");
    // SAFETY: the caller's promise. One write: lines of several workers do not mix. A full disk is no reason to
    // fail a request.
    unsafe { libc::write((*slow.file).fd, line.as_ptr().cast(), line.len()) };
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
