//! A request's body, as the client sends it: what is not read stays with the client.

use std::{
    fs::File,
    io,
    os::{fd::BorrowedFd, unix::fs::FileExt},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use wasmtime_wasi_http::Error;

use super::exchange::Exchange;
use crate::host::Request;

/// Read of a file at a time.
const CHUNK: usize = 64 * 1024;

pub enum Body {
    None,
    Memory(Bytes),
    File { file: File, at: u64, length: u64 },
    Pieces(Arc<Exchange>),
}

impl Body {
    pub fn of(request: Request<'_>, more: bool, exchange: &Arc<Exchange>) -> io::Result<Self> {
        if more {
            return Ok(Self::Pieces(exchange.clone()));
        }
        if let Some((fd, length)) = request.body_file() {
            // SAFETY: the host's descriptor is open: the task has not ended. It may, before the body is read.
            let file = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
            return Ok(Self::File { file: file.into(), at: 0, length: length as u64 });
        }
        let bytes = request.body();
        Ok(if bytes.is_empty() { Self::None } else { Self::Memory(Bytes::copy_from_slice(bytes)) })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let bytes = match this {
            Self::None => return Poll::Ready(None),
            Self::Memory(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::None;
                Ok(bytes)
            }
            // nginx has just written it: it is in memory, and no thread has to be kept for it.
            Self::File { file, at, length } => {
                let mut chunk = vec![0; CHUNK.min(length.saturating_sub(*at) as usize)];
                if chunk.is_empty() {
                    return Poll::Ready(None);
                }
                let read = file.read_exact_at(&mut chunk, *at);
                *at += chunk.len() as u64;
                read.map(|()| chunk.into())
                    .map_err(|error| Error::InternalError(Some(format!("the request's body cannot be read: {error}"))))
            }
            Self::Pieces(exchange) => match ready!(exchange.poll_read(context)) {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => {
                    *this = Self::None;
                    return Poll::Ready(None);
                }
                Err(_) => Err(Error::ConnectionTerminated),
            },
        };
        if bytes.is_err() {
            *this = Self::None;
        }
        Poll::Ready(Some(bytes.map(Frame::data)))
    }
}
