//! A request's head, from the host's structures to the types of the crate `http`.

use std::{
    net::{IpAddr, SocketAddr},
    slice,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, uri::PathAndQuery};
use nffi_abi::{NFFI_HTTP_TLS, bytes, nffi_header, nffi_http_request, nffi_str};

use super::{
    body::Body,
    exchange::Exchange,
    info::{Info, Known},
};

/// The bytes of a string of the host's.
///
/// # Safety
/// They live for `'a`.
pub(super) unsafe fn of<'a>(string: &nffi_str) -> &'a [u8] {
    // SAFETY: as the caller promises.
    unsafe { bytes(string.data, string.len) }
}

/// # Safety
/// As for [`of`].
unsafe fn list<'a>(first: *const nffi_header, len: usize) -> &'a [nffi_header] {
    if first.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts(first, len) }
}

/// Strings one after the other in one block, of which each then holds a part: one allocation for all.
struct Block {
    bytes: BytesMut,
}

impl Block {
    fn of(strings: &[&[u8]], headers: &[&[nffi_header]]) -> Self {
        let pairs = headers.iter().flat_map(|list| list.iter());
        let len = strings.iter().map(|s| s.len()).sum::<usize>()
            + pairs.map(|header| header.name.len + header.value.len).sum::<usize>();
        Self { bytes: BytesMut::with_capacity(len) }
    }

    fn put(&mut self, string: &[u8]) -> Bytes {
        if string.is_empty() {
            return Bytes::new();
        }
        self.bytes.extend_from_slice(string);
        self.bytes.split().freeze()
    }
}

/// What is wrong with a request that no app gets to see: the client is to blame.
pub(super) struct Malformed(pub(super) &'static str);

/// The request, with the body that it is given.
///
/// # Safety
/// `request` is the host's, and its task has not ended.
pub(super) unsafe fn request(
    request: &nffi_http_request,
    exchange: &Arc<Exchange>,
    body: Body,
) -> Result<Request<Body>, Malformed> {
    // SAFETY: as the caller promises, for all that follows.
    unsafe {
        let [raw_path, query] = [of(&request.raw_path), of(&request.query)];
        let (headers, params) = (list(request.headers, request.headers_len), list(request.params, request.params_len));
        let (prefix, path, name) = (of(&request.prefix), of(&request.path), of(&request.server_name));
        let mut block = Block::of(&[raw_path, b"/?", query, prefix, path, name], &[headers, params]);

        let mut built = Request::new(body);
        *built.method_mut() = Method::from_bytes(of(&request.method)).map_err(|_| Malformed("the method"))?;
        *built.uri_mut() = uri(&mut block, raw_path, query)?;
        *built.version_mut() = match request.version {
            9 => Version::HTTP_09,
            1000 => Version::HTTP_10,
            2000 => Version::HTTP_2,
            3000 => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        let traceparent = fill(built.headers_mut(), &mut block, headers)?;
        let known = Known {
            client: address(of(&request.client_addr), request.client_port),
            server: address(of(&request.server_addr), request.server_port),
            tls: request.flags & NFFI_HTTP_TLS != 0,
            prefix: block.put(prefix),
            path: block.put(path),
            server_name: block.put(name),
            params: params.iter().map(|param| (block.put(of(&param.name)), block.put(of(&param.value)))).collect(),
            traceparent,
        };
        #[cfg(feature = "axum")]
        if let Some(client) = known.client {
            built.extensions_mut().insert(axum::extract::ConnectInfo(client));
        }
        built.extensions_mut().insert(Info::new(known, exchange));
        Ok(built)
    }
}

fn uri(block: &mut Block, raw_path: &[u8], query: &[u8]) -> Result<Uri, Malformed> {
    block.bytes.extend_from_slice(if raw_path.is_empty() { b"/" } else { raw_path });
    if !query.is_empty() {
        block.bytes.extend_from_slice(b"?");
        block.bytes.extend_from_slice(query);
    }
    let target = PathAndQuery::from_maybe_shared(block.bytes.split().freeze());
    target.map(Uri::from).map_err(|_| Malformed("the path or the query"))
}

/// Returns the value of `traceparent`.
///
/// # Safety
/// As for [`of`].
unsafe fn fill(
    map: &mut HeaderMap,
    block: &mut Block,
    headers: &[nffi_header],
) -> Result<Option<HeaderValue>, Malformed> {
    let mut traceparent = None;
    map.reserve(headers.len());
    for header in headers {
        // SAFETY: as the caller promises.
        let (name, value) = unsafe { (of(&header.name), of(&header.value)) };
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed("a header's name"))?;
        let value = HeaderValue::from_maybe_shared(block.put(value)).map_err(|_| Malformed("a header's value"))?;
        if name == "traceparent" {
            traceparent = Some(value.clone());
        }
        map.append(name, value);
    }
    Ok(traceparent)
}

fn address(text: &[u8], port: u16) -> Option<SocketAddr> {
    let ip: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(raw_path: &str, query: &str) -> Option<String> {
        let mut block = Block::of(&[raw_path.as_bytes(), b"/?", query.as_bytes()], &[]);
        uri(&mut block, raw_path.as_bytes(), query.as_bytes()).ok().map(|uri| uri.to_string())
    }

    #[test]
    fn targets_stay_as_they_were_sent() {
        assert_eq!(parsed("/a%20b/../c//d", "x=1&y=%2F?").as_deref(), Some("/a%20b/../c//d?x=1&y=%2F?"));
        assert_eq!(parsed("", "x").as_deref(), Some("/?x"));
        assert_eq!(parsed("/a", "").as_deref(), Some("/a"));
        assert_eq!(parsed("/a<b", ""), None);
    }

    #[test]
    fn headers_keep_their_order_and_their_bytes() {
        let lines = [("Cookie", "a"), ("X-Odd", "\u{e4}"), ("Cookie", "b"), ("traceparent", "00-1"), ("Empty", "")];
        let headers: Vec<_> =
            lines.iter().map(|(name, value)| crate::host::http::header(name.as_bytes(), value.as_bytes())).collect();
        let mut block = Block::of(&[], &[&headers]);
        let room = block.bytes.capacity();
        let mut map = HeaderMap::new();
        // SAFETY: the strings are static.
        let traceparent = unsafe { fill(&mut map, &mut block, &headers) }.ok().flatten();
        assert_eq!(traceparent.unwrap(), "00-1");
        assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(map["x-odd"].as_bytes(), "\u{e4}".as_bytes());
        assert_eq!((map["empty"].len(), map.len()), (0, 5));
        assert!(room >= lines.iter().map(|(name, value)| name.len() + value.len()).sum());
    }

    #[test]
    fn what_no_app_should_see() {
        for (name, value) in [("a b", "x"), ("a", "x\u{1}")] {
            let headers = [crate::host::http::header(name.as_bytes(), value.as_bytes())];
            let mut block = Block::of(&[], &[&headers]);
            // SAFETY: the strings are static.
            assert!(unsafe { fill(&mut HeaderMap::new(), &mut block, &headers) }.is_err(), "{name}: {value:?}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address(b"127.0.0.1", 80), Some(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert_eq!(address(b"::1", 8).map(|addr| addr.to_string()).as_deref(), Some("[::1]:8"));
        assert_eq!(address(b"unix:", 0), None);
    }
}
