//! A runtime's head becomes that of nginx's answer. What is done to which header follows what nginx
//! does for FastCGI and uwsgi applications.

use std::ptr;

use nffi_core::http::Head;
use nginx_sys::{
    NGX_HTTP_HEAD, NGX_HTTP_UNAUTHORIZED, ngx_http_err_page_t, ngx_http_request_t, ngx_parse_http_time, ngx_str_t,
    ngx_table_elt_t,
};

use super::{conf::LocConf, exchange::Exchange, failure::Failure};
use crate::nginx;

/// What to do with a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// X-Accel-Redirect.
    Redirect,
    /// nffi_intercept_errors, and there is an error_page.
    Intercept,
}

/// Not for the client: how the connection is used is nginx's.
const HOP_BY_HOP: [&[u8]; 5] = [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
/// Orders to nginx.
const ACCEL: [&[u8]; 5] =
    [b"x-accel-redirect", b"x-accel-limit-rate", b"x-accel-buffering", b"x-accel-charset", b"x-accel-expires"];
/// What of an answer an internal redirect keeps.
const KEPT: [&[u8]; 6] =
    [b"content-type", b"set-cookie", b"content-disposition", b"cache-control", b"expires", b"accept-ranges"];

/// No trailer: who forwards an answer must know it before the body (RFC 9110, section 6.5.1), or it is none of a
/// client's business.
const BEFORE_BODY: [&[u8]; 10] = [
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"content-range",
    b"trailer",
    b"te",
    b"host",
    b"set-cookie",
    b"location",
    b"www-authenticate",
];

/// May this be a trailer?
pub fn may_trail(name: &[u8]) -> bool {
    ![&HOP_BY_HOP[..], &ACCEL, &BEFORE_BODY].iter().any(|names| is_one_of(name, names))
}

fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Says what is to be done with the head.
///
/// # Safety
/// The exchange's request is live.
pub unsafe fn judge(exchange: &Exchange, head: &Head) -> Verdict {
    if head.headers().any(|(name, value)| name.eq_ignore_ascii_case(b"x-accel-redirect") && !value.is_empty()) {
        return Verdict::Redirect;
    }
    // SAFETY: the caller's promise.
    if unsafe { (*exchange.conf).intercept_errors() && has_error_page(exchange.r, head.status) } {
        return Verdict::Intercept;
    }
    Verdict::Send
}

/// # Safety
/// `r` is a live request.
unsafe fn has_error_page(r: *mut ngx_http_request_t, status: u16) -> bool {
    // SAFETY: the caller's promise; the array is the core module's.
    unsafe {
        let Some(pages) = (*nginx::core_loc_conf(r)).error_pages.as_ref() else { return false };
        let first: *const ngx_http_err_page_t = pages.elts.cast();
        (0..pages.nelts).any(|i| (*first.add(i)).status == status as isize)
    }
}

/// Fills nginx's head. The strings stay where they are, so the head must live as long as the request.
///
/// # Safety
/// The exchange's request is live, and nothing was sent for it.
pub unsafe fn apply(exchange: &mut Exchange, head: &Head) -> Result<(), Failure> {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let r = exchange.r;
        let conf = exchange.conf;
        let mut length = None;
        (*r).headers_out.status = head.status.into();
        (*r).headers_out.status_line = ngx_str_t { len: 0, data: ptr::null_mut() };
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"content-length") {
                let parsed =
                    parse_length(value).ok_or(Failure::Protocol("a Content-Length that is no number".into()))?;
                if length.is_some_and(|length| length != parsed) {
                    return Err(Failure::Protocol("two different Content-Lengths".into()));
                }
                length = Some(parsed);
            } else {
                copy(r, conf, head.status, name, value)?;
            }
        }
        let rest = length.map(|length| length as u64);
        (*r).headers_out.content_length_n = length.unwrap_or(-1);
        // A 304 of nginx's own would be for what it knows; this answer may differ from one to the next.
        (*r).set_disable_not_modified(1);
        let has_body = (*r).method != NGX_HTTP_HEAD as usize && !matches!(head.status, 100..200 | 204 | 304);
        exchange.rest = rest.filter(|_| has_body);
        Ok(())
    }
}

fn parse_length(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// # Safety
/// As for [`apply`].
unsafe fn copy(
    r: *mut ngx_http_request_t,
    conf: *const LocConf,
    status: u16,
    name: &[u8],
    value: &[u8],
) -> Result<(), Failure> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    // SAFETY: the caller's promise.
    unsafe {
        if is_one_of(name, &HOP_BY_HOP) {
            if is(b"connection") && value.eq_ignore_ascii_case(b"close") {
                (*r).set_keepalive(0);
            }
            if status != 101 || !is(b"upgrade") {
                return Ok(());
            }
        }
        if is_one_of(name, &ACCEL) {
            obey(r, name, value);
            return Ok(());
        }
        if (*conf).hides(name) {
            return Ok(());
        }
        if is(b"content-type") {
            set_content_type(r, value);
            return Ok(());
        }
        let header = nginx::add_header(r, name, value);
        if header.is_null() {
            return Err(Failure::NoMemory);
        }
        know(r, header, name, value);
        Ok(())
    }
}

/// nginx's filters look for some headers by pointers of their own. Location is none of them: nginx would
/// make it absolute.
///
/// # Safety
/// As for [`apply`].
unsafe fn know(r: *mut ngx_http_request_t, header: *mut ngx_table_elt_t, name: &[u8], value: &[u8]) {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    // SAFETY: the caller's promise.
    unsafe {
        let out = &mut (*r).headers_out;
        if is(b"content-encoding") {
            out.content_encoding = header;
        } else if is(b"last-modified") {
            out.last_modified = header;
            out.last_modified_time = ngx_parse_http_time(value.as_ptr().cast_mut(), value.len());
        } else if is(b"etag") {
            out.etag = header;
        } else if is(b"date") {
            out.date = header;
        } else if is(b"server") {
            out.server = header;
        } else if is(b"accept-ranges") {
            out.accept_ranges = header;
        } else if is(b"content-range") {
            out.content_range = header;
        } else if is(b"expires") {
            out.expires = header;
        } else if is(b"refresh") {
            out.refresh = header;
        } else if is(b"www-authenticate") && out.www_authenticate.is_null() {
            out.www_authenticate = header;
        }
    }
}

/// # Safety
/// As for [`apply`].
unsafe fn obey(r: *mut ngx_http_request_t, name: &[u8], value: &[u8]) {
    if name.eq_ignore_ascii_case(b"x-accel-limit-rate")
        && let Some(rate) = parse_length(value)
    {
        // SAFETY: the caller's promise.
        unsafe {
            (*r).limit_rate = rate as usize;
            (*r).set_limit_rate_set(1);
        }
    }
}

/// With its charset apart, where there is one, so that nginx's charset and gzip filters know the type.
///
/// # Safety
/// As for [`apply`].
unsafe fn set_content_type(r: *mut ngx_http_request_t, value: &[u8]) {
    // SAFETY: the caller's promise.
    unsafe {
        let out = &mut (*r).headers_out;
        out.content_type = nginx::str_of(value);
        out.content_type_len = value.len();
        out.content_type_lowcase = ptr::null_mut();
        out.charset = ngx_str_t { len: 0, data: ptr::null_mut() };
        let mut at = 0;
        for (i, part) in value.split(|b| *b == b';').enumerate() {
            let parameter = part.trim_ascii();
            if i > 0
                && let Some((key, charset)) = parameter.split_at_checked(b"charset=".len())
                && key.eq_ignore_ascii_case(b"charset=")
                && at + part.len() == value.len()
            {
                out.content_type_len = at - 1;
                out.charset = nginx::str_of(charset.trim_ascii().trim_prefix_suffix(b'"'));
            }
            at += part.len() + 1;
        }
    }
}

trait Trim {
    fn trim_prefix_suffix(&self, byte: u8) -> &Self;
}

impl Trim for [u8] {
    /// Without one such byte at each end.
    fn trim_prefix_suffix(&self, byte: u8) -> &Self {
        let inner = self.strip_prefix(&[byte]).unwrap_or(self);
        inner.strip_suffix(&[byte]).unwrap_or(inner)
    }
}

/// What an intercepted answer or a redirected one keeps of its headers.
///
/// # Safety
/// As for [`apply`].
pub unsafe fn keep(exchange: &Exchange, head: &Head, verdict: &Verdict) -> Result<(), Failure> {
    for (name, value) in head.headers() {
        let kept = match verdict {
            Verdict::Redirect => is_one_of(name, &KEPT),
            _ => head.status == NGX_HTTP_UNAUTHORIZED as u16 && name.eq_ignore_ascii_case(b"www-authenticate"),
        };
        if kept {
            // SAFETY: the caller's promise.
            unsafe { copy(exchange.r, exchange.conf, head.status, name, value)? };
        }
    }
    Ok(())
}
