//! permessage-deflate, RFC 7692: what is agreed on in the handshake, and messages both ways.
//!
//! A session keeps the text that went last in each direction, but none of zlib's state, which is 150 KiB. A
//! thread has that once, for all sessions: reset before each message, and given the text as its dictionary,
//! it makes of the messages the one stream that the other end sees. That costs some 10 us for a message that is
//! sent, and nearly nothing for one that comes.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The window of what is sent, as a power of two.
const SENT_BITS: u8 = 12;
/// What of it may be in earlier messages: less than the window, since for each message all of it is looked at.
const SENT: usize = 2048;
/// The window of a client that lets us choose it; any other has deflate's own.
const RECEIVED_BITS: u8 = 12;
const MOST_BITS: u8 = 15;

/// A shorter message is sent as it is: it fits into a packet anyhow.
const LEAST: usize = 64;
/// How much longer a message may get: those after it may refer to it.
const LONGER: usize = 16;

/// The end of a flushed block, which is left out of a message.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// A message may refer to those before it.
    server_takeover: bool,
    client_takeover: bool,
    /// What the client's offer lets the answer say.
    client_bits: Option<u8>,
}

impl Deflate {
    /// Of the members of `Sec-WebSocket-Extensions`, the first offer that can be taken.
    pub(crate) fn negotiate<'a>(mut extensions: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        extensions.find_map(|extension| Self::of_offer(std::str::from_utf8(extension).ok()?))
    }

    fn of_offer(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next()? != "permessage-deflate" {
            return None;
        }
        let (mut server_takeover, mut client_takeover) = (true, true);
        let (mut server_bits, mut client_bits) = (None, None);
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(bits(value.trim_start())?)),
                None => (part, None),
            };
            // Each at most once.
            match (name, value) {
                ("server_no_context_takeover", None) if server_takeover => server_takeover = false,
                ("client_no_context_takeover", None) if client_takeover => client_takeover = false,
                ("server_max_window_bits", Some(bits)) if server_bits.is_none() => server_bits = Some(bits),
                ("client_max_window_bits", bits) if client_bits.is_none() => {
                    client_bits = Some(bits.unwrap_or(MOST_BITS).min(RECEIVED_BITS));
                }
                _ => return None,
            }
        }
        let fits = server_bits.is_none_or(|bits| bits >= SENT_BITS);
        fits.then_some(Self { server_takeover, client_takeover, client_bits })
    }

    /// The answer's `Sec-WebSocket-Extensions`.
    pub(crate) fn answer(&self) -> String {
        let mut answer = format!("permessage-deflate; server_max_window_bits={SENT_BITS}");
        if let Some(bits) = self.client_bits {
            answer += &format!("; client_max_window_bits={bits}");
        }
        for (takeover, name) in
            [(self.server_takeover, "server_no_context_takeover"), (self.client_takeover, "client_no_context_takeover")]
        {
            if !takeover {
                answer += "; ";
                answer += name;
            }
        }
        answer
    }
}

/// A window's, from 8 to 15; perhaps in quotes.
fn bits(value: &str) -> Option<u8> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15").then(|| value.parse().ok())?
}

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not deflate's.
    Data,
    /// It would be longer than that.
    TooLong,
}

/// The text that went last, as much of it as may be referred to.
#[derive(Debug)]
struct Window {
    text: Vec<u8>,
    most: usize,
}

impl Window {
    fn new(takeover: bool, most: usize) -> Self {
        Self { text: Vec::new(), most: if takeover { most } else { 0 } }
    }

    fn add(&mut self, text: &[u8]) {
        let text = &text[text.len().saturating_sub(self.most)..];
        self.text.drain(..(self.text.len() + text.len()).saturating_sub(self.most));
        self.text.extend_from_slice(text);
    }
}

/// zlib's state.
struct Zlib {
    compress: Compress,
    inflate: Decompress,
}

thread_local! {
    static ZLIB: RefCell<Zlib> = RefCell::new(Zlib {
        compress: Compress::new_with_window_bits(Compression::default(), false, SENT_BITS),
        inflate: Decompress::new(false),
    });
}

/// Messages of one session.
#[derive(Debug)]
pub struct Codec {
    sent: Window,
    received: Window,
}

impl Codec {
    pub fn new(agreed: Deflate) -> Self {
        // What was agreed on may be less. That zlib takes 9 where it is told 8 is no matter then.
        let client_bits = if agreed.client_bits.is_some() { RECEIVED_BITS } else { MOST_BITS };
        Self {
            sent: Window::new(agreed.server_takeover, SENT),
            received: Window::new(agreed.client_takeover, 1 << client_bits),
        }
    }

    /// The payload of a compressed message; None where it is best sent as it is.
    pub fn compress(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < LEAST {
            return None;
        }
        let mut payload = Vec::with_capacity(message.len() + LONGER);
        let whole = ZLIB.with_borrow_mut(|Zlib { compress, .. }| {
            compress.reset();
            if !self.sent.text.is_empty() {
                compress.set_dictionary(&self.sent.text).ok()?;
            }
            compress.compress_vec(message, &mut payload, FlushCompress::Sync).ok()?;
            // A flush has ended where there is room left.
            Some(compress.total_in() == message.len() as u64 && payload.len() < payload.capacity())
        })?;
        if !whole || !payload.ends_with(&TAIL) {
            return None;
        }
        payload.truncate(payload.len() - TAIL.len());
        self.sent.add(message);
        Some(payload)
    }

    /// The message in a compressed payload, of at most `most` bytes.
    pub fn inflate(&mut self, payload: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let message = ZLIB.with_borrow_mut(|Zlib { inflate, .. }| {
            inflate.reset(false);
            if !self.received.text.is_empty() {
                inflate.set_dictionary(&self.received.text).map_err(|_| Fault::Data)?;
            }
            inflated(inflate, payload, most)
        })?;
        self.received.add(&message);
        Ok(message)
    }
}

fn inflated(inflate: &mut Decompress, payload: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
    let mut message = Vec::new();
    for (part, is_tail) in [(payload, false), (&TAIL, true)] {
        let mut rest = part;
        loop {
            if message.len() == message.capacity() {
                // A byte more than there may be tells that there are too many.
                let room = message.len().max(4 * payload.len()).max(256);
                message.reserve_exact(room.min(most.saturating_add(1) - message.len()));
            }
            let (in_before, out_before) = (inflate.total_in(), message.len());
            let status = inflate.decompress_vec(rest, &mut message, FlushDecompress::None).map_err(|_| Fault::Data)?;
            if message.len() > most {
                return Err(Fault::TooLong);
            }
            let taken = (inflate.total_in() - in_before) as usize;
            rest = &rest[taken..];
            if status == Status::StreamEnd {
                // A last block: behind it there is an empty one, whose end is the tail, or nothing.
                return if is_tail || matches!(rest, [] | [0]) { Ok(message) } else { Err(Fault::Data) };
            }
            if rest.is_empty() && message.len() < message.capacity() {
                break;
            }
            if taken == 0 && message.len() == out_before && message.len() < message.capacity() {
                return Err(Fault::Data);
            }
        }
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offers: &str) -> Option<String> {
        let offers = offers.split(',').map(|offer| offer.trim().as_bytes());
        Deflate::negotiate(offers).map(|agreed| agreed.answer())
    }

    #[test]
    fn offers_and_their_answers() {
        for (offer, expected) in [
            ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            ),
            (
                "permessage-deflate;client_max_window_bits = \"10\" ; server_max_window_bits=15",
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
                "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover",
            ),
            // The first that can be taken.
            (
                "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=9, permessage-deflate",
                "permessage-deflate; server_max_window_bits=12",
            ),
        ] {
            assert_eq!(answer(offer).as_deref(), Some(expected), "{offer}");
        }
    }

    #[test]
    fn offers_that_are_passed_over() {
        for offer in [
            "",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=\"12",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=12",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate;",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    fn codec(offer: &str) -> Codec {
        Codec::new(Deflate::of_offer(offer).expect("an offer that can be taken"))
    }

    /// What a client sends is what a server of the same windows does.
    fn pair(takeover: bool) -> (Codec, Codec) {
        let offer = if takeover {
            "permessage-deflate; client_max_window_bits"
        } else {
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
        };
        (codec(offer), codec(offer))
    }

    #[test]
    fn messages_arrive_and_later_ones_are_shorter() {
        for takeover in [true, false] {
            let (mut client, mut server) = pair(takeover);
            let mut lengths = Vec::new();
            // Far more than a window.
            for i in 0..400 {
                let message =
                    format!("{{\"room\": \"lobby\", \"from\": \"alice\", \"text\": \"this is message number {i}\"}}");
                let payload = client.compress(message.as_bytes()).expect("it gets shorter");
                assert_eq!(server.inflate(&payload, 1000).as_deref(), Ok(message.as_bytes()));
                lengths.push(payload.len());
            }
            assert_eq!(lengths[399] < lengths[0] / 3, takeover, "{} then {}", lengths[0], lengths[399]);
            assert!(server.received.text.len() == if takeover { 4096 } else { 0 });
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_sent_as_it_is() {
        let (mut client, mut server) = pair(true);
        let mut random = 0x2545_f491_u32;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random as u8
        };
        let noise: Vec<u8> = (0..200_000).map(|_| next()).collect();
        let before = client.compress(&[b'x'; 100]).expect("shorter");
        assert_eq!(client.compress(&noise), None);
        assert_eq!(client.compress(&[b'y'; LEAST - 1]), None);
        let after = client.compress(&[b'z'; 5000]).expect("shorter");
        // The other end has not seen it either.
        assert_eq!(server.inflate(&before, 100), Ok(vec![b'x'; 100]));
        assert_eq!(server.inflate(&after, 5000), Ok(vec![b'z'; 5000]));
    }

    /// RFC 7692, section 7.2.3.
    #[test]
    fn the_examples_of_the_rfc() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let mut server = codec("permessage-deflate");
        assert_eq!(server.inflate(&hello, 5), Ok(b"Hello".to_vec()));
        assert_eq!(server.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 5), Ok(b"Hello".to_vec()), "the text before");
        for other in [
            // Not compressed; a last block; two blocks.
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00][..],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(server.inflate(other, 5), Ok(b"Hello".to_vec()));
        }
        assert_eq!(server.inflate(&[0x00], 5), Ok(Vec::new()), "an empty message");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let mut server = codec("permessage-deflate; client_no_context_takeover");
        // No such block; behind the text's beginning; a wrong length; more behind a last block.
        for bad in [
            &[0xff, 0xff, 0xff][..],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00],
        ] {
            assert_eq!(server.inflate(bad, 100), Err(Fault::Data), "{bad:x?}");
        }
        // And nothing of it is left in the state that others use.
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(server.inflate(&hello, 5), Ok(b"Hello".to_vec()));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let (mut client, mut server) = pair(true);
        let zeros = vec![0; 10 << 20];
        let bomb = client.compress(&zeros).expect("shorter");
        assert!(bomb.len() < 20_000);
        for most in [0, 1, 1000, (10 << 20) - 1] {
            assert_eq!(server.inflate(&bomb, most), Err(Fault::TooLong));
        }
        assert_eq!(server.inflate(&bomb, 10 << 20), Ok(zeros));
    }
}
