//! An answer on its way to the client.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Buf;
use http::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::Body as _;
use nffi_abi::nffi_header;
use tower_service::Service;

use super::{
    BoxError,
    body::Body,
    exchange::{Exchange, Owed},
    file::File,
    text_of,
    upgrade::Offer,
};
use crate::{Gone, aio::serve::Caught, host::http::header, log::Level};

/// An answer that is complete is handed over in one, up to here.
const WHOLE: usize = 256 * 1024;
/// And otherwise in pieces of this size: as much as the window holds.
const PIECE: usize = 64 * 1024;

/// Why an answer is not completed.
enum Failure {
    /// Nobody waits for it.
    Gone,
    Error(String),
}

impl From<Gone> for Failure {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Self::Error(text_of(&*error))
    }
}

/// A request that is to be answered.
pub struct Asked {
    exchange: Arc<Exchange>,
    /// Ends the task in any case.
    _owed: Owed,
    /// The client asks for the head only.
    head_only: bool,
    upgrade: bool,
    /// The host has the head.
    given: bool,
}

/// Answers a request with what the service makes of it. Its panic, or its error, is an answer, too.
pub(super) async fn run<S, B>(mut asked: Asked, service: Arc<Mutex<S>>, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let result = {
        let place = asked.exchange.place();
        let handler = pin!(asked.respond(service, request));
        Caught { handler, place }.await
    };
    match result {
        Ok(Ok(()) | Err(Failure::Gone)) => {}
        Ok(Err(Failure::Error(text))) => {
            if !asked.given {
                asked.exchange.place().line(Level::Error, &text);
            }
            asked.fail(&text);
        }
        // Which was logged where it happened.
        Err(panic) => asked.fail(panic.message()),
    }
}

impl Asked {
    pub(super) fn new(exchange: Arc<Exchange>, method: &Method, upgrade: bool) -> Self {
        let head_only = *method == Method::HEAD;
        Self { _owed: Owed(Arc::clone(&exchange)), exchange, head_only, upgrade, given: false }
    }

    async fn respond<S, B>(&mut self, service: Arc<Mutex<S>>, mut request: Request<Body>) -> Result<(), Failure>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let offer = if self.upgrade { Some(Offer::new(&mut request).await?) } else { None };
        let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
        let response = service.call(request).await.map_err(Into::into)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(offer) = offer else {
                return Err(Failure::Error("status 101 for a client that asked for no upgrade".to_owned()));
            };
            self.head(&response.into_parts().0, None)?;
            return Ok(offer.accept(&self.exchange).await?);
        }
        drop(offer);
        if response.status().is_informational() {
            return Err(Failure::Error(format!("an answer of status {}", response.status())));
        }
        self.send(response).await
    }

    async fn send<B>(&mut self, response: Response<B>) -> Result<(), Failure>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        let mut body = pin!(body);
        let mut length = body.size_hint().exact();
        let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if self.head_only || bodiless {
            // A body of no bytes to HEAD says nothing of the one to GET.
            self.head(&parts, length.filter(|length| *length > 0 && !bodiless))?;
            self.exchange.end(0, None);
            return Ok(());
        }
        if let Some(file) = parts.extensions.remove::<File>() {
            return self.file(&parts, &file);
        }
        let mut flushed = false;
        loop {
            let frame = poll_fn(|context| {
                let frame = body.as_mut().poll_frame(context);
                if frame.is_pending() && !flushed {
                    flushed = true;
                    // The client need not wait for the body to see the head. Should it have gone: so
                    // will this future be.
                    let _ = self.head_once(&parts, length.take()).and_then(|()| self.exchange.flush());
                }
                frame
            });
            let Some(frame) = frame.await else {
                self.head_once(&parts, length)?;
                self.exchange.end(0, None);
                return Ok(());
            };
            flushed = true;
            match frame.map_err(Into::into)?.into_data() {
                Ok(data) => {
                    self.head_once(&parts, length)?;
                    let last = body.is_end_stream();
                    self.data(data, last).await?;
                    if last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.head_once(&parts, length)?;
                        let lines = lines(&trailers);
                        // SAFETY: the strings are those of the trailers.
                        unsafe { self.exchange.trailers(&lines) }?;
                    }
                }
            }
        }
    }

    /// Sends bytes, waiting for room; the last of them end the task.
    async fn data(&self, mut data: impl Buf, last: bool) -> Result<(), Gone> {
        let most = if last && data.remaining() <= WHOLE { WHOLE } else { PIECE };
        while data.has_remaining() {
            let len = data.remaining().min(most);
            let piece = self.exchange.piece(&mut data, len)?;
            if last && !data.has_remaining() {
                self.exchange.end(0, Some(piece));
                return Ok(());
            }
            self.exchange.write(piece)?;
            poll_fn(|context| self.exchange.poll_room(context)).await?;
        }
        if last {
            self.exchange.end(0, None);
        }
        Ok(())
    }

    fn file(&mut self, parts: &Parts, file: &File) -> Result<(), Failure> {
        let described = file.descriptor().map_err(|error| Failure::Error(format!("cannot send a file: {error}")));
        let (descriptor, offset, length) = described?;
        self.head(parts, Some(file.len()))?;
        if length > 0 {
            self.exchange.file(descriptor, offset, length)?;
        }
        self.exchange.end(0, None);
        Ok(())
    }

    fn head_once(&mut self, parts: &Parts, length: Option<u64>) -> Result<(), Gone> {
        if self.given { Ok(()) } else { self.head(parts, length) }
    }

    fn head(&mut self, parts: &Parts, length: Option<u64>) -> Result<(), Gone> {
        let mut lines = lines(&parts.headers);
        let text;
        if let Some(length) = length
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            text = length.to_string();
            lines.push(header(CONTENT_LENGTH.as_str().as_bytes(), text.as_bytes()));
        }
        self.given = true;
        // SAFETY: the strings are those of the parts, and the text.
        unsafe { self.exchange.head(parts.status.as_u16(), &lines) }
    }

    /// Before the head the client gets a plain answer, after it a connection that is cut.
    fn fail(&mut self, why: &str) {
        if self.given {
            self.exchange.fail(why);
        } else {
            self.plain(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }

    /// Answers with a status and its name.
    pub(super) fn plain(&mut self, status: StatusCode) {
        let mut text = status.canonical_reason().unwrap_or_default().as_bytes();
        let length = text.len().to_string();
        let lines = [
            header(CONTENT_TYPE.as_str().as_bytes(), b"text/plain; charset=utf-8"),
            header(CONTENT_LENGTH.as_str().as_bytes(), length.as_bytes()),
        ];
        self.given = true;
        // SAFETY: the strings are static, but for the length, which lives as long as the lines.
        let there = unsafe { self.exchange.head(status.as_u16(), &lines) };
        let len = if self.head_only { 0 } else { text.len() };
        if let Ok(piece) = there.and_then(|()| self.exchange.piece(&mut text, len)) {
            self.exchange.end(0, Some(piece));
        }
    }
}

fn lines(headers: &http::HeaderMap) -> Vec<nffi_header> {
    // Room for a Content-Length.
    let mut lines = Vec::with_capacity(headers.len() + 1);
    lines.extend(headers.iter().map(|(name, value)| header(name.as_str().as_bytes(), value.as_bytes())));
    lines
}
