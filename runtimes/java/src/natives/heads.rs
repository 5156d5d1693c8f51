//! HTTP heads on their way between the host's structures and Java's arrays, as Heads.java writes and RequestHead.java
//! reads them. All numbers are in the machine's byte order.
//!
//! Of an answer, and trailers: status u32, count u32, then the lengths of each name and value u32, then their bytes.
//!
//! Of a request: flags u32, version u32, ports u32 2, content_length i64, the body's address u64 and length u64, its
//! descriptor i32, whether it is at the end of this block u32, how many headers and params u32 2, the lengths of nine
//! strings u32, of each name and value u32, then the bytes of all, then perhaps the body.

use std::{ffi::c_int, slice};

use nffi_abi::{bytes, nffi_header, nffi_http_request, nffi_str};

/// A longer body is lent to Java instead.
const INLINE: usize = 16 * 1024;
const NUMBERS: usize = 56;

/// Calls `then` with the status and the headers of a block; None where it is no block.
pub fn decode<T>(block: &[u8], then: impl FnOnce(c_int, &[nffi_header]) -> T) -> Option<T> {
    let number = |at: usize| Some(u32::from_ne_bytes(block.get(at..at + 4)?.try_into().ok()?) as usize);
    let (status, count) = (number(0)?, number(4)?);
    let mut strings = block.get(8 + 8 * count..)?;
    let mut cut = |at: usize| {
        let (string, rest) = strings.split_at_checked(number(at)?)?;
        strings = rest;
        Some(nffi_str { data: string.as_ptr().cast(), len: string.len() })
    };
    let mut headers = Vec::with_capacity(count);
    for i in 0..count {
        headers.push(nffi_header { name: cut(8 + 8 * i)?, value: cut(12 + 8 * i)? });
    }
    Some(then(status as c_int, &headers))
}

/// A request, laid out for Java.
pub struct Request<'a> {
    request: &'a nffi_http_request,
    strings: [&'a [u8]; 9],
    headers: &'a [nffi_header],
    params: &'a [nffi_header],
    /// Where it goes with the block.
    body: &'a [u8],
}

/// # Safety
/// The pointer, where it is not null, has so many, valid as long as the result is used.
unsafe fn list<'a>(list: *const nffi_header, len: usize) -> &'a [nffi_header] {
    // SAFETY: the caller's promise.
    if list.is_null() { &[] } else { unsafe { slice::from_raw_parts(list, len) } }
}

/// # Safety
/// A string of the host's, valid as long as the result is used.
unsafe fn string<'a>(string: &nffi_str) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { bytes(string.data, string.len) }
}

impl<'a> Request<'a> {
    /// # Safety
    /// The request is the host's, whose task does not end while this is used.
    pub unsafe fn new(r: &'a nffi_http_request) -> Self {
        let names = [
            &r.method,
            &r.raw_path,
            &r.path,
            &r.query,
            &r.prefix,
            &r.scheme,
            &r.client_addr,
            &r.server_addr,
            &r.server_name,
        ];
        // SAFETY: the caller's promise holds for all that the request points to.
        unsafe {
            Self {
                request: r,
                strings: names.map(|name| string(name)),
                headers: list(r.headers, r.headers_len),
                params: list(r.params, r.params_len),
                body: if r.body.len <= INLINE { string(&r.body) } else { &[] },
            }
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        // SAFETY: as new() was promised.
        self.headers.iter().chain(self.params).map(|h| unsafe { (string(&h.name), string(&h.value)) })
    }

    /// Of the block.
    pub fn len(&self) -> usize {
        let strings: usize = self.strings.iter().map(|s| s.len() + 4).sum();
        let pairs: usize = self.pairs().map(|(name, value)| name.len() + value.len() + 8).sum();
        NUMBERS + strings + pairs + self.body.len()
    }

    /// Writes the block; `out` is at least as long.
    pub fn write(&self, out: &mut [u8]) {
        let r = self.request;
        let mut at = 0;
        let mut put = |part: &[u8]| {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        let mut number = |n: u32| put(&n.to_ne_bytes());
        number(r.flags);
        number(r.version);
        number(r.client_port.into());
        number(r.server_port.into());
        put(&r.content_length.to_ne_bytes());
        put(&(r.body.data as u64).to_ne_bytes());
        put(&(r.body.len as u64).to_ne_bytes());
        put(&r.body_fd.to_ne_bytes());
        let mut number = |n: usize| put(&(n as u32).to_ne_bytes());
        number(usize::from(!self.body.is_empty()));
        number(self.headers.len());
        number(self.params.len());
        self.strings.iter().for_each(|string| number(string.len()));
        for (name, value) in self.pairs() {
            number(name.len());
            number(value.len());
        }
        self.strings.iter().for_each(|string| put(string));
        for (name, value) in self.pairs() {
            put(name);
            put(value);
        }
        put(self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn str(text: &'static [u8]) -> nffi_str {
        nffi_str { data: text.as_ptr().cast(), len: text.len() }
    }

    fn block(numbers: &[u32], strings: &[u8]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_ne_bytes()).chain(strings.iter().copied()).collect()
    }

    #[test]
    fn an_answers_head() {
        let read = decode(&block(&[200, 2, 1, 2, 3, 0], b"Abcdef"), |status, headers| {
            // SAFETY: strings of the block.
            let all = headers.iter().map(|h| unsafe { (string(&h.name).to_vec(), string(&h.value).to_vec()) });
            (status, all.collect::<Vec<_>>())
        });
        assert_eq!(read, Some((200, vec![(b"A".to_vec(), b"bc".to_vec()), (b"def".to_vec(), vec![])])));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for wrong in
            [block(&[], b""), block(&[200, 1], b""), block(&[200, 1, 2, 2], b"abc"), block(&[200, u32::MAX], b"")]
        {
            assert_eq!(decode(&wrong, |_, _| ()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_requests_head() {
        let headers = [nffi_header { name: str(b"Host"), value: str(b"x") }];
        let params = [nffi_header { name: str(b"P"), value: str(b"") }];
        let request = nffi_http_request {
            flags: 2,
            method: str(b"POST"),
            server_name: str(b"name"),
            headers: headers.as_ptr(),
            headers_len: 1,
            params: params.as_ptr(),
            params_len: 1,
            content_length: 4,
            body: str(b"body"),
            body_fd: -1,
            ..Default::default()
        };
        // SAFETY: all of it lives as long as this test.
        let request = unsafe { Request::new(&request) };
        let mut block = vec![0; request.len()];
        request.write(&mut block);
        assert!(block.ends_with(b"POSTnameHostxPbody"), "{block:?}");
        assert_eq!(block.len(), NUMBERS + 9 * 4 + 2 * 8 + 18);
        assert_eq!(block[40..48], [255, 255, 255, 255, 1, 0, 0, 0]);
    }
}
