//! The opening handshake: is the request one for a WebSocket, and what is the answer?

use thiserror::Error;

use crate::deflate::Deflate;
use tungstenite::handshake::derive_accept_key;

/// Names and values of header lines, as they came.
type Headers<'a, 'h> = &'h [(&'a [u8], &'a [u8])];

/// A request that asks for a WebSocket in the right way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// What `Sec-WebSocket-Protocol` offered, in the client's order; the app may choose one of them.
    pub subprotocols: Vec<String>,
    /// How messages may be compressed, where the client has offered that. None: they are not.
    pub deflate: Option<Deflate>,
}

/// The app chose a subprotocol that the client did not offer; the client would drop the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the client did not offer the subprotocol {chosen:?}, but {offered:?}")]
pub struct NotOffered {
    pub chosen: String,
    pub offered: Vec<String>,
}

impl Accept {
    /// The headers of the 101, less `Connection`, which is the host's.
    pub fn headers(&self, subprotocol: Option<&str>) -> Result<Vec<(&'static str, String)>, NotOffered> {
        let mut headers = vec![("Upgrade", "websocket".into()), ("Sec-WebSocket-Accept", self.accept_key.clone())];
        if let Some(chosen) = subprotocol {
            if !self.subprotocols.iter().any(|offered| offered == chosen) {
                return Err(NotOffered { chosen: chosen.into(), offered: self.subprotocols.clone() });
            }
            headers.push(("Sec-WebSocket-Protocol", chosen.into()));
        }
        if let Some(deflate) = &self.deflate {
            headers.push(("Sec-WebSocket-Extensions", deflate.answer()));
        }
        Ok(headers)
    }
}

/// The answer to a request that does it wrongly. The text is plain, and says what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub text: &'static str,
}

fn bad(text: &'static str) -> Refusal {
    Refusal { status: 400, headers: &[], text }
}

fn values<'a>(headers: Headers<'a, '_>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v.trim_ascii())
}

/// The members of a comma-separated list, over all lines of that name; empty ones count for nothing.
fn members<'a>(headers: Headers<'a, '_>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    values(headers, name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
}

/// Of a header that has to be there once.
fn only<'a>(headers: Headers<'a, '_>, name: &str) -> Result<Option<&'a [u8]>, ()> {
    let mut all = values(headers, name);
    let first = all.next();
    if all.next().is_some() { Err(()) } else { Ok(first) }
}

/// Is it a token, RFC 9110 section 5.6.2?
fn is_token(name: &[u8]) -> bool {
    name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// 16 bytes in base64 are 22 letters and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Does the request ask for a WebSocket at all? Where it does not, it is an ordinary one for the app.
pub fn is_websocket(headers: &[(&[u8], &[u8])]) -> bool {
    members(headers, "Upgrade").any(|m| m.eq_ignore_ascii_case(b"websocket"))
        && members(headers, "Connection").any(|m| m.eq_ignore_ascii_case(b"upgrade"))
}

/// Checks the request of a client that wants a WebSocket: RFC 6455 section 4.2. Whether the connection
/// can be upgraded is the host's to say (`NFFI_HTTP_UPGRADE`).
pub fn handshake(method: &[u8], headers: &[(&[u8], &[u8])]) -> Result<Accept, Refusal> {
    if method != b"GET" {
        return Err(Refusal { status: 405, headers: &[("Allow", "GET")], text: "a WebSocket is opened by GET" });
    }
    if !is_websocket(headers) {
        return Err(Refusal {
            status: 426,
            headers: &[("Upgrade", "websocket")],
            text: "here is a WebSocket: ask with Connection: Upgrade and Upgrade: websocket",
        });
    }
    match only(headers, "Sec-WebSocket-Version") {
        Ok(Some(b"13")) => {}
        _ => {
            return Err(Refusal {
                status: 426,
                headers: &[("Sec-WebSocket-Version", "13")],
                text: "Sec-WebSocket-Version must be 13",
            });
        }
    }
    let key = match only(headers, "Sec-WebSocket-Key") {
        Ok(Some(key)) => key,
        Ok(None) => return Err(bad("Sec-WebSocket-Key is missing")),
        Err(()) => return Err(bad("there is more than one Sec-WebSocket-Key")),
    };
    if !is_key(key) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let mut subprotocols = Vec::new();
    for name in members(headers, "Sec-WebSocket-Protocol") {
        match std::str::from_utf8(name) {
            Ok(name) if is_token(name.as_bytes()) => subprotocols.push(name.to_owned()),
            _ => return Err(bad("Sec-WebSocket-Protocol must be a list of tokens")),
        }
    }
    let deflate = Deflate::negotiate(members(headers, "Sec-WebSocket-Extensions"));
    Ok(Accept { accept_key: derive_accept_key(key), subprotocols, deflate })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&[u8], &[u8]) = (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
    const GOOD: [(&[u8], &[u8]); 4] =
        [(b"upgrade", b"WebSocket"), (b"Connection", b"keep-alive, Upgrade"), (b"sec-websocket-version", b" 13 "), KEY];

    /// What it says where the headers are `GOOD`'s but for one.
    fn with(at: usize, value: &'static [u8]) -> Result<Accept, Refusal> {
        let mut headers = GOOD;
        headers[at].1 = value;
        handshake(b"GET", &headers)
    }

    fn without(at: usize) -> Result<Accept, Refusal> {
        let mut headers = GOOD.to_vec();
        headers.remove(at);
        handshake(b"GET", &headers)
    }

    #[test]
    fn the_example_of_the_rfc() {
        let accept = handshake(b"GET", &GOOD).expect("accepted");
        assert_eq!(accept.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((accept.subprotocols.len(), accept.deflate), (0, None));
        let headers = accept.headers(None).expect("no subprotocol");
        assert_eq!(
            headers,
            [("Upgrade", "websocket".to_owned()), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned())]
        );
    }

    #[test]
    fn what_asks_for_none_is_told_to_upgrade() {
        for refused in [without(0), without(1), with(0, b"h2c"), with(1, b"close"), with(0, b"websocketx")] {
            let refusal = refused.expect_err("refused");
            assert_eq!((refusal.status, refusal.headers), (426, &[("Upgrade", "websocket")][..]));
        }
        assert!(is_websocket(&GOOD) && !is_websocket(&GOOD[1..]) && !is_websocket(&[]));
        assert!(with(0, b"h2c, websocket").is_ok());
        assert!(with(1, b"Upgrade").is_ok());
    }

    #[test]
    fn the_method_is_get() {
        let refusal = handshake(b"POST", &GOOD).expect_err("refused");
        assert_eq!((refusal.status, refusal.headers), (405, &[("Allow", "GET")][..]));
    }

    #[test]
    fn another_version_is_told_the_right_one() {
        let twice = [GOOD[0], GOOD[1], GOOD[2], GOOD[2], KEY];
        for refused in [without(2), with(2, b"8"), with(2, b"13, 8"), with(2, b""), handshake(b"GET", &twice)] {
            let refusal = refused.expect_err("refused");
            assert_eq!((refusal.status, refusal.headers), (426, &[("Sec-WebSocket-Version", "13")][..]));
        }
    }

    #[test]
    fn the_key_is_sixteen_bytes_once() {
        let twice = [GOOD[0], GOOD[1], GOOD[2], KEY, KEY];
        for refused in [
            without(3),
            with(3, b""),
            with(3, b"dGhlIHNhbXBsZSBub25jZQ="),
            with(3, b"dGhlIHNhbXBsZSBub25jZQAA"),
            with(3, b"dGhlIHNhbXBsZSBub25jZQA="),
            with(3, b"dGhlIHNhbXBsZSBub25j\xffQ=="),
            with(3, b"dGhlIHNhbXBsZSBub25jZQAAAA=="),
            with(3, b"dGhlIHNhbXBsZSBub25j ZQ=="),
            handshake(b"GET", &twice),
        ] {
            assert_eq!(refused.expect_err("refused").status, 400);
        }
    }

    #[test]
    fn compression_is_answered_where_it_is_offered() {
        let mut headers = GOOD.to_vec();
        headers.push((b"Sec-WebSocket-Extensions", b"unknown; a=1"));
        assert_eq!(handshake(b"GET", &headers).expect("accepted").deflate, None);
        headers.push((b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits, permessage-deflate"));
        let mut accept = handshake(b"GET", &headers).expect("accepted");
        let answer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12".to_owned();
        assert_eq!(accept.headers(None).expect("no subprotocol").last(), Some(&("Sec-WebSocket-Extensions", answer)));
        // The caller wants none.
        accept.deflate = None;
        assert_eq!(accept.headers(None).expect("no subprotocol").len(), 2);
    }

    #[test]
    fn subprotocols_are_offered_in_order_and_chosen_among() {
        let mut headers = GOOD.to_vec();
        headers.push((b"Sec-WebSocket-Protocol", b"chat, ,v2.chat"));
        headers.push((b"sec-websocket-protocol", b"soap"));
        let accept = handshake(b"GET", &headers).expect("accepted");
        assert_eq!(accept.subprotocols, ["chat", "v2.chat", "soap"]);
        let chosen = accept.headers(Some("soap")).expect("offered");
        assert_eq!(chosen.last(), Some(&("Sec-WebSocket-Protocol", "soap".to_owned())));
        let refused = accept.headers(Some("Chat")).expect_err("not offered");
        assert_eq!(refused.chosen, "Chat");

        headers.push((b"Sec-WebSocket-Protocol", b"a b"));
        assert_eq!(handshake(b"GET", &headers).expect_err("refused").status, 400);
        headers.pop();
        headers.push((b"Sec-WebSocket-Protocol", b"\xe4"));
        assert_eq!(handshake(b"GET", &headers).expect_err("refused").status, 400);
    }
}
