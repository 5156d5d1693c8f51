//! The server side of RFC 6455 without I/O: whoever has the bytes of an upgraded connection feeds them
//! in, takes events out, and writes what there is to write. Frames and messages are tungstenite's work.
//!
//! Layout: [`handshake`](mod@handshake) answers the request that asks for a WebSocket, [`session`] is what comes after
//! the 101, [`deflate`] compresses its messages.
//!
//! Nothing here blocks, starts threads or knows of a clock: pings on a schedule and timeouts are the
//! caller's.
//!
//! ```
//! use nffi_websocket::{Event, Limits, Session};
//!
//! let mut session = Session::new(Limits::default());
//! // "hi" as a client sends it: one text frame, masked.
//! session.feed(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]);
//! while let Some(event) = session.next_event() {
//!     if let Event::Text(text) = event {
//!         session.send_text(&text).expect("nobody has closed yet");
//!     }
//! }
//! assert_eq!(session.take_output(), b"\x81\x02hi");
//! ```

pub mod deflate;
pub mod handshake;
pub mod session;

pub use deflate::Deflate;
pub use handshake::{Accept, NotOffered, Refusal, handshake, is_websocket};
pub use session::{Event, Limits, SendError, Session, Violation};
/// What messages come in: shared, cheap to clone and to slice.
pub use tungstenite::{Bytes, Utf8Bytes};
