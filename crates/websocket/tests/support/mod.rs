//! A client's side, byte by byte: builds any frame, right or wrong, and reads the server's strictly.
#![allow(dead_code)]

use nffi_websocket::{Deflate, Event, Limits, Session, deflate::Codec, handshake};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// How the length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Shortest,
    Two,
    Eight,
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits, as a number.
    pub reserved: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub width: Width,
    pub payload: Vec<u8>,
}

pub fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        fin: true,
        reserved: 0,
        opcode,
        mask: Some([0x5a, 0, 0xff, 1]),
        width: Width::Shortest,
        payload: payload.as_ref().to_vec(),
    }
}

impl Frame {
    /// With more of the message to come.
    pub fn first(self) -> Self {
        Self { fin: false, ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        let masked = u8::from(self.mask.is_some()) << 7;
        let len = self.payload.len();
        match self.width {
            Width::Shortest if len < 126 => bytes.push(masked | len as u8),
            Width::Shortest | Width::Two if len < 65536 => {
                bytes.push(masked | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(self.payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        bytes
    }
}

pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    frame(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// A frame of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Answer {
    /// Of a Close with one.
    pub fn code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE);
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// What a client's offer of compression comes to.
pub fn agreed(offer: &str) -> Deflate {
    let headers: [(&[u8], &[u8]); 5] = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Extensions", offer.as_bytes()),
    ];
    handshake(b"GET", &headers).ok().and_then(|accept| accept.deflate).expect("an offer that can be taken")
}

/// The frames of an output. Panics where a client would have to fail the connection, or where the
/// output ends inside a frame.
pub fn answers(output: &[u8]) -> Vec<Answer> {
    inflated_answers(output, None)
}

/// The same, of a session with compression.
pub fn inflated_answers(mut output: &[u8], mut codec: Option<&mut Codec>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((head, rest)) = output.split_first_chunk::<2>() {
        let opcode = head[0] & 0x0f;
        let is_compressed = head[0] & 0x40 != 0 && codec.is_some() && opcode < CLOSE;
        let fin = if is_compressed { 0xc0 } else { 0x80 };
        assert_eq!(head[0] & 0xf0, fin, "each frame is a whole message, without reserved bits");
        assert!([TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode), "opcode {opcode}");
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let (len, rest) = match head[1] {
            126 => {
                let (len, rest) = rest.split_first_chunk::<2>().expect("a length of 16 bits");
                let len = u16::from_be_bytes(*len) as usize;
                assert!(len > 125, "the shortest form");
                (len, rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk::<8>().expect("a length of 64 bits");
                let len = u64::from_be_bytes(*len) as usize;
                assert!(len > 65535, "the shortest form");
                (len, rest)
            }
            len => (len as usize, rest),
        };
        assert!(opcode < CLOSE || len <= 125, "a control frame of {len} bytes");
        let (payload, rest) = rest.split_at_checked(len).expect("a whole frame");
        let inflated;
        let payload = match &mut codec {
            Some(codec) if is_compressed => {
                inflated = codec.inflate(payload, 1 << 30).expect("a compressed message");
                &inflated
            }
            _ => payload,
        };
        if opcode == TEXT {
            assert!(std::str::from_utf8(payload).is_ok(), "text that is not UTF-8");
        }
        if opcode == CLOSE && !payload.is_empty() {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "close code {code}");
            assert!(std::str::from_utf8(&payload[2..]).is_ok(), "a reason that is not UTF-8");
        }
        assert!(answers.last().is_none_or(|a: &Answer| a.opcode != CLOSE), "a frame behind the Close");
        answers.push(Answer { opcode, payload: payload.to_vec() });
        output = rest;
    }
    assert!(output.is_empty(), "half a header");
    answers
}

pub fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.next_event()).collect()
}

/// What a session of small limits makes of these frames.
pub struct Outcome {
    pub events: Vec<Event>,
    pub answers: Vec<Answer>,
    pub session: Session,
}

pub const LIMITS: Limits = Limits { max_message: 1000, max_frame: 600 };

pub fn play(frames: &[Frame]) -> Outcome {
    let mut session = Session::new(LIMITS);
    session.feed(&frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>());
    let events = events(&mut session);
    let answers = answers(&session.take_output());
    Outcome { events, answers, session }
}

/// The session was failed with this code, and with nothing else before.
#[track_caller]
pub fn fails(frames: &[Frame], code: u16) {
    let mut outcome = play(frames);
    let Some(Event::Failed(violation)) = outcome.events.last() else {
        panic!("{frames:?} passed: {:?}", outcome.events);
    };
    assert_eq!(violation.code, code, "{violation}");
    assert!(!violation.reason.is_empty());
    assert_eq!(outcome.answers.last().map(Answer::code), Some(code));
    assert!(outcome.session.is_over());
    outcome.session.feed(&frame(TEXT, "more").bytes());
    assert_eq!(outcome.session.next_event(), None);
    assert!(outcome.session.send_text("x").is_err());
    assert!(outcome.session.take_output().is_empty());
}
