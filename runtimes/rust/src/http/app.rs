//! What runs for nffi: a tower service, alone or beside a handler of messages; and its start.

use std::{
    ffi::{c_char, c_int},
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use nffi_abi::{NFFI_HTTP_UPGRADE, nffi_event, nffi_host, nffi_http_request, nffi_queue};
use serde::de::DeserializeOwned;
use tower_service::Service;

use super::{
    BoxError,
    answer::{self, Asked},
    body::Body,
    exchange::Exchange,
    head::{self, Malformed},
};
use crate::{
    Context, Error,
    aio::{
        self,
        serve::{self, Answering, Parts, Running, TakesHttp},
    },
    config::NoOptions,
    export::{self, Start},
    life::Life,
    log::Level,
};

/// A service for HTTP requests: any `tower::Service<http::Request<nffi::http::Body>>` that answers with
/// an `http::Response`, is `Clone`, and whose errors are errors. axum's `Router` is one, and so is
/// whatever layers make of one.
///
/// It is cloned for every request. There is nothing to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no service for HTTP requests",
    note = "it must be a tower `Service<http::Request<nffi::http::Body>, Response = http::Response<_>>`, `Clone` and `Send`, as an axum `Router` without missing state is"
)]
pub trait App: Clone + Send + 'static {
    #[doc(hidden)]
    fn run(asked: Asked, app: Arc<Mutex<Self>>, request: Request<Body>) -> impl Future<Output = ()> + Send;
}

impl<S, B> App for S
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn run(asked: Asked, app: Arc<Mutex<Self>>, request: Request<Body>) -> impl Future<Output = ()> + Send {
        answer::run(asked, app, request)
    }
}

/// A runtime for both: messages by [`aio::Service`], HTTP requests by an app.
/// [`export_http!`](crate::export_http) makes a library of it.
///
/// ```standalone_crate
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
///
/// use axum::{Router, extract::State, routing::get};
///
/// #[derive(Default)]
/// struct Counter(Arc<AtomicUsize>);
///
/// impl nffi::aio::Service for Counter {
///     type Config = nffi::config::NoOptions;
///     type Error = nffi::Error;
///
///     async fn new(_: Self::Config, _: &nffi::Context) -> Result<Self, nffi::Error> {
///         Ok(Self::default())
///     }
///
///     async fn handle(&self, _: &nffi::aio::Request) -> Result<Vec<u8>, nffi::Error> {
///         Ok(self.0.load(Ordering::Relaxed).to_string().into())
///     }
/// }
///
/// impl nffi::http::Serves for Counter {
///     type App = Router;
///
///     fn app(&self) -> Router {
///         let count = async |State(counter): State<Arc<AtomicUsize>>| {
///             counter.fetch_add(1, Ordering::Relaxed).to_string()
///         };
///         Router::new().route("/count", get(count)).with_state(Arc::clone(&self.0))
///     }
/// }
///
/// nffi::export_http!(Counter);
/// ```
pub trait Serves: aio::Service {
    /// The app's type.
    type App: App;

    /// The app, made once at the start.
    ///
    /// Runs on: the thread of [`new`](aio::Service::new), in the tokio runtime.
    fn app(&self) -> Self::App;
}

struct Front<A>(Arc<Mutex<A>>);

impl<A: App> Front<A> {
    fn parts<S>(service: S, app: A) -> Parts<S> {
        Parts { service, http: Some(Box::new(Self(Arc::new(Mutex::new(app))))) }
    }
}

impl<A: App> TakesHttp for Front<A> {
    unsafe fn take(&self, life: &Arc<Life>, event: &nffi_event) -> (Arc<dyn Running>, Answering) {
        let exchange = Arc::new(Exchange::new(Arc::clone(life), event.task));
        // SAFETY: as the caller promises: the event's data is the request, until the task ends, which
        // is the future's to do.
        let (made, upgrade) = unsafe {
            let request = &*event.data.cast::<nffi_http_request>();
            let made = Body::new(event, request, &exchange)
                .map_err(|error| {
                    exchange.place().line(Level::Error, &format!("cannot open a request's body: {error}"));
                    StatusCode::INTERNAL_SERVER_ERROR
                })
                .and_then(|body| {
                    head::request(request, &exchange, body).map_err(|Malformed(what)| {
                        exchange.place().line(Level::Info, &format!("a malformed request: {what}"));
                        StatusCode::BAD_REQUEST
                    })
                });
            (made, request.flags & NFFI_HTTP_UPGRADE != 0)
        };
        let running = Arc::clone(&exchange) as Arc<dyn Running>;
        let future: Answering = match made {
            Ok(request) => {
                let asked = Asked::new(exchange, request.method(), upgrade);
                Box::pin(A::run(asked, Arc::clone(&self.0), request))
            }
            Err(status) => Box::pin(async move { Asked::new(exchange, &Method::GET, false).plain(status) }),
        };
        (running, future)
    }
}

/// Messages to a runtime that takes none.
struct NoMessages;

impl aio::Service for NoMessages {
    type Config = NoOptions;
    type Error = Error;

    async fn new(_: NoOptions, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn handle(&self, _: &aio::Request) -> Result<Vec<u8>, Error> {
        Err("this runtime takes HTTP requests (nffi_pass), not messages (nffi.call)".into())
    }
}

fn need_http(start: &Start) -> Result<(), Error> {
    if start.host.has_http() { Ok(()) } else { Err("this host has no HTTP".into()) }
}

/// `nffi_runtime_init_v1` of an app.
///
/// # Safety
/// The arguments are those of `nffi_runtime_init_v1`, as include/nffi.h says.
pub unsafe fn init_http<C: DeserializeOwned, A: App>(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
    make: impl AsyncFnOnce(C, Context) -> Result<A, Error>,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        export::init_with(
            host,
            queue,
            cfg,
            len,
            err,
            err_cap,
            || 1,
            |start, config| {
                need_http(start)?;
                serve::start(start, async |context| Ok(Front::parts(NoMessages, make(config, *context).await?)))
            },
        )
    }
}

/// `nffi_runtime_init_v1` of a service that has an app.
///
/// # Safety
/// The arguments are those of `nffi_runtime_init_v1`, as include/nffi.h says.
pub unsafe fn init_both<S: Serves>(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        export::init_with(
            host,
            queue,
            cfg,
            len,
            err,
            err_cap,
            || 1,
            |start, config| {
                need_http(start)?;
                serve::start(start, async |context| {
                    let service = S::new(config, context).await.map_err(|error| Error::of(&error))?;
                    let app = service.app();
                    Ok(Front::parts(service, app))
                })
            },
        )
    }
}

/// `nffi_runtime_check_v1` of an app.
///
/// # Safety
/// The arguments are those of `nffi_runtime_check_v1`, as include/nffi.h says.
pub unsafe fn check_http<C: DeserializeOwned, E: Display + 'static>(
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
    check: impl FnOnce(&C) -> Result<(), E>,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { export::check_with(cfg, len, err, err_cap, check) }
}
