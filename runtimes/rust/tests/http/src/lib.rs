//! An app that does what its paths say, and answers messages as well.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Form, Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, DefaultBodyLimit, Multipart, Path, Query, Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{any, get, post},
};
use futures_util::{Stream, StreamExt as _, stream};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use nffi::http::{File, Info, Serves};
use serde::{Deserialize, Serialize};
use tower_http::{compression::CompressionLayer, services::ServeDir, timeout::TimeoutLayer, trace::TraceLayer};

#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    #[serde(default)]
    name: String,
    #[serde(default)]
    files: PathBuf,
}

/// What was counted.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    dropped: AtomicUsize,
    poured: AtomicUsize,
    sockets: AtomicUsize,
}

type Counted = State<Arc<Counts>>;

struct Fixture {
    config: Config,
    counts: Arc<Counts>,
}

impl nffi::aio::Service for Fixture {
    type Config = Config;
    type Error = String;

    async fn new(config: Config, _: &nffi::Context) -> Result<Self, String> {
        Ok(Self { config, counts: Arc::default() })
    }

    async fn handle(&self, request: &nffi::aio::Request) -> Result<Vec<u8>, String> {
        Ok([b"message ", request.data()].concat())
    }
}

impl Serves for Fixture {
    type App = Router;

    fn app(&self) -> Router {
        let name = self.config.name.clone();
        let slow = Router::new()
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(20)));
        let squeezed =
            Router::new().route("/gzip", get(async || "squeeze me ".repeat(1000))).layer(CompressionLayer::new());
        Router::new()
            .route("/hello", get(async || "hello\n"))
            .route("/name", get(async move || name.clone()))
            .route("/show", any(show))
            .route("/json", post(async |Json(pair): Json<Pair>| Json(Pair { n: pair.n + 1, text: pair.text })))
            .route("/user/{id}", get(user))
            .route("/form", post(async |Form(pair): Form<Pair>| format!("{} {}", pair.n, pair.text)))
            .route("/multipart", post(multipart).layer(DefaultBodyLimit::disable()))
            .route("/sse", get(sse))
            .route("/upper", post(upper))
            .route("/count", post(count))
            .route("/sip", post(sip))
            .route("/spawned", post(spawned))
            .route("/connect", get(async |ConnectInfo(addr): ConnectInfo<std::net::SocketAddr>| addr.to_string()))
            .route("/ws", get(websocket))
            .route(
                "/ws-panic",
                get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(async |_| panic!("in a socket"))),
            )
            .route("/ws-refused", get(async |_: WebSocketUpgrade| (StatusCode::FORBIDDEN, "not you")))
            .route("/101", get(async || StatusCode::SWITCHING_PROTOCOLS))
            .route("/panic", get(async || -> &'static str { panic!("at once") }))
            .route("/panic-late", get(async || Body::from_stream(breaking(|| panic!("half way")))))
            .route("/error-late", get(async || Body::from_stream(breaking(|| "it broke"))))
            .route("/error-first", get(async || Body::from_stream(stream::iter([Err::<Bytes, _>("no first")]))))
            .route("/never", get(never))
            .route("/never-ends", get(never_ends))
            .route("/pour", get(pour))
            .route("/pour-one/{size}", get(async |Path(size): Path<usize>| vec![b'x'; size]))
            .route("/counts", get(counts))
            .route("/status/{code}", any(status))
            .route("/trailers", get(trailers))
            .route("/headers", get(headers))
            .route("/file/{name}", get(file))
            .route("/part/{name}", get(part))
            .route("/log", get(log))
            .nest_service("/served", ServeDir::new(&self.config.files))
            .with_state(Arc::clone(&self.counts))
            .layer(axum::Extension(self.config.clone()))
            .merge(slow)
            .merge(squeezed)
            .layer(TraceLayer::new_for_http())
    }
}

nffi::export_http!(Fixture);

#[derive(Serialize, Deserialize)]
struct Pair {
    n: i64,
    text: String,
}

async fn show(info: Info, request: Request) -> String {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        text += &format!("> {name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    text += &format!("scheme {}\nserver_name {}\n", info.scheme(), info.server_name());
    text += &format!("prefix {}\npath {}\n", info.prefix(), String::from_utf8_lossy(info.path()));
    text += &format!("client {}\n", info.client_addr().is_some_and(|addr| addr.ip().is_loopback() && addr.port() > 0));
    text += &format!("server {}\n", info.server_addr().is_some_and(|addr| addr.ip().is_loopback() && addr.port() > 0));
    text += &format!("param A {:?}\nparam B {:?}\n", info.param("A"), info.param("B"));
    text += &format!("trace {}\n", info.trace_id().map_or(0, str::len));
    text += &format!("cancelled {}\n", info.watch().cancelled());
    let hint = body.size_hint().exact();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    text + &format!("body {hint:?} {}\n", String::from_utf8_lossy(&whole))
}

async fn user(Path(id): Path<u32>, Query(pair): Query<Pair>, headers: HeaderMap) -> String {
    format!("{id} {} {} {:?}", pair.n, pair.text, headers.get("x-more"))
}

async fn multipart(mut parts: Multipart) -> Result<String, axum::extract::multipart::MultipartError> {
    let mut text = String::new();
    while let Some(mut field) = parts.next_field().await? {
        let (mut len, mut sum) = (0, 0_u64);
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().unwrap_or("-").to_owned();
        while let Some(chunk) = field.chunk().await? {
            len += chunk.len();
            sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        text += &format!("{name} {file} {len} {sum}\n");
    }
    Ok(text)
}

async fn sse() -> Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>> {
    Sse::new(stream::unfold(0, async |n| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        (n < 3).then(|| (Ok(Event::default().data(format!("event {n}"))), n + 1))
    }))
}

/// Both ways at once.
async fn upper(request: Request) -> Body {
    Body::from_stream(request.into_body().into_data_stream().map(|piece| piece.map(|piece| piece.to_ascii_uppercase())))
}

async fn count(request: Request) -> Result<String, (StatusCode, String)> {
    let (mut len, mut body) = (0, request.into_body().into_data_stream());
    while let Some(piece) = body.next().await {
        len += piece.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?.len();
    }
    Ok(len.to_string())
}

/// Reads slowly, and tells how far it is.
async fn sip(State(counts): Counted, request: Request) -> String {
    let mut body = request.into_body().into_data_stream();
    while let Some(Ok(piece)) = body.next().await {
        counts.poured.fetch_add(piece.len(), Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    "sipped".to_owned()
}

/// The body in other hands than the answer.
async fn spawned(request: Request) -> String {
    let (send, receive) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut body = request.into_body().into_data_stream();
        let first = body.next().await;
        let _ = send.send(first.and_then(Result::ok).map_or(0, |piece| piece.len()));
        // Nothing of it will be there after the answer: an error, not a wait for ever.
        while let Some(piece) = body.next().await {
            if let Err(error) = piece {
                tracing::warn!("the rest: {error}");
                return;
            }
        }
    });
    format!("first {}", receive.await.unwrap_or(0))
}

struct Noticed(Arc<Counts>);

impl Drop for Noticed {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Relaxed);
    }
}

async fn websocket(State(counts): Counted, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(64 << 20).max_frame_size(64 << 20).protocols(["echo"]);
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let _noticed = Noticed(Arc::clone(&counts));
        counts.sockets.fetch_add(1, Relaxed);
        while let Some(Ok(message)) = socket.recv().await {
            match message {
                Message::Text(text) if text == "pour" => loop {
                    if socket.send(Message::Binary(vec![b'x'; 1024].into())).await.is_err() {
                        return;
                    }
                    counts.poured.fetch_add(1024, Relaxed);
                },
                Message::Text(text) if text == "leave" => return,
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
                message => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
}

fn breaking<T: Into<Box<dyn std::error::Error + Send + Sync>> + 'static>(
    how: impl FnOnce() -> T + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> {
    let first = stream::iter([Ok(Bytes::from_static(b"begun"))]);
    first.chain(stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(how().into())
    }))
}

async fn never(State(counts): Counted) {
    let _noticed = Noticed(Arc::clone(&counts));
    counts.begun.fetch_add(1, Relaxed);
    std::future::pending().await
}

async fn never_ends(State(counts): Counted) -> Body {
    let noticed = Noticed(Arc::clone(&counts));
    counts.begun.fetch_add(1, Relaxed);
    Body::from_stream(stream::once(async { Ok::<_, String>("x") }).chain(stream::once(async move {
        let _noticed = noticed;
        std::future::pending().await
    })))
}

async fn pour(State(counts): Counted) -> Body {
    Body::from_stream(stream::repeat(Bytes::from_static(&[b'p'; 4096])).map(move |piece| {
        counts.poured.fetch_add(piece.len(), Relaxed);
        Ok::<_, String>(piece)
    }))
}

async fn counts(State(counts): Counted) -> String {
    let read = |count: &AtomicUsize| count.load(Relaxed);
    format!(
        "begun {} dropped {} poured {} sockets {}",
        read(&counts.begun),
        read(&counts.dropped),
        read(&counts.poured),
        read(&counts.sockets)
    )
}

async fn status(Path(code): Path<u16>) -> Result<Response, StatusCode> {
    let status = StatusCode::from_u16(code).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok((status, format!("status {code}\n")).into_response())
}

async fn trailers() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let frames = [b"one", b"two"].map(|piece| Frame::data(Bytes::from_static(piece)));
    let frames = frames.into_iter().chain([Frame::trailers(trailers)]);
    let body = Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, std::convert::Infallible>))));
    ([("trailer", "x-sum")], body).into_response()
}

async fn headers() -> Response {
    let mut response = "headers".into_response();
    for value in ["a=1", "b=2"] {
        response.headers_mut().append("set-cookie", HeaderValue::from_static(value));
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/x-mine"));
    response
}

async fn file(
    axum::Extension(config): axum::Extension<Config>,
    Path(name): Path<String>,
) -> Result<File, (StatusCode, String)> {
    File::open(config.files.join(name)).await.map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))
}

async fn part(
    axum::Extension(config): axum::Extension<Config>,
    Path(name): Path<String>,
) -> Result<File, (StatusCode, String)> {
    Ok(file(axum::Extension(config), Path(name)).await?.part(3, 4))
}

async fn log(info: Info) -> &'static str {
    tracing::warn!("in the handler");
    let _ = tokio::spawn(async move { info.watch().scope(|| tracing::warn!("in a task")) }).await;
    "logged"
}
