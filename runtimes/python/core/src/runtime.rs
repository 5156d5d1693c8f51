//! A queue as a Python object, for the package's own use: `nffi._native.Runtime`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use nffi_abi as abi;
use pyo3::{exceptions::PyOSError, prelude::*, types::PyDict};

use crate::{
    asgi,
    flusher::Flusher,
    host::{Answer, BATCH, Host},
    http,
    pool::Pool,
    request::Request,
    wsgi::WsgiRequest,
};

/// How long an answer may wait for others. A handler that computes holds up the loop, and with it
/// the flush that is due.
pub const MOST_DELAY: Duration = Duration::from_millis(1);

/// A batch that takes long leaves nginx alone the longer: each of its parts may wait twice as long as
/// the one before, up to this. Its clients have waited that long already, and nginx, where it has to
/// share a core with Python, costs each of them a third more if it is woken every millisecond.
const MOST_DELAY_LATER: Duration = Duration::from_millis(4);

/// What requests, threads and the Python side of one runtime share.
pub struct Shared {
    pub host: Host,
    pub pool: Pool,
    pub flusher: Flusher,
    /// The object that runs the handlers: of `_asyncio` or `_threads`.
    pub server: OnceLock<Py<PyAny>>,
    batch: Mutex<Batch>,
}

struct Batch {
    answers: Vec<Answer>,
    first: Option<Instant>,
    /// How long the answers may wait.
    delay: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { answers: Vec::new(), first: None, delay: MOST_DELAY }
    }
}

impl Shared {
    /// True where this is the first of a batch.
    pub fn later(&self, answer: Answer) -> bool {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.answers.push(answer);
        let due = batch.answers.len() >= BATCH;
        match batch.first {
            Some(first) if due || first.elapsed() >= batch.delay => {
                self.host.reply_many(&mut batch.answers);
                batch.delay = MOST_DELAY_LATER.min(batch.delay * 2);
                // The flush that was asked for is still to come: the next answer need not.
                batch.first = Some(Instant::now());
                false
            }
            Some(_) => false,
            None => {
                batch.first = Some(Instant::now());
                true
            }
        }
    }
}

impl Shared {
    /// Sends an answer, and with it those that wait.
    pub fn reply_with_others(&self, answer: Answer) {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.answers.is_empty() {
            drop(batch);
            self.host.reply(answer);
            return;
        }
        batch.answers.push(answer);
        // A flush that was asked for is still to come.
        self.host.reply_many(&mut batch.answers);
    }

    /// Sends the answers that wait.
    pub fn flush(&self) {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        (batch.first, batch.delay) = (None, MOST_DELAY);
        if !batch.answers.is_empty() {
            self.host.reply_many(&mut batch.answers);
        }
    }
}

#[pyclass(frozen, module = "nffi._native")]
pub struct Runtime(Arc<Shared>);

impl Runtime {
    pub fn new(host: Host) -> Self {
        let (pool, flusher, server, batch) = Default::default();
        Self(Arc::new(Shared { host, pool, flusher, server, batch }))
    }
}

#[pymethods]
impl Runtime {
    fn set_server(&self, server: Py<PyAny>) {
        // Once: start does it.
        let _ = self.0.server.set(server);
    }

    /// A line for each line of the message; False once the runtime has stopped.
    fn log(&self, task: u64, level: i32, message: &str) -> bool {
        self.0.host.log(task, level, message)
    }

    /// The last word to the host.
    fn stopped(&self, py: Python<'_>) {
        self.flush();
        py.detach(|| self.0.host.close());
    }

    // For the event loop

    fn poll_fd(&self) -> PyResult<i32> {
        match self.0.host.poll_fd() {
            -1 => Err(PyOSError::new_err("the host has no descriptor to poll; too many open files?")),
            fd => Ok(fd),
        }
    }

    /// What has come, up to a batch and in its order, since a CANCEL may follow its request at
    /// once: requests go to `begin(request)`, other events to `control(kind, task)`.
    fn poll(&self, begin: &Bound<'_, PyAny>, control: &Bound<'_, PyAny>) {
        let py = begin.py();
        let mut events = Vec::new();
        self.0.host.poll(&mut events, 0);
        let take = |event: &abi::nffi_event| {
            if event.kind == abi::NFFI_HTTP {
                http::refuse(&self.0.host, event.task, http::NO_HTTP);
                return;
            }
            let taken = if event.kind == abi::NFFI_CALL {
                let request = Request::receive(py, &self.0, event);
                request.map_or(Ok(()), |request| begin.call1((request,)).map(drop))
            } else {
                control.call1((event.kind, event.task)).map(drop)
            };
            if let Err(error) = taken {
                error.write_unraisable(py, None);
            }
        };
        for event in &events {
            // One event that went wrong must not take the others with it: PyO3 panics where it has
            // no memory for arguments.
            let _ = catch_unwind(AssertUnwindSafe(|| take(event)));
        }
    }

    /// Sends the answers that wait.
    fn flush(&self) {
        self.0.flush();
    }

    /// What serves an ASGI app; see `asgi::Server`.
    fn asgi(&self, options: &Bound<'_, PyDict>) -> PyResult<Py<asgi::Server>> {
        asgi::Server::new(options.py(), Arc::clone(&self.0), options)
    }

    // For threads

    /// Starts the thread that polls for `workers` threads. grace: seconds, how long it waits for
    /// them after STOP. is_app: they take HTTP requests, not messages.
    fn start_polling(&self, workers: usize, grace: f64, is_app: bool) -> PyResult<()> {
        let grace = Duration::try_from_secs_f64(grace).unwrap_or(Duration::ZERO);
        Ok(Pool::start(Arc::clone(&self.0), workers, grace, is_app)?)
    }

    /// The next request; waits for it. None: the thread is to end.
    fn next_request(&self, py: Python<'_>) -> Option<Py<Request>> {
        loop {
            let event = self.0.pool.next(py, &self.0.host)?;
            let request = Request::receive(py, &self.0, &event.0);
            if request.is_some() {
                return request;
            }
        }
    }

    /// The next HTTP request of a WSGI app, as `next_request`.
    fn next_wsgi(&self, py: Python<'_>) -> Option<Py<WsgiRequest>> {
        loop {
            let event = self.0.pool.next(py, &self.0.host)?;
            let request = WsgiRequest::receive(py, &self.0, &event.0);
            if request.is_some() {
                return request;
            }
        }
    }

    /// A thread that got None says so last of all.
    fn worker_done(&self) {
        self.0.pool.worker_done();
    }

    /// From now on this task's events of this kind are counted for `wait`. How many there were.
    fn watch(&self, task: u64, kind: u32) -> u64 {
        self.0.pool.watch(task, kind)
    }

    fn unwatch(&self, task: u64, kind: u32) {
        self.0.pool.unwatch(task, kind);
    }

    /// Waits until there are more than the `seen` events. How many there are; None at STOP.
    fn wait(&self, py: Python<'_>, task: u64, kind: u32, seen: u64) -> Option<u64> {
        py.detach(|| self.0.pool.wait(task, kind, seen))
    }
}
