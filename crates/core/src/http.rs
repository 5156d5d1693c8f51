//! HTTP as it crosses the boundary: a request in one block, and the heads of answers.

use std::{ffi::c_char, mem::offset_of, os::fd::OwnedFd, ptr, sync::Arc};

use nffi_abi as abi;

use crate::{
    buf::Buf,
    pipe::{Pieces, WINDOW, Weight},
};

/// What a task has besides, where its request is an HTTP request.
#[derive(Debug)]
pub struct Http {
    /// The file that a buffered body is in, open while the task lives.
    pub body: Option<OwnedFd>,
    /// Of pieces that are made where the first is written: most answers have none.
    pub window: usize,
    /// The answer's head, until the first piece takes it along.
    pub(crate) head: Option<Head>,
    pub(crate) trailers: Option<Head>,
    pub(crate) stage: Stage,
}

impl Http {
    pub fn new(body: Option<OwnedFd>) -> Self {
        Self { body, window: WINDOW, head: None, trailers: None, stage: Stage::Nothing }
    }
}

/// How far an answer has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Nothing,
    Head,
    Upgraded,
    Trailers,
}

/// How an HTTP task ended.
#[derive(Debug)]
pub struct HttpEnd {
    /// Other than 0: the runtime failed, and `data` is why.
    pub status: i32,
    /// The last piece; none where there was none.
    pub data: Buf,
    /// Where no piece took it along.
    pub head: Option<Head>,
    pub trailers: Option<Head>,
    /// Where any were written, or sent.
    pub pieces: Option<Arc<Pieces>>,
    /// When it was polled: CLOCK_MONOTONIC, ns.
    pub polled: u64,
    /// When the event loop had its end: the same.
    pub over: u64,
}

// ---- the request ------------------------------------------------------------------------------

/// A request's head, borrowed from the host's own structures; see `nffi_http_request`.
#[derive(Debug, Default)]
pub struct RequestHead<'a> {
    pub flags: u32,
    pub version: u32,
    pub client_port: u16,
    pub server_port: u16,
    pub method: &'a [u8],
    pub raw_path: &'a [u8],
    pub path: &'a [u8],
    pub query: &'a [u8],
    pub prefix: &'a [u8],
    pub scheme: &'a [u8],
    pub client_addr: &'a [u8],
    pub server_addr: &'a [u8],
    pub server_name: &'a [u8],
    pub headers: &'a [(&'a [u8], &'a [u8])],
    pub params: &'a [(&'a [u8], &'a [u8])],
    pub content_length: i64,
    /// The parts of a body in memory, one after the other.
    pub body: &'a [&'a [u8]],
    pub body_fd: i32,
}

/// Writes strings one after the other behind the structures of a block.
struct Strings {
    at: *mut c_char,
}

impl Strings {
    /// # Safety
    /// The block has room for them, and nobody else writes there.
    unsafe fn put(&mut self, parts: &[&[u8]]) -> abi::nffi_str {
        let data = self.at;
        for part in parts {
            // SAFETY: the caller's promise.
            unsafe {
                ptr::copy_nonoverlapping(part.as_ptr(), self.at.cast(), part.len());
                self.at = self.at.add(part.len());
            }
        }
        // SAFETY: both are in, or one past, the same block.
        abi::nffi_str { data, len: unsafe { self.at.offset_from(data) }.cast_unsigned() }
    }

    /// # Safety
    /// As for [`put`](Self::put); and `list` has room for as many.
    unsafe fn put_list(&mut self, list: *mut abi::nffi_header, pairs: &[(&[u8], &[u8])]) {
        for (i, (name, value)) in pairs.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { list.add(i).write(abi::nffi_header { name: self.put(&[name]), value: self.put(&[value]) }) };
        }
    }
}

impl RequestHead<'_> {
    fn strings(&self) -> [&[u8]; 9] {
        [
            self.method,
            self.raw_path,
            self.path,
            self.query,
            self.prefix,
            self.scheme,
            self.client_addr,
            self.server_addr,
            self.server_name,
        ]
    }

    /// The request in one block, which begins with its `nffi_http_request`. `None` where no memory is
    /// left. Runs on: event loop.
    pub fn block(&self) -> Option<Buf> {
        let of_pairs = |pairs: &[(&[u8], &[u8])]| pairs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        let of_body: usize = self.body.iter().map(|part| part.len()).sum();
        let lists = size_of::<abi::nffi_http_request>();
        let strings = lists + (self.headers.len() + self.params.len()) * size_of::<abi::nffi_header>();
        let len = strings
            + self.strings().iter().map(|s| s.len()).sum::<usize>()
            + of_pairs(self.headers)
            + of_pairs(self.params)
            + of_body;
        let block = Buf::uninit(len)?;
        let start = block.as_ptr().cast_mut();
        // SAFETY: malloc's blocks are aligned for any structure; the lengths of all that is written
        // were added up above, in the same order.
        unsafe {
            let headers: *mut abi::nffi_header = start.add(lists).cast();
            let params = headers.add(self.headers.len());
            let mut s = Strings { at: start.add(strings) };
            let [method, raw_path, path, query, prefix, scheme, client_addr, server_addr, server_name] =
                self.strings().map(|string| s.put(&[string]));
            s.put_list(headers, self.headers);
            s.put_list(params, self.params);
            let body = s.put(self.body);
            debug_assert_eq!(s.at, start.add(len));
            start.cast::<abi::nffi_http_request>().write(abi::nffi_http_request {
                size: size_of::<abi::nffi_http_request>() as u32,
                flags: self.flags,
                version: self.version,
                client_port: self.client_port,
                server_port: self.server_port,
                method,
                raw_path,
                path,
                query,
                prefix,
                scheme,
                client_addr,
                server_addr,
                server_name,
                headers,
                headers_len: self.headers.len(),
                params,
                params_len: self.params.len(),
                content_length: self.content_length,
                body,
                body_fd: self.body_fd,
                reserved: 0,
            });
        }
        Some(block)
    }
}

/// Is the client's wish to upgrade in this block? The block is one of [`RequestHead::block`].
pub(crate) fn may_upgrade(block: *const c_char) -> bool {
    // SAFETY: the block begins with the structure, whole and aligned.
    let flags = unsafe { block.add(offset_of!(abi::nffi_http_request, flags)).cast::<u32>().read() };
    flags & abi::NFFI_HTTP_UPGRADE != 0
}

// ---- the answer -------------------------------------------------------------------------------

/// Header lines of an answer, checked and copied.
#[derive(Debug)]
pub struct Head {
    /// 100 to 999; 0 for trailers.
    pub status: u16,
    /// For each header the two lengths, then name and value. One allocation: it is given back on another
    /// thread than made it.
    lines: Box<[u8]>,
}

/// Of the two lengths before each header, in native order.
const LENGTHS: usize = 2 * size_of::<u32>();

/// Is it a token, RFC 9110 section 5.6.2?
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// A field's value may be any bytes that cannot end it.
fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
}

impl Weight for Head {
    fn weight(&self) -> usize {
        self.lines.len().max(1)
    }
}

impl Head {
    /// `None` where something is malformed.
    pub fn new<'a>(status: u16, headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Option<Self> {
        let mut len = 0_usize;
        for (name, value) in headers.clone() {
            if !is_token(name) || !is_value(value) {
                return None;
            }
            len += LENGTHS + name.len() + value.len();
        }
        u32::try_from(len).ok()?;
        let mut lines = Vec::with_capacity(len);
        for (name, value) in headers {
            lines.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            lines.extend_from_slice(&(value.len() as u32).to_ne_bytes());
            lines.extend_from_slice(name);
            lines.extend_from_slice(value);
        }
        Some(Self { status, lines: lines.into() })
    }

    /// Names and values, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.lines;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_first_chunk()?;
            let (value, after) = after.split_first_chunk()?;
            let (name, after) = after.split_at_checked(u32::from_ne_bytes(*name) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_ne_bytes(*value) as usize)?;
            rest = after;
            Some((name, value))
        })
    }
}

/// The headers of an `http_head()` or `http_trailers()`.
///
/// # Safety
/// `headers` has n of them, each with its two strings, all valid while the result is used.
pub(crate) unsafe fn pairs<'a>(
    headers: *const abi::nffi_header,
    n: usize,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
    let headers: &[abi::nffi_header] = if headers.is_null() || n == 0 {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(headers, n) }
    };
    // SAFETY: as above.
    let string = |s: &abi::nffi_str| unsafe { abi::bytes(s.data, s.len) };
    headers.iter().map(move |header| (string(&header.name), string(&header.value)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_all_of_a_request() {
        let head = RequestHead {
            flags: abi::NFFI_HTTP_BODY,
            version: 1001,
            method: b"POST",
            path: b"/a b",
            raw_path: b"/a%20b",
            query: b"q",
            headers: &[(b"Host", b"x"), (b"A", b""), (b"A", b"2")],
            params: &[(b"P", b"v")],
            content_length: 5,
            body: &[b"he", b"", b"llo"],
            body_fd: -1,
            ..RequestHead::default()
        };
        let block = head.block().expect("memory");
        // SAFETY: a block begins with the structure.
        let request = unsafe { &*block.as_ptr().cast::<abi::nffi_http_request>() };
        // SAFETY: strings of the block.
        let string = |s: &abi::nffi_str| unsafe { abi::bytes(s.data, s.len) };
        assert_eq!(string(&request.method), b"POST");
        assert_eq!(string(&request.path), b"/a b");
        assert_eq!(string(&request.raw_path), b"/a%20b");
        assert_eq!(string(&request.query), b"q");
        assert_eq!(string(&request.prefix), b"");
        assert_eq!(string(&request.body), b"hello");
        // SAFETY: the lists of the block.
        let (headers, params) =
            unsafe { (pairs(request.headers, request.headers_len), pairs(request.params, request.params_len)) };
        assert_eq!(headers.collect::<Vec<_>>(), head.headers);
        assert_eq!(params.collect::<Vec<_>>(), head.params);
        assert!(!may_upgrade(block.as_ptr()));
    }

    #[test]
    fn heads_keep_order_and_duplicates() {
        let headers: [(&[u8], &[u8]); 3] = [(b"Set-Cookie", b"a"), (b"X", b""), (b"Set-Cookie", b"b")];
        let head = Head::new(200, headers.into_iter()).expect("well formed");
        assert_eq!(head.headers().collect::<Vec<_>>(), headers);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for (name, value) in
            [(&b""[..], &b"v"[..]), (b"a b", b"v"), (b"a:", b"v"), (b"a", b"v\r\nx: y"), (b"a", b"\0"), (b"\xe4", b"v")]
        {
            assert!(Head::new(200, [(name, value)].into_iter()).is_none(), "{name:?}: {value:?}");
        }
        assert!(Head::new(200, [(&b"a"[..], &b"\xe4 \t"[..])].into_iter()).is_some());
    }
}
