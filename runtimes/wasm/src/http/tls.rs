//! Requests of a component's own by https. wasmtime's client trusts Mozilla's certificate authorities and no others;
//! this one also those of the configuration, and keeps them from one request to the next.

use std::{
    io,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{Either, FusedFuture, select},
};
use http::{Request, Response, Uri};
use http_body::{Body, Frame};
use hyper::{body::Incoming, client::conn::http1};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, io::TokioIo};

/// As wasmtime's client has it, where the component does not say.
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Tls(TlsConnector);

impl Tls {
    /// With Mozilla's certificate authorities, and those in the files.
    pub fn new(files: &[PathBuf]) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        for file in files {
            add(&mut roots, file).map_err(|error| format!("outbound_ca {}: {error}", file.display()))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config).into()))
    }

    /// Sends it to `target`, which is HOST:PORT. Whoever reads the answer polls the other future, too: it is the
    /// connection.
    pub async fn send(
        &self,
        target: &str,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(Response<Timed>, impl Future<Output = Result<(), Error>> + Send + use<>), Error> {
        let host = request.uri().host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())?;
        let wait =
            |given: fn(&RequestOptions) -> Option<Duration>| options.as_ref().and_then(given).unwrap_or(PATIENCE);
        let connecting = async {
            let stream = TcpStream::connect(target).await.map_err(Error::Connect)?;
            let stream = self.0.connect(name, stream).await.map_err(told)?;
            http1::handshake(TokioIo::new(stream)).await.map_err(Error::from)
        };
        let connected = timeout(wait(|o| o.connect_timeout), connecting).await;
        let (mut sender, connection) = connected.map_err(|_| Error::ConnectionTimeout)??;
        let mut connection = connection.fuse();
        // Only a proxy would be told the rest.
        *request.uri_mut() = request.uri().path_and_query().map_or_else(|| Uri::from_static("/"), |p| p.clone().into());
        let answer =
            match select(pin!(timeout(wait(|o| o.first_byte_timeout), sender.send_request(request))), &mut connection)
                .await
            {
                Either::Left((answer, _)) => answer,
                // It may have come before the end, which many servers do not announce as TLS wants it.
                Either::Right((closed, answer)) => match answer.await {
                    Ok(Err(lost)) => Ok(Err(closed.err().unwrap_or(lost))),
                    answer => answer,
                },
            };
        let answer = answer.map_err(|_| Error::ConnectionReadTimeout)??;
        let patience = wait(|o| o.between_bytes_timeout);
        let rest =
            async move { if connection.is_terminated() { Ok(()) } else { connection.await.map_err(Error::from) } };
        Ok((answer.map(|body| Timed { body, patience, timer: Box::pin(sleep(patience)) }), rest))
    }
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut some = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        some = true;
    }
    if some { Ok(()) } else { Err("has no certificate in it (PEM: -----BEGIN CERTIFICATE-----)".to_owned()) }
}

/// What a component can tell from its own mistakes.
fn told(error: io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::Tls(error),
    }
}

/// An answer whose pieces do not come too far apart.
pub struct Timed {
    body: Incoming,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.timer.as_mut().reset(Instant::now() + this.patience);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(this.timer.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }
}
