//! Connections that become something else: WebSockets, say.
//!
//! Apps take them over by `hyper::upgrade::OnUpgrade`, which only a connection of hyper's can make. So
//! such a request has one, in memory. hyper is shown a request to upgrade, hands out its promise, and
//! keeps it once the app has agreed; from then on bytes go to and fro between it and nginx.

use std::{
    future::{Future, pending, poll_fn},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    sync::oneshot,
};

use super::{BoxError, body::Body, exchange::Exchange};
use crate::Gone;

/// Bytes in memory for each direction.
const ROOM: usize = 64 * 1024;
/// Read from the app at a time.
const CHUNK: usize = 16 * 1024;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: nffi\r\nconnection: upgrade\r\nupgrade: nffi\r\n\r\n";

/// The promise of a connection.
pub(super) struct Offer {
    ours: DuplexStream,
    agreed: oneshot::Sender<()>,
}

impl Offer {
    /// Puts the promise among the request's extensions.
    pub(super) async fn new(request: &mut Request<Body>) -> Result<Self, BoxError> {
        let (mut ours, theirs) = tokio::io::duplex(ROOM);
        let (agreed, agreement) = oneshot::channel();
        let promised = promise(theirs, agreement);
        ours.write_all(ASK).await?;
        request.extensions_mut().insert(promised.await.ok_or("hyper promises no upgrade")?);
        Ok(Self { ours, agreed })
    }

    /// The client has been told. Until either end is over.
    pub(super) async fn accept(self, exchange: &Arc<Exchange>) -> Result<(), Gone> {
        let Self { mut ours, agreed } = self;
        agreed.send(()).map_err(|()| Gone)?;
        // hyper's own head of the answer; the client has the app's.
        let mut end = [0; 4];
        while end != *b"\r\n\r\n" {
            end.rotate_left(1);
            end[3] = ours.read_u8().await.map_err(|_| Gone)?;
        }
        let (from_app, to_app) = tokio::io::split(ours);
        let result = tokio::select! {
            result = outward(exchange, from_app) => result,
            Err(gone) = inward(exchange, to_app) => Err(gone),
        };
        if result.is_ok() {
            exchange.end(0, None);
        }
        result
    }
}

/// Starts hyper on its end of the connection.
fn promise(theirs: DuplexStream, agreement: oneshot::Receiver<()>) -> impl Future<Output = Option<OnUpgrade>> {
    let (sender, promised) = oneshot::channel();
    // Asked once: there is no second request.
    let once = Mutex::new(Some((sender, agreement)));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let once = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let (sender, agreement) = once.ok_or("a second request")?;
            let _ = sender.send(on(&mut request));
            agreement.await?;
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let answer = answer.header(CONNECTION, "upgrade").header(UPGRADE, "nffi");
            Ok::<_, BoxError>(answer.body(Empty)?)
        }
    });
    // Ends with the agreement, or with the offer, and breaks the promise then.
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades());
    async move { promised.await.ok() }
}

/// What the app sends, until it closes the connection.
async fn outward(exchange: &Exchange, mut from_app: ReadHalf<DuplexStream>) -> Result<(), Gone> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = from_app.read(&mut chunk).await.map_err(|_| Gone)?;
        if len == 0 {
            return Ok(());
        }
        exchange.write(exchange.piece(&mut &chunk[..len], len)?)?;
        poll_fn(|context| exchange.poll_room(context)).await?;
    }
}

/// What the client sends. Once it has closed its end, the app has the word alone.
async fn inward(exchange: &Exchange, mut to_app: WriteHalf<DuplexStream>) -> Result<(), Gone> {
    while let Some(piece) = poll_fn(|context| exchange.poll_read(context)).await? {
        if to_app.write_all(&piece).await.is_err() {
            // The app has closed: `outward` will see it.
            break;
        }
    }
    let _ = to_app.shutdown().await;
    pending().await
}

/// No body.
struct Empty;

impl http_body::Body for Empty {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
