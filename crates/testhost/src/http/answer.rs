//! What comes of a request.

use nffi_core::http::{Head, HttpEnd};

use super::{Outcome, Over, Refusal};

/// Names and values, in order, duplicates kept.
pub(super) fn pairs_of(head: &Head) -> Vec<(Vec<u8>, Vec<u8>)> {
    head.headers().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// A status and its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpHead {
    pub status: u16,
    /// As the runtime gave them, `Connection` and its like included, which nginx would drop.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl HttpHead {
    /// The first value of that name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        all.next().map(|(_, value)| value.as_slice())
    }
}

/// A whole answer, or as much as came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Those with a status of 1xx, which nginx 1.22 does not send on.
    pub informational: Vec<HttpHead>,
    pub head: HttpHead,
    pub body: Vec<u8>,
    /// How many pieces the body came in.
    pub pieces: usize,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The client would see its connection cut, because of this; `None`: the answer is whole.
    pub cut: Option<HttpError>,
}

/// What an exchange brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpReceived {
    /// A head with a status of 1xx before the head.
    Informational(HttpHead),
    /// The head. After a 101 pieces are bytes of the connection.
    Head(HttpHead),
    Piece(Vec<u8>),
    Trailers(Vec<(Vec<u8>, Vec<u8>)>),
    /// The runtime has ended it, with status 0.
    End,
    /// Nothing in that time.
    Nothing,
}

/// Why there is no answer, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("timeout")]
    Timeout,
    /// The runtime's own failure.
    #[error("status {status}: {}", String::from_utf8_lossy(message))]
    Runtime { status: i32, message: Vec<u8> },
    /// It did what no answer is made of.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no memory")]
    NoMemory,
    #[error("no such exchange")]
    NoSuchExchange,
    /// The request cannot be made.
    #[error("{0}")]
    Request(String),
}

impl HttpError {
    /// What nginx would answer, where nothing was sent yet; 0 where there is no such thing.
    pub fn status(&self) -> u16 {
        match self {
            Self::Timeout => 504,
            Self::Runtime { .. } | Self::Protocol(_) => 502,
            Self::Refused(Refusal::RequestTooLarge) => 413,
            Self::Refused(_) => 503,
            Self::NoMemory => 500,
            Self::NoSuchExchange | Self::Request(_) => 0,
        }
    }
}

/// The end of a task that is an answer.
pub(super) fn end_of(over: Over) -> Result<HttpEnd, HttpError> {
    match over {
        Over::Timeout => Err(HttpError::Timeout),
        Over::Outcome(Outcome::Http(end)) if end.status == 0 => Ok(end),
        Over::Outcome(Outcome::Http(end)) => {
            Err(HttpError::Runtime { status: end.status, message: end.data.as_slice().to_vec() })
        }
        Over::Outcome(Outcome::Answer(_)) => Err(HttpError::Protocol("it answered something else than HTTP".into())),
        Over::Outcome(Outcome::TooLarge) => {
            Err(HttpError::Protocol("it wrote on and on while the client's window was shut".into()))
        }
        Over::Outcome(Outcome::Failed(why)) => Err(HttpError::Refused(Refusal::Failed(why))),
        Over::Outcome(Outcome::NoMemory) => Err(HttpError::NoMemory),
    }
}

/// What Content-Length says.
pub(super) fn body_length(head: &HttpHead) -> Result<Option<u64>, HttpError> {
    let mut length = None;
    for (_, value) in head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length")) {
        let text = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // Of 63 bits, as nginx has it.
        let parsed = digits.then(|| text.parse::<i64>().ok()).flatten().and_then(|n| u64::try_from(n).ok());
        let parsed = parsed.ok_or_else(|| HttpError::Protocol("a Content-Length that is no number".into()))?;
        if length.is_some_and(|length| length != parsed) {
            return Err(HttpError::Protocol("two different Content-Lengths".into()));
        }
        length = Some(parsed);
    }
    Ok(length)
}
