//! Batches of events in, a task for each request: `nffi._native.AsgiServer`.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use nffi_abi as abi;
use nffi_websocket::{Accept, Refusal, handshake, is_websocket};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PySet},
};

use super::{
    call::{call, call_method},
    eager::Tasks,
    exchange::{self, Exchange},
    gil::Gil,
    scope::Scopes,
    socket::Socket,
    waiting::Done,
};
use crate::{
    host::Host,
    http::{self, Line, Request},
    runtime::Shared,
};

/// What the requests of a server share.
pub struct Core {
    pub create_future: Py<PyAny>,
    /// The exception of a `send` whose client has gone.
    disconnected: Py<PyAny>,
    /// `raised(exchange, exception)`: logs it.
    raised: Py<PyAny>,
    pub ws_max_size: usize,
    ws_per_message_deflate: bool,
    /// Seconds.
    pub ws_ping_interval: Option<f64>,
    pub ws_ping_timeout: Option<f64>,
    pub done: Py<Done>,
    call_soon: Py<PyAny>,
    turn: Gil<Turn>,
    /// Requests whose apps still run, and whose tasks have not ended.
    live: Gil<HashMap<u64, Live>>,
    /// Methods of the server's.
    flush: Gil<Option<Py<PyAny>>>,
    expired: Gil<Option<Py<PyAny>>>,
    call_later: Py<PyAny>,
}

/// What is to be done at the end of a batch, or of the loop's turn.
#[derive(Default)]
struct Turn {
    /// A flush will come.
    due: bool,
    /// Heads that nothing has followed yet.
    heads: Vec<Py<Exchange>>,
}

enum Live {
    Http(Py<Exchange>),
    WebSocket(Py<Socket>),
}

impl Live {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Http(exchange) => Self::Http(exchange.clone_ref(py)),
            Self::WebSocket(socket) => Self::WebSocket(socket.clone_ref(py)),
        }
    }

    fn object<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        match self {
            Self::Http(exchange) => exchange.bind(py).as_any(),
            Self::WebSocket(socket) => socket.bind(py).as_any(),
        }
    }

    fn task(&self) -> u64 {
        match self {
            Self::Http(exchange) => exchange.get().task,
            Self::WebSocket(socket) => socket.get().task,
        }
    }

    fn is_over(&self, py: Python<'_>) -> bool {
        match self {
            Self::Http(exchange) => exchange.get().is_over(py),
            Self::WebSocket(socket) => socket.get().is_over(py),
        }
    }

    fn event(&self, py: Python<'_>, kind: u32) -> PyResult<()> {
        match self {
            Self::Http(exchange) => exchange.get().event(py, kind),
            Self::WebSocket(socket) => socket.get().event(py, kind),
        }
    }
}

impl Core {
    /// What a `send` raises.
    pub fn disconnected(&self, py: Python<'_>) -> PyErr {
        let made = self.disconnected.bind(py).call1(("the client has gone",));
        made.map_or_else(|error| error, PyErr::from_value)
    }

    /// The app has returned, or raised an exception.
    fn ended(&self, py: Python<'_>, live: &Live, task: &Bound<'_, PyAny>) -> PyResult<()> {
        match (call_method(intern!(py, "result"), [task]), live) {
            (Ok(result), Live::Http(exchange)) => exchange.get().returned(py, &result),
            (Ok(_), Live::WebSocket(socket)) => socket.get().returned(py),
            (Err(error), live) => self.raised(py, live, error),
        }
    }

    fn raised(&self, py: Python<'_>, live: &Live, error: PyErr) -> PyResult<()> {
        call(self.raised.bind(py), [live.object(py), error.into_value(py).bind(py).as_any()]).map(drop)
    }

    /// Asks for `expired` of the task's WebSocket. A handle, which has `cancel()`.
    pub fn later(&self, py: Python<'_>, seconds: f64, task: u64) -> PyResult<Option<Py<PyAny>>> {
        let expired = self.expired.borrow(py).as_ref().map(|expired| expired.clone_ref(py));
        expired.map(|expired| self.call_later.call1(py, (seconds, expired, task))).transpose()
    }

    /// The task has ended.
    pub fn over(&self, py: Python<'_>, task: u64) {
        let exchange = self.live.borrow(py).remove(&task);
        drop(exchange);
    }

    pub fn flush_soon(&self, py: Python<'_>) -> PyResult<()> {
        if std::mem::replace(&mut self.turn.borrow(py).due, true) {
            return Ok(());
        }
        let flush = self.flush.borrow(py).as_ref().map(|flush| flush.clone_ref(py));
        match flush {
            Some(flush) => self.call_soon.call1(py, (flush,)).map(drop),
            None => Ok(()),
        }
    }

    /// A head has gone to the host, which keeps it: unless something follows in this turn, it is to
    /// be sent on its own.
    pub fn head_waits(&self, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let py = exchange.py();
        self.turn.borrow(py).heads.push(exchange.clone().unbind());
        self.flush_soon(py)
    }
}

#[pyclass(frozen, module = "nffi._native")]
pub struct Server {
    shared: Arc<Shared>,
    core: Arc<Core>,
    tasks: Tasks,
    scopes: Scopes,
    app: Py<PyAny>,
    /// A coroutine that awaits.
    awaited: Py<PyAny>,
    coroutine_type: Py<PyAny>,
    /// Tasks that need more steps.
    running: Py<PySet>,
    stop: Py<PyAny>,
    /// Sets the context variable of the running request.
    set_request: Py<PyAny>,
    events: Gil<Vec<abi::nffi_event>>,
}

// SAFETY: the events in it are there only while `on_readable` runs.
unsafe impl Sync for Server {}
// SAFETY: as above.
unsafe impl Send for Server {}

impl Server {
    pub fn new(py: Python<'_>, shared: Arc<Shared>, options: &Bound<'_, PyDict>) -> PyResult<Py<Self>> {
        let option = |name: &str| -> PyResult<Bound<'_, PyAny>> {
            options.get_item(name)?.ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(name.to_owned()))
        };
        let event_loop = option("loop")?;
        let core = Core {
            create_future: event_loop.getattr("create_future")?.unbind(),
            disconnected: option("disconnected")?.unbind(),
            raised: option("raised")?.unbind(),
            done: Py::new(py, Done)?,
            call_soon: event_loop.getattr("call_soon")?.unbind(),
            turn: Gil::default(),
            live: Gil::default(),
            flush: Gil::default(),
            expired: Gil::default(),
            call_later: event_loop.getattr("call_later")?.unbind(),
            ws_max_size: option("ws_max_size")?.extract()?,
            ws_per_message_deflate: option("ws_per_message_deflate")?.extract()?,
            ws_ping_interval: option("ws_ping_interval")?.extract()?,
            ws_ping_timeout: option("ws_ping_timeout")?.extract()?,
        };
        let server = Py::new(
            py,
            Self {
                shared,
                core: Arc::new(core),
                tasks: Tasks::new(py, &event_loop)?,
                scopes: Scopes::new(py, option("state")?.cast()?)?,
                app: option("app")?.unbind(),
                awaited: option("awaited")?.unbind(),
                coroutine_type: py.import("types")?.getattr("CoroutineType")?.unbind(),
                running: option("running")?.cast_into::<PySet>()?.unbind(),
                stop: option("stop")?.unbind(),
                set_request: option("set_request")?.unbind(),
                events: Gil::default(),
            },
        )?;
        let flush = server.bind(py).getattr("flush")?.unbind();
        let expired = server.bind(py).getattr("_expired")?.unbind();
        server.get().core.flush.borrow(py).replace(flush);
        server.get().core.expired.borrow(py).replace(expired);
        Ok(server)
    }

    fn take(&self, py: Python<'_>, event: &abi::nffi_event) -> PyResult<()> {
        match event.kind {
            abi::NFFI_HTTP => self.begin(py, event),
            abi::NFFI_CALL => {
                http::refuse(&self.shared.host, event.task, http::NO_MESSAGES);
                Ok(())
            }
            abi::NFFI_STOP => self.stop.call0(py).map(drop),
            kind => {
                let live = self.core.live.borrow(py).get(&event.task).map(|live| live.clone_ref(py));
                live.map_or(Ok(()), |live| live.event(py, kind))
            }
        }
    }

    fn begin(&self, py: Python<'_>, event: &abi::nffi_event) -> PyResult<()> {
        // SAFETY: the task ends by its Exchange, which forgets the request then.
        let Some(request) = (unsafe { Request::of(event) }) else {
            http::refuse(&self.shared.host, event.task, "the host's requests are not of this runtime's version");
            return Ok(());
        };
        if request.head.may_upgrade() {
            let headers: Vec<_> = request.head.headers().collect();
            if is_websocket(&headers) {
                return self.begin_websocket(py, &request, &headers);
            }
        }
        let exchange = Exchange::new(Arc::clone(&self.shared), Arc::clone(&self.core), &request, event.deadline);
        // From here on it is the exchange that ends the task.
        let exchange = Bound::new(py, exchange)?;
        let scope = self.scopes.http(py, &request.head)?;
        let (receive, send) = (exchange::RECEIVE.of(exchange.as_any())?, exchange::SEND.of(exchange.as_any())?);
        self.run(Live::Http(exchange.unbind()), scope, receive, send)
    }

    fn begin_websocket(&self, py: Python<'_>, request: &Request<'_>, headers: &[(&[u8], &[u8])]) -> PyResult<()> {
        let number = request.task;
        let accept = match handshake(request.head.method(), headers) {
            Ok(accept) => Accept { deflate: accept.deflate.filter(|_| self.core.ws_per_message_deflate), ..accept },
            Err(refusal) => {
                refuse(&self.shared.host, number, &refusal);
                return Ok(());
            }
        };
        let socket = Socket::new(Arc::clone(&self.shared), Arc::clone(&self.core), number, accept);
        let socket = Bound::new(py, socket)?;
        let scope = self.scopes.websocket(py, &request.head)?;
        let (receive, send) = (socket.getattr(intern!(py, "receive"))?, socket.getattr(intern!(py, "send"))?);
        self.run(Live::WebSocket(socket.unbind()), scope, receive, send)
    }

    /// Calls the app, as a task of its own.
    fn run<'py>(
        &self,
        live: Live,
        scope: Bound<'py, PyDict>,
        receive: Bound<'py, PyAny>,
        send: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = scope.py();
        call(self.set_request.bind(py), [live.object(py)])?;
        let coroutine = match call(self.app.bind(py), [scope.as_any(), &receive, &send]) {
            Ok(coroutine) => coroutine,
            Err(error) => return self.core.raised(py, &live, error),
        };
        // What an app that is no `async def` returns may be any awaitable.
        let coroutine = if coroutine.get_type().is(&self.coroutine_type) {
            coroutine
        } else {
            call(self.awaited.bind(py), [&coroutine])?
        };
        let task = self.tasks.start(py, coroutine)?;
        if call_method(intern!(py, "done"), [&task])?.is_truthy()? {
            self.core.ended(py, &live, &task)?;
            if !live.is_over(py) {
                // A WebSocket whose client is still to answer the Close.
                self.core.live.borrow(py).insert(live.task(), live);
            }
            return Ok(());
        }
        self.running.bind(py).add(&task)?;
        if !live.is_over(py) {
            self.core.live.borrow(py).insert(live.task(), live.clone_ref(py));
        }
        let ending = Ending { core: Arc::clone(&self.core), live, running: self.running.clone_ref(py) };
        call_method(intern!(py, "add_done_callback"), [&task, Bound::new(py, ending)?.as_any()]).map(drop)
    }
}

/// What a task calls that has needed more steps, once it is done.
#[pyclass(frozen, module = "nffi._native")]
struct Ending {
    core: Arc<Core>,
    live: Live,
    running: Py<PySet>,
}

#[pymethods]
impl Ending {
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        self.running.bind(py).discard(task)?;
        self.core.ended(py, &self.live, task)
    }
}

/// The answer to a request for a WebSocket that does it wrongly.
fn refuse(host: &Host, task: u64, refusal: &Refusal) {
    let mut lines: Vec<_> =
        refusal.headers.iter().map(|(name, value)| Line::new(name.as_bytes(), value.as_bytes())).collect();
    lines.push(Line::new(b"content-type", b"text/plain; charset=utf-8"));
    host.http_head(task, i32::from(refusal.status), &lines);
    host.reply(host.answer(task, 0, format!("{}\n", refusal.text).as_bytes()));
}

#[pymethods]
impl Server {
    fn _expired(&self, py: Python<'_>, task: u64) -> PyResult<()> {
        let live = self.core.live.borrow(py).get(&task).map(|live| live.clone_ref(py));
        match live {
            Some(Live::WebSocket(socket)) => socket.get().expired(py),
            _ => Ok(()),
        }
    }

    /// The host's descriptor is readable: takes one batch. It stays readable where there is more.
    fn on_readable(&self, py: Python<'_>) {
        let mut events = std::mem::take(&mut *self.events.borrow(py));
        events.clear();
        self.shared.host.poll(&mut events, 0);
        // Flushed below, without asking the loop.
        self.core.turn.borrow(py).due = true;
        for event in &events {
            // One event that went wrong must not take the others with it. PyO3 panics where it has
            // no memory.
            if let Ok(Err(error)) = catch_unwind(AssertUnwindSafe(|| self.take(py, event))) {
                error.write_unraisable(py, None);
            }
        }
        self.flush(py);
        let _ = self.set_request.call1(py, (py.None(),));
        *self.events.borrow(py) = events;
    }

    /// Sends what waits: answers, and heads that nothing has followed.
    fn flush(&self, py: Python<'_>) {
        let heads = {
            let mut turn = self.core.turn.borrow(py);
            turn.due = false;
            std::mem::take(&mut turn.heads)
        };
        for exchange in &heads {
            exchange.get().flush(py);
        }
        self.shared.flush();
    }
}
