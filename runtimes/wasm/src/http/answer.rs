//! An answer on its way to the client.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::{
    exchange::{Exchange, Gone},
    guest::Answer,
};
use crate::failure::Failure;

/// Has the host got the head? Afterwards there is no other answer, only one that is cut.
#[derive(Default)]
pub struct Sent {
    pub head: bool,
}

/// Set by an answer that has a piece to send, and looks once more before it does: meanwhile its component may end it, and
/// both go out together.
#[derive(Default)]
pub struct Pause(AtomicBool);

impl Pause {
    /// Is it set? Then the component's turn comes, and the answer's again.
    pub fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

impl From<Gone> for Failure {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// Sends what a component answers, and ends the task.
pub async fn send(
    answer: oneshot::Receiver<Answer>,
    exchange: &Arc<Exchange>,
    max_output: usize,
    pause: &Pause,
    sent: &mut Sent,
) -> Result<(), Failure> {
    let answer = match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(code)) => return Err(Failure::Contract(format!("the error {code:?}"))),
        Err(_) => return Err(Failure::Contract("there is none: response-outparam.set was not called".to_owned())),
    };
    let (parts, mut body) = answer.into_parts();
    if parts.status.is_informational() {
        return Err(Failure::Contract(format!("status {} is none of an answer", parts.status)));
    }
    let mut out = Out { exchange, head: Some((parts.status.as_u16(), parts.headers)), sent };
    let mut left = max_output;
    // A piece that may be the last goes out with the end.
    let mut held = Bytes::new();
    loop {
        match next(&mut body, &mut held, pause, &mut out).await? {
            None => {
                out.head()?;
                exchange.end(0, &held);
                return Ok(());
            }
            Some(Ok(data)) => {
                left = left.checked_sub(data.len()).ok_or(Failure::Output(max_output))?;
                out.write(&std::mem::replace(&mut held, data)).await?;
            }
            Some(Err(trailers)) => {
                out.write(&std::mem::take(&mut held)).await?;
                out.head()?;
                exchange.trailers(&lines(&trailers))?;
            }
        }
    }
}

/// The next piece, or the trailers. What is held goes out where that takes time.
async fn next(
    body: &mut HyperOutgoingBody,
    held: &mut Bytes,
    pause: &Pause,
    out: &mut Out<'_>,
) -> Result<Option<Result<Bytes, HeaderMap>>, Failure> {
    let (mut paused, mut waited) = (false, false);
    loop {
        let polled = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
            Poll::Pending if waited => Poll::Pending,
            Poll::Pending if !paused => {
                paused = true;
                pause.0.store(true, Relaxed);
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
        })
        .await;
        let Some(frame) = polled else {
            waited = true;
            out.flush(&std::mem::take(held)).await?;
            continue;
        };
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|_| Failure::Contract("its body was not finished".to_owned()))?;
        return Ok(match frame.into_data() {
            Ok(data) => Some(Ok(data)),
            Err(frame) => frame.into_trailers().ok().map(Err),
        });
    }
}

struct Out<'a> {
    exchange: &'a Arc<Exchange>,
    /// Until it was given.
    head: Option<(u16, HeaderMap)>,
    sent: &'a mut Sent,
}

impl Out<'_> {
    fn head(&mut self) -> Result<(), Gone> {
        let Some((status, headers)) = self.head.take() else { return Ok(()) };
        self.sent.head = true;
        self.exchange.head(status, &lines(&headers))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.head()?;
        self.exchange.write(bytes)?;
        poll_fn(|context| self.exchange.poll_room(context)).await
    }

    /// Also sends a head that waits.
    async fn flush(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if self.head.is_some() && bytes.is_empty() {
            self.head()?;
            return self.exchange.write(b"");
        }
        self.write(bytes).await
    }
}

fn lines(headers: &HeaderMap) -> Vec<(&[u8], &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect()
}
