//! A request, and the block that a runtime gets of it.

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
};

use nffi_core::{abi, buf::Buf, http::RequestHead, pipe::WINDOW};

use super::HttpError;

/// Where a request's body is.
#[derive(Debug, Default)]
pub enum HttpBody {
    #[default]
    None,
    Memory(Vec<u8>),
    /// All of it, from its begin: the runtime gets the descriptor.
    File(File),
    /// It follows piece by piece; its length, where that is said beforehand.
    Streamed(Option<u64>),
}

/// An HTTP request. What a client adds by itself is added: `Host`, and `Content-Length` or
/// `Transfer-Encoding`, where they are not among `headers`.
#[derive(Debug)]
pub struct HttpRequest {
    pub method: Vec<u8>,
    /// The path, percent-encoded, and perhaps a query.
    pub target: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: HttpBody,
    /// Where the app is mounted; it counts where the path is below it.
    pub prefix: Vec<u8>,
    /// As by `nffi_param`.
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
    /// 1000, 1001 (the default), 2000.
    pub version: u32,
    pub tls: bool,
    pub client: (String, u16),
    pub server: (String, u16),
    /// Bytes under way in each direction.
    pub window: usize,
}

impl HttpRequest {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            body: HttpBody::None,
            prefix: Vec::new(),
            params: Vec::new(),
            version: 1001,
            tls: false,
            client: ("127.0.0.1".into(), 54_321),
            server: ("127.0.0.1".into(), 80),
            window: WINDOW,
        }
    }

    /// The same with one header more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with a body in memory.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: HttpBody::Memory(body.into()), ..self }
    }

    pub(super) fn is_streamed(&self) -> bool {
        matches!(self.body, HttpBody::Streamed(_))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.as_slice())
    }

    /// Does it ask to upgrade the connection, and can that be?
    fn may_upgrade(&self) -> bool {
        let is_upgrade = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"upgrade");
        self.version == 1001
            && !self.is_streamed()
            && self.values("Connection").any(|v| v.split(|b| *b == b',').any(is_upgrade))
            && self.values("Upgrade").any(|v| !v.is_empty())
    }

    /// The block, and the descriptor that it names.
    pub(super) fn into_block(self) -> Result<(Buf, Option<OwnedFd>), HttpError> {
        if !self.target.starts_with(b"/") {
            return Err(HttpError::Request("the target of a request begins with a slash".into()));
        }
        let (raw_path, query) = match self.target.iter().position(|b| *b == b'?') {
            Some(at) => (&self.target[..at], &self.target[at + 1..]),
            None => (&self.target[..], &b""[..]),
        };
        let path = decode(raw_path);
        let below = path.strip_prefix(&self.prefix[..]).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
        let may_upgrade = self.may_upgrade();
        let content_length = match &self.body {
            HttpBody::None => 0,
            HttpBody::Memory(body) => body.len() as u64,
            HttpBody::File(file) => {
                file.metadata().map_err(|e| HttpError::Request(format!("the body's file: {e}")))?.len()
            }
            HttpBody::Streamed(length) => length.unwrap_or(u64::MAX),
        };
        let content_length = i64::try_from(content_length).unwrap_or(-1);

        let server_name = self.values("Host").next().unwrap_or(b"localhost").to_vec();
        let length = content_length.to_string();
        let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
        if self.values("Host").next().is_none() {
            headers.push((b"Host", b"localhost"));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        let says_length = ["Content-Length", "Transfer-Encoding"].iter().any(|name| self.values(name).next().is_some());
        match content_length {
            _ if says_length || matches!(self.body, HttpBody::None) => {}
            -1 => headers.push((b"Transfer-Encoding", b"chunked")),
            _ => headers.push((b"Content-Length", length.as_bytes())),
        }
        let params: Vec<(&[u8], &[u8])> = self.params.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();

        let mut flags = 0;
        for (flag, set) in [
            (abi::NFFI_HTTP_BODY, content_length != 0),
            (abi::NFFI_HTTP_TLS, self.tls),
            (abi::NFFI_HTTP_UPGRADE, may_upgrade),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let body = if let HttpBody::Memory(body) = &self.body { &body[..] } else { b"" };
        let body_fd = if let HttpBody::File(file) = &self.body { file.as_raw_fd() } else { -1 };
        let head = RequestHead {
            flags,
            version: self.version,
            client_port: self.client.1,
            server_port: self.server.1,
            method: &self.method,
            raw_path,
            path: &path,
            query,
            prefix: if below { &self.prefix } else { b"" },
            scheme: if self.tls { b"https" } else { b"http" },
            client_addr: self.client.0.as_bytes(),
            server_addr: self.server.0.as_bytes(),
            server_name: &server_name,
            headers: &headers,
            params: &params,
            content_length,
            body: &[body],
            body_fd,
        };
        let block = head.block().ok_or(HttpError::NoMemory)?;
        let file = if let HttpBody::File(file) = self.body { Some(file.into()) } else { None };
        Ok((block, file))
    }
}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(path: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match (byte, digit(path.get(at + 1)), digit(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_where_it_is_one() {
        for (raw, path) in [("/a%20b", "/a b"), ("/%41%2f", "/A/"), ("/%", "/%"), ("/%4", "/%4"), ("/%zz", "/%zz")] {
            assert_eq!(decode(raw.as_bytes()), path.as_bytes());
        }
    }
}
