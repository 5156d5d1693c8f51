//! Requests of a component's own: to where the configuration allows, and to nowhere else.

use std::sync::Arc;

use http::uri::Scheme;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks, default_send_request};

use super::exchange::Exchange;
use crate::{host::Level, options::Options, runtime::Runtime};

use super::Component;

/// What an answer's body may have in memory on its way from the component: two pieces of that size.
const PIECE: usize = 64 * 1024;

/// What of wasmtime's wasi:http is different here.
pub struct Hooks {
    pub runtime: Arc<Runtime<Component>>,
    pub exchange: Arc<Exchange>,
}

type Answer = http::Response<wasmtime_wasi_http::WasiBody>;
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<wasmtime_wasi_http::WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<(Answer, Rest), Error>> + Send> {
        let target = target(request.uri());
        if !target.as_ref().is_some_and(|target| allows(&self.runtime.options, target)) {
            let target = target.unwrap_or_else(|| request.uri().to_string());
            self.exchange.log(Level::Warn, &format!("a request to {target} was refused: see allow_outbound"));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let (code, exchange) = (self.runtime.code(), self.exchange.clone());
        Box::new(async move {
            let (Some(tls), Some(target), true) = (&code.tls, target, request.uri().scheme() == Some(&Scheme::HTTPS))
            else {
                let (answer, rest) = default_send_request(request, options).await?;
                return Ok((answer.map(BodyExt::boxed_unsync), Box::new(rest) as Rest));
            };
            let sent = tls.send(&target, request, options).await.inspect_err(|error| {
                if let Error::TlsCertificateError = error {
                    let line = format!(
                        "the certificate of {target} is of no authority that is known, or not its: see outbound_ca"
                    );
                    exchange.log(Level::Warn, &line);
                }
            });
            let (answer, rest) = sent?;
            Ok((answer.map(BodyExt::boxed_unsync), Box::new(rest) as Rest))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }
}

/// HOST:PORT.
fn target(uri: &http::Uri) -> Option<String> {
    let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    Some(format!("{}:{port}", uri.host()?.to_ascii_lowercase()))
}

fn allows(options: &Options, target: &str) -> bool {
    options.outbound.iter().any(|allowed| allowed == target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_port() {
        for (uri, expected) in [
            ("http://Example.com/x", "example.com:80"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:80", "example.com:80"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://user@example.com/", "example.com:80"),
        ] {
            assert_eq!(target(&uri.parse().unwrap()).as_deref(), Some(expected));
        }
        assert_eq!(target(&"/path".parse().unwrap()), None);
    }
}
