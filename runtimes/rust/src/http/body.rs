//! A request's body.

use std::{
    fmt,
    fs::File,
    future::Future as _,
    io,
    os::fd::BorrowedFd,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use nffi_abi::{NFFI_HTTP_BODY, NFFI_MORE, nffi_event, nffi_http_request};
use tokio::task::JoinHandle;

use super::{exchange::Exchange, head::of};
use crate::Gone;

/// Read of a file at a time.
const CHUNK: u64 = 128 * 1024;

/// A request's body, as the client sends it: an [`http_body::Body`]. Reads that find nothing wait;
/// what is not read stays with the client.
///
/// It may be read elsewhere than in the app's future, but only until the answer is complete.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    None,
    Memory(Bytes),
    File(Reading),
    Pieces {
        exchange: Arc<Exchange>,
        left: Option<u64>,
    },
}

/// A file that nginx has put the body into.
struct Reading {
    file: Arc<File>,
    at: u64,
    len: u64,
    chunk: Option<JoinHandle<io::Result<Bytes>>>,
}

/// Why there is no more of a request's body.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// The client has gone, the answer is complete, or the runtime stops.
    Gone,
    /// The file with the body cannot be read.
    File(io::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the request's body was not completed"),
            Self::File(_) => f.write_str("cannot read the file with the request's body"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gone => None,
            Self::File(error) => Some(error),
        }
    }
}

impl From<Gone> for BodyError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl Body {
    /// # Safety
    /// `request` is the one of the event, which the host has handed out and whose task has not ended.
    pub(super) unsafe fn new(
        event: &nffi_event,
        request: &nffi_http_request,
        exchange: &Arc<Exchange>,
    ) -> io::Result<Self> {
        let len = u64::try_from(request.content_length).ok();
        if event.flags & NFFI_MORE != 0 {
            return Ok(Self(Kind::Pieces { exchange: Arc::clone(exchange), left: len }));
        }
        if request.flags & NFFI_HTTP_BODY == 0 {
            return Ok(Self::default());
        }
        if request.body_fd < 0 {
            // SAFETY: as the caller promises. A copy: the app may keep it for longer than the task.
            return Ok(Self(Kind::Memory(Bytes::copy_from_slice(unsafe { of(&request.body) }))));
        }
        // SAFETY: open until the task ends.
        let file = File::from(unsafe { BorrowedFd::borrow_raw(request.body_fd) }.try_clone_to_owned()?);
        let len = file.metadata()?.len();
        Ok(Self(Kind::File(Reading { file: Arc::new(file), at: 0, len, chunk: None })))
    }
}

impl Reading {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at >= self.len {
            return Poll::Ready(None);
        }
        let chunk = self.chunk.get_or_insert_with(|| {
            let (file, at, len) = (Arc::clone(&self.file), self.at, (self.len - self.at).min(CHUNK));
            tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                file.read_exact_at(&mut bytes, at)?;
                Ok(Bytes::from(bytes))
            })
        });
        let read = ready!(Pin::new(chunk).poll(context));
        self.chunk = None;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        match &read {
            Ok(bytes) => self.at += bytes.len() as u64,
            Err(_) => self.at = self.len,
        }
        Poll::Ready(Some(read))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let data = match &mut this.0 {
            Kind::None => return Poll::Ready(None),
            Kind::Memory(bytes) => Ok(std::mem::take(bytes)),
            Kind::File(reading) => match ready!(reading.poll_chunk(context)) {
                Some(read) => read.map_err(BodyError::File),
                None => return Poll::Ready(None),
            },
            Kind::Pieces { exchange, left } => match ready!(exchange.poll_read(context)) {
                Ok(Some(piece)) => {
                    if let Some(left) = left {
                        *left = left.saturating_sub(piece.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Ok(None) => {
                    this.0 = Kind::None;
                    return Poll::Ready(None);
                }
                Err(gone) => Err(gone.into()),
            },
        };
        if !matches!(this.0, Kind::File(_)) || data.is_err() {
            this.0 = Kind::None;
        }
        Poll::Ready(Some(data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::None => true,
            Kind::Memory(bytes) => bytes.is_empty(),
            Kind::File(reading) => reading.at >= reading.len,
            Kind::Pieces { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::None => SizeHint::with_exact(0),
            Kind::Memory(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::File(reading) => SizeHint::with_exact(reading.len.saturating_sub(reading.at)),
            Kind::Pieces { left: Some(left), .. } => SizeHint::with_exact(*left),
            Kind::Pieces { left: None, .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &http_body::Body::size_hint(self)).finish_non_exhaustive()
    }
}
