//! A WebSocket after its handshake, as a machine that bytes go into and come out of.
//!
//! Memory: a session holds what was fed and not yet looked at, one message as far as it has come
//! (`max_message`, and the frame that is to be added, `max_frame`), and the output. Answers to pings are
//! shorter than the pings, so the output grows by no more than what is fed, besides what is sent: whoever
//! writes the output away before feeding more has it bounded. A compressed message is there twice for a
//! moment, as it came and inflated, each of at most `max_message`; with compression a session keeps up to
//! 34 KiB of text.
//!
//! To the library a compressed message is a binary one: the bit that says so is taken out of its first frame's
//! header on the way in, and it is inflated once the library has put it together.

use std::io::{self, Cursor, Read, Write};

use thiserror::Error;
use tungstenite::{
    Bytes, Error as Fault, Message, Utf8Bytes,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{
            FrameHeader,
            coding::{Control, Data, OpCode},
        },
    },
};

use crate::deflate::{self, Codec, Deflate};

/// No code was in the client's Close (never on the wire).
pub const NO_STATUS: u16 = 1005;
/// The connection ended without a Close (never on the wire).
pub const ABNORMAL: u16 = 1006;

const NOT_UTF8: &str = "Text that is not UTF-8";

/// What a control frame may carry: RFC 6455 section 5.5.
const MAX_CONTROL: usize = 125;

/// Room that an idle session keeps in each direction, in bytes.
const KEPT: usize = 16 * 1024;

/// How much a client may make this end hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A whole message.
    pub max_message: usize,
    /// The payload of one frame. Room for it is reserved when its header arrives.
    pub max_frame: usize,
}

impl Default for Limits {
    /// 16 MiB each.
    fn default() -> Self {
        Self { max_message: 16 << 20, max_frame: 16 << 20 }
    }
}

/// What has come from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// Answered already.
    Ping(Bytes),
    Pong(Bytes),
    /// The last event: the client closed, or answered [`Session::close`]. Its Close has its answer. 1005
    /// where it gave no code, 1006 where the connection ended without a Close.
    Close {
        code: u16,
        reason: Utf8Bytes,
    },
    /// The last event: the client broke the protocol, or a limit. A Close that says so is in the output,
    /// unless one was sent before.
    Failed(Violation),
}

/// Why a session was failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason} (close code {code})")]
pub struct Violation {
    /// What the Close says: 1002 (protocol), 1007 (not UTF-8) or 1009 (too big).
    pub code: u16,
    pub reason: String,
}

/// Why something cannot be sent. Nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    #[error("the WebSocket is closed, or closing")]
    Closed,
    #[error("close code {0} is not one that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999")]
    Code(u16),
    #[error("{0} bytes do not fit into a control frame: 125, or 123 with a close code")]
    TooLong(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Our Close is sent, the client's is awaited.
    Closing,
    /// The last event was, or is about to be, handed out.
    Over,
}

/// The bytes both ways, as the library wants to see them: a connection on which nothing ever blocks
/// but reading where there is nothing. It gives one frame at a time, so that the library holds nothing
/// once it has given a message.
#[derive(Debug, Default)]
struct Bytestream {
    input: Vec<u8>,
    /// How much of `input` is read.
    at: usize,
    /// Of the frame that is being read.
    left: u64,
    /// The longest frame of late.
    longest: u64,
    /// Compression was agreed on.
    deflate: bool,
    /// Of the message that is under way, if it is compressed: is it text?
    compressed: Option<bool>,
    ended: bool,
    output: Vec<u8>,
}

/// Most sessions are idle, and there may be many: what one large message took is not kept.
fn empty(bytes: &mut Vec<u8>) {
    if bytes.capacity() > KEPT { *bytes = Vec::new() } else { bytes.clear() }
}

/// The first byte of a header: bits that are not the opcode's, less the one of compression.
const OTHER_BITS: u8 = 0b1011_0000;

impl Bytestream {
    /// A frame's header is there. Whether it may have that bit where the frame stands, the library knows: it is
    /// left in any other than a message's first.
    fn begin(&mut self, header: &FrameHeader) {
        let OpCode::Data(kind @ (Data::Text | Data::Binary)) = header.opcode else { return };
        if self.deflate && header.rsv1 {
            self.compressed = Some(kind == Data::Text);
            let first = &mut self.input[self.at];
            *first = *first & OTHER_BITS | u8::from(OpCode::Data(Data::Binary));
        }
    }
}

impl Read for Bytestream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let rest = &self.input[self.at..];
            let mut cursor = Cursor::new(rest);
            self.left = match FrameHeader::parse(&mut cursor) {
                Ok(Some((header, payload))) => {
                    let whole = payload.saturating_add(cursor.position());
                    self.begin(&header);
                    whole
                }
                Ok(None) => 0,
                // The library will say what is wrong.
                Err(_) => rest.len() as u64,
            };
            self.longest = self.longest.max(self.left);
        }
        let rest = &self.input[self.at..];
        if rest.is_empty() || self.left == 0 {
            return if self.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = rest.len().min(into.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= n as u64;
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        if self.at == self.input.len() {
            empty(&mut self.input);
            self.at = 0;
        }
        Ok(n)
    }
}

impl Write for Bytestream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn context(limits: Limits) -> WebSocketContext {
    let config = WebSocketConfig::default()
        // Held by every idle connection.
        .read_buffer_size(4096)
        // Each frame goes to the output at once, so that all frames are in one order.
        .write_buffer_size(0)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_frame));
    WebSocketContext::new(Role::Server, Some(config))
}

/// One WebSocket, the server's end of it.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    context: WebSocketContext,
    stream: Bytestream,
    codec: Option<Codec>,
    state: State,
}

impl Session {
    pub fn new(limits: Limits) -> Self {
        Self { limits, context: context(limits), stream: Bytestream::default(), codec: None, state: State::Open }
    }

    /// With what the handshake has agreed on: [`Accept::deflate`](crate::Accept::deflate).
    pub fn with_deflate(limits: Limits, agreed: Option<Deflate>) -> Self {
        let stream = Bytestream { deflate: agreed.is_some(), ..Bytestream::default() };
        Self { stream, codec: agreed.map(Codec::new), ..Self::new(limits) }
    }

    /// Takes bytes that came over the connection. Then ask [`next_event`](Self::next_event) until it has
    /// none. After the last event they are dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.state != State::Over && !self.stream.ended {
            self.stream.input.extend_from_slice(bytes);
        }
    }

    /// No more bytes will come.
    pub fn feed_end(&mut self) {
        self.stream.ended = true;
    }

    /// What the bytes fed so far have in them; `None` where more are needed, or after the last event.
    pub fn next_event(&mut self) -> Option<Event> {
        while self.state != State::Over {
            let event = match self.context.read(&mut self.stream) {
                Ok(message) => self.event(message),
                Err(Fault::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(fault) => Some(self.fault(&fault)),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn event(&mut self, message: Message) -> Option<Event> {
        // The answer to a ping or a Close goes out now: later it could come behind a Close of ours. That
        // the connection is to be closed, which this tells, is known.
        let _ = self.context.flush(&mut self.stream);
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && self.state == State::Open
            && self.stream.longest > KEPT as u64
        {
            // A message is whole, so nothing is under way; but the library would keep the room for it.
            self.context = context(self.limits);
            self.stream.longest = 0;
        }
        match message {
            Message::Text(text) => Some(Event::Text(text)),
            Message::Binary(bytes) => Some(match self.stream.compressed.take() {
                Some(is_text) => self.inflated(&bytes, is_text),
                None => Event::Binary(bytes),
            }),
            Message::Ping(bytes) => Some(Event::Ping(bytes)),
            Message::Pong(bytes) => Some(Event::Pong(bytes)),
            Message::Close(frame) => {
                self.over();
                let (code, reason) = frame.map_or((NO_STATUS, Utf8Bytes::default()), |f| (f.code.into(), f.reason));
                Some(Event::Close { code, reason })
            }
            // Never read, only written.
            Message::Frame(_) => None,
        }
    }

    fn inflated(&mut self, payload: &[u8], is_text: bool) -> Event {
        let most = self.limits.max_message;
        let message = match self.codec.as_mut().map(|codec| codec.inflate(payload, most)) {
            Some(Ok(message)) => Bytes::from(message),
            Some(Err(deflate::Fault::TooLong)) => {
                return self.fail(1009, format!("Message too long: inflated more than {most} bytes"));
            }
            Some(Err(deflate::Fault::Data)) | None => {
                return self.fail(1002, "Compressed message that cannot be inflated".to_owned());
            }
        };
        if !is_text {
            return Event::Binary(message);
        }
        match Utf8Bytes::try_from(message) {
            Ok(text) => Event::Text(text),
            Err(_) => self.fail(1007, NOT_UTF8.to_owned()),
        }
    }

    /// The last event, where it is not a Close.
    fn fault(&mut self, fault: &Fault) -> Event {
        if self.stream.ended && is_end(fault) {
            self.over();
            return Event::Close { code: ABNORMAL, reason: Utf8Bytes::default() };
        }
        let (code, reason) = match fault {
            Fault::Protocol(e) => (1002, e.to_string()),
            Fault::Utf8(_) => (1007, NOT_UTF8.to_owned()),
            Fault::Capacity(e) => (1009, e.to_string()),
            other => (1011, other.to_string()),
        };
        self.fail(code, reason)
    }

    fn fail(&mut self, code: u16, reason: String) -> Event {
        if self.state == State::Open {
            let reason = if reason.len() <= MAX_CONTROL - 2 { reason.as_str().into() } else { Utf8Bytes::default() };
            let _ = self.context.close(&mut self.stream, Some(CloseFrame { code: code.into(), reason }));
        }
        self.over();
        Event::Failed(Violation { code, reason })
    }

    fn over(&mut self) {
        self.state = State::Over;
        self.stream.input = Vec::new();
        self.stream.at = 0;
    }

    /// Is nothing more to come, neither event nor, once the output is taken, bytes? Then the connection
    /// is to be ended, which is the server's part.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// May messages be sent?
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    // ---- to the client ------------------------------------------------------------------------

    fn frame(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::Closed);
        }
        let compressed = match (&mut self.codec, opcode) {
            (Some(codec), OpCode::Data(_)) => codec.compress(payload),
            _ => None,
        };
        let header = FrameHeader { opcode, rsv1: compressed.is_some(), ..FrameHeader::default() };
        let payload = compressed.as_deref().unwrap_or(payload);
        self.stream.output.reserve(header.len(payload.len() as u64) + payload.len());
        // To memory: it cannot fail.
        let _ = header.format(payload.len() as u64, &mut self.stream.output);
        self.stream.output.extend_from_slice(payload);
        Ok(())
    }

    pub fn send_text(&mut self, text: &str) -> Result<(), SendError> {
        self.frame(OpCode::Data(Data::Text), text.as_bytes())
    }

    pub fn send_binary(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.frame(OpCode::Data(Data::Binary), bytes)
    }

    /// At most 125 bytes, which come back in an [`Event::Pong`].
    pub fn ping(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if bytes.len() > MAX_CONTROL {
            return Err(SendError::TooLong(bytes.len()));
        }
        self.frame(OpCode::Control(Control::Ping), bytes)
    }

    /// Begins to close. Events still come until the client's Close; how long to wait for it is the
    /// caller's to decide. The reason has at most 123 bytes.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::Closed);
        }
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(SendError::Code(code));
        }
        if reason.len() > MAX_CONTROL - 2 {
            return Err(SendError::TooLong(reason.len()));
        }
        self.state = State::Closing;
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // It goes to memory, and the state is right.
        let _ = self.context.close(&mut self.stream, Some(frame));
        Ok(())
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        &self.stream.output
    }

    /// After all of [`output`](Self::output) was copied elsewhere; keeps some memory for the next.
    pub fn clear_output(&mut self) {
        empty(&mut self.stream.output);
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stream.output)
    }
}

/// Did the library only find that no more bytes come?
fn is_end(fault: &Fault) -> bool {
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    matches!(fault, Fault::ConnectionClosed | Fault::Protocol(ResetWithoutClosingHandshake))
}
