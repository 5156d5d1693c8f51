//! What nginx knows of a request besides its head.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;

use super::exchange::Exchange;
use crate::{Watch, life::Life};

/// What nginx knows of a request: among its extensions, and cheap to clone.
///
/// ```
/// fn greeting(request: &http::Request<nffi::http::Body>) -> String {
///     let info = request.extensions().get::<nffi::http::Info>();
///     let user = info.and_then(|info| info.param("USER")).unwrap_or("nobody".into());
///     format!("hello, {user}")
/// }
/// ```
///
/// With the feature `axum` it is an extractor, too.
#[derive(Clone)]
pub struct Info(Arc<Shared>);

struct Shared {
    known: Known,
    life: Arc<Life>,
    id: u64,
}

pub(super) struct Known {
    pub(super) client: Option<SocketAddr>,
    pub(super) server: Option<SocketAddr>,
    pub(super) tls: bool,
    pub(super) prefix: Bytes,
    pub(super) path: Bytes,
    pub(super) server_name: Bytes,
    pub(super) params: Box<[(Bytes, Bytes)]>,
    pub(super) traceparent: Option<HeaderValue>,
}

impl Info {
    pub(super) fn new(known: Known, exchange: &Exchange) -> Self {
        Self(Arc::new(Shared { known, life: Arc::clone(&exchange.life), id: exchange.id }))
    }

    /// The client's address; None where it came by a unix socket.
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.0.known.client
    }

    /// Where nginx took the connection.
    pub fn server_addr(&self) -> Option<SocketAddr> {
        self.0.known.server
    }

    /// The host that the client asked for, else the one that is configured.
    pub fn server_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0.known.server_name)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.0.known.tls { "https" } else { "http" }
    }

    /// Where the app is mounted, by `nffi_prefix`; empty where the path is not below it. The URI's
    /// path begins with it.
    pub fn prefix(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0.known.prefix)
    }

    /// The path, decoded and normalised, in no certain encoding. The URI has it as it was sent.
    pub fn path(&self) -> &[u8] {
        &self.0.known.path
    }

    /// A value that the configuration adds by `nffi_param`; the first of that name.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().find(|param| param.0 == name.as_bytes()).map(|param| String::from_utf8_lossy(param.1))
    }

    /// All of them, in their order.
    pub fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.known.params.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The trace that the request belongs to, as in nginx's `$nffi_trace_id`: 32 hex digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.known.traceparent.as_ref()?.to_str().ok()?.split('-').nth(1)
    }

    /// Knows whether the client has gone, and logs with the request's number: for tasks and threads that
    /// the app starts.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.0.life), self.0.id)
    }
}

impl std::fmt::Debug for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Info")
            .field("id", &self.0.id)
            .field("client_addr", &self.client_addr())
            .field("prefix", &self.prefix())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Info {
    type Rejection = http::StatusCode;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Missing only where the app was called by something else, a test say.
        parts.extensions.get::<Self>().cloned().ok_or(http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}
