//! nginx's request, as the runtime gets it: one block.

use std::{os::fd::OwnedFd, slice};

use nffi_core::{
    abi,
    buf::Buf,
    http::{Http, RequestHead},
};
use nginx_sys::{
    NGX_ESCAPE_URI, NGX_HTTP_VERSION_11, ngx_buf_t, ngx_chain_t, ngx_connection_local_sockaddr, ngx_escape_uri,
    ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_request_t, ngx_inet_get_port, ngx_str_t,
};

use super::exchange::Exchange;
use crate::nginx;

/// Bytes of the longest address: a unix socket's path, with "unix:".
const ADDRESS: usize = 128;

/// What is submitted.
#[derive(Debug)]
pub struct Ready {
    pub block: Buf,
    pub http: Http,
    /// The rest of the body follows.
    pub more: bool,
    /// Bytes of the body that are known now.
    pub bytes: u64,
}

/// Where the body is.
struct Body<'a> {
    parts: Vec<&'a [u8]>,
    file: Option<OwnedFd>,
    length: i64,
    more: bool,
}

/// The whole request, with its body as far as nginx has read it. `Err` where memory or a descriptor is
/// not to be had, and which.
///
/// # Safety
/// The exchange's request is live, and its body has been read, or is being read.
pub unsafe fn ready(exchange: *mut Exchange) -> Result<Ready, &'static str> {
    // SAFETY: the caller's promise, for all that follows. A param may ask for the exchange's variables: so no
    // reference to it lasts.
    unsafe {
        let r = (*exchange).r;
        let request = &*r;
        let connection = &mut *request.connection;
        let body = body_of(r)?;
        let is_main = std::ptr::eq(r, request.main);

        let mut headers = Vec::with_capacity(32);
        let mut traceparents = Vec::new();
        nginx::each_header(&request.headers_in.headers, |name, value| {
            if !tells_body(name, value, body.length, is_main) {
                return;
            }
            if name.eq_ignore_ascii_case(b"traceparent") {
                traceparents.push(value);
            }
            headers.push((name, value));
        });
        // Of several nobody knows which is meant.
        let given = if let [one] = traceparents[..] { Some(one) } else { None };
        let made = (*exchange).set_trace(given);
        if let Some(made) = &made {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"traceparent"));
            headers.push((b"traceparent", made.as_bytes()));
        }

        let mut params = Vec::new();
        for (name, value) in (*(*exchange).conf).params() {
            params.push((name.as_slice(), value.of(r).ok_or("no memory")?));
        }

        let mut address = [0; ADDRESS];
        let mut server = ngx_str_t { len: address.len(), data: address.as_mut_ptr() };
        let known = ngx_connection_local_sockaddr(connection, &raw mut server, 0) == crate::OK;
        let server_addr = if known { nginx::bytes(&server) } else { b"" };

        let path = nginx::bytes(&request.uri);
        let escaped;
        let raw_path = if request.valid_unparsed_uri() != 0 {
            let raw = nginx::bytes(&request.unparsed_uri);
            raw.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default()
        } else {
            escaped = escape(path);
            &escaped
        };
        let prefix = Some((*(*exchange).conf).prefix())
            .filter(|prefix| path.strip_prefix(*prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))));

        let mut flags = 0;
        if body.length != 0 {
            flags |= abi::NFFI_HTTP_BODY;
        }
        if !connection.ssl.is_null() {
            flags |= abi::NFFI_HTTP_TLS;
        }
        if is_main && request.http_version == NGX_HTTP_VERSION_11 as usize && wants_upgrade(&headers) && !body.more {
            flags |= abi::NFFI_HTTP_UPGRADE;
        }
        let head = RequestHead {
            flags,
            version: request.http_version as u32,
            client_port: ngx_inet_get_port(connection.sockaddr),
            server_port: if known { ngx_inet_get_port(connection.local_sockaddr) } else { 0 },
            method: nginx::bytes(&request.method_name),
            raw_path,
            path,
            query: nginx::bytes(&request.args),
            prefix: prefix.unwrap_or_default(),
            scheme: if connection.ssl.is_null() { b"http" } else { b"https" },
            client_addr: nginx::bytes(&connection.addr_text),
            server_addr,
            server_name: server_name(r),
            headers: &headers,
            params: &params,
            content_length: body.length,
            body: &body.parts,
            body_fd: body.file.as_ref().map_or(-1, std::os::fd::AsRawFd::as_raw_fd),
        };
        let block = head.block().ok_or("no memory")?;
        let bytes = if body.more { 0 } else { u64::try_from(body.length).unwrap_or(0) };
        Ok(Ready { block, http: Http::new(body.file), more: body.more, bytes })
    }
}

/// # Safety
/// As for [`ready`].
unsafe fn body_of<'a>(r: *mut ngx_http_request_t) -> Result<Body<'a>, &'static str> {
    let mut found = Body { parts: Vec::new(), file: None, length: 0, more: false };
    // SAFETY: the caller's promise.
    unsafe {
        let request = &mut *r;
        let Some(body) = request.request_body.as_mut() else { return Ok(found) };
        if request.request_body_no_buffering() != 0 {
            found.more = true;
            // Of a chunked body nginx counts there what has come so far.
            let chunked = request.headers_in.chunked() != 0;
            found.length = if chunked { -1 } else { request.headers_in.content_length_n.max(-1) };
            return Ok(found);
        }
        if (*request.main).reading_body() != 0 {
            // It goes, or went, to another runtime piece by piece: what is left is not the body.
            return Ok(found);
        }
        if !body.temp_file.is_null() {
            // nginx's own is unlinked already, and closed with the request.
            let fd = (*body.temp_file).file.fd;
            found.length = (*body.temp_file).file.offset;
            let file = std::os::fd::BorrowedFd::borrow_raw(fd).try_clone_to_owned();
            found.file = Some(file.map_err(|_| "no descriptor is left for the request's body")?);
            return Ok(found);
        }
        found.parts = in_memory(body.bufs);
        found.length = found.parts.iter().map(|part| part.len() as i64).sum();
        Ok(found)
    }
}

/// # Safety
/// The chain's buffers are live, and in memory.
pub unsafe fn in_memory<'a>(mut chain: *mut ngx_chain_t) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    // SAFETY: the caller's promise.
    unsafe {
        while let Some(link) = chain.as_ref() {
            parts.push(memory_of(&*link.buf));
            chain = link.next;
        }
    }
    parts
}

/// What of a buffer is in memory and not consumed.
///
/// # Safety
/// The buffer is live while the result is used.
pub unsafe fn memory_of<'a>(buf: &ngx_buf_t) -> &'a [u8] {
    if buf.pos.is_null() || buf.last <= buf.pos {
        return &[];
    }
    // SAFETY: nginx's buffers hold pos up to last.
    unsafe { slice::from_raw_parts(buf.pos, buf.last.offset_from(buf.pos).cast_unsigned()) }
}

/// A header about a body is left out where there is another body, or none: a subrequest has its parent's headers,
/// but not its body, nor has a request whose body was discarded, or went to another runtime piece by piece.
fn tells_body(name: &[u8], value: &[u8], length: i64, is_main: bool) -> bool {
    if name.eq_ignore_ascii_case(b"content-length") {
        return (length != 0 || is_main) && std::str::from_utf8(value).is_ok_and(|text| text.parse() == Ok(length));
    }
    length != 0 || !name.eq_ignore_ascii_case(b"transfer-encoding")
}

fn wants_upgrade(headers: &[(&[u8], &[u8])]) -> bool {
    let has = |wanted: &[u8], f: &dyn Fn(&[u8]) -> bool| {
        headers.iter().any(|(name, value)| name.eq_ignore_ascii_case(wanted) && f(value))
    };
    has(b"connection", &|value| value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade")))
        && has(b"upgrade", &|value| !value.is_empty())
}

/// Percent-encodes a path that nginx has decoded.
///
/// # Safety
/// None beyond nginx's own: it reads the bytes it is given.
unsafe fn escape(path: &[u8]) -> Vec<u8> {
    let from = path.as_ptr().cast_mut();
    // SAFETY: without a target it counts what it would escape.
    let more = unsafe { ngx_escape_uri(std::ptr::null_mut(), from, path.len(), NGX_ESCAPE_URI as usize) };
    let mut escaped = vec![0; path.len() + 2 * more];
    if more == 0 {
        escaped.copy_from_slice(path);
    } else {
        // SAFETY: there is room for two bytes more for each.
        unsafe { ngx_escape_uri(escaped.as_mut_ptr(), from, path.len(), NGX_ESCAPE_URI as usize) };
    }
    escaped
}

/// # Safety
/// `r` is a live request.
unsafe fn server_name<'a>(r: *mut ngx_http_request_t) -> &'a [u8] {
    // SAFETY: the caller's promise; the core module's own type.
    unsafe {
        if (*r).headers_in.server.len > 0 {
            return nginx::bytes(&(*r).headers_in.server);
        }
        let conf: *const ngx_http_core_srv_conf_t =
            (*(*r).srv_conf.add((&raw const ngx_http_core_module).read().ctx_index)).cast();
        nginx::bytes(&(*conf).server_name)
    }
}
