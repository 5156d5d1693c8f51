//! One HTTP request: the app's `receive` and `send`.

use std::{os::fd::OwnedFd, sync::Arc};

use nffi_abi as abi;
use pyo3::{
    exceptions::{PyMemoryError, PyRuntimeError, PyTypeError},
    ffi, intern,
    prelude::*,
    types::PyBytes,
};

use super::{
    call::{Method, method},
    gil::Gil,
    message::{Message, Pair, event},
    server::Core,
    waiting::{Target, Waiting, What, wake},
};
use crate::{
    http::{Body, Next, Request},
    runtime::Shared,
};

/// How far the answer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Nothing,
    /// The host has its head.
    Head,
    /// And the whole body; now its trailers.
    Trailers,
    /// The task has ended.
    Done,
}

struct State {
    stage: Stage,
    /// The client has gone.
    gone: bool,
    /// No more room until the host says so.
    full: bool,
    /// The head is with the host, which keeps it until something follows.
    head_waits: bool,
    body: Body,
    /// The app has got the whole request.
    received: bool,
    /// What Content-Length leaves to be sent.
    expected: Option<u64>,
    /// An answer to HEAD, 204, 304.
    bodiless: bool,
    trailers: bool,
    /// Those that the app has sent, while more are to come.
    trailing: Vec<Pair>,
    /// Futures of those who wait, for a message and for room.
    readers: Vec<Py<PyAny>>,
    writers: Vec<Py<PyAny>>,
}

/// A request, for as long as its app runs.
#[pyclass(frozen, module = "nffi._native")]
pub struct Exchange {
    shared: Arc<Shared>,
    core: Arc<Core>,
    pub task: u64,
    deadline: u64,
    is_head: bool,
    state: Gil<State>,
}

impl Exchange {
    pub fn new(shared: Arc<Shared>, core: Arc<Core>, request: &Request<'_>, deadline: u64) -> Self {
        let state = State {
            stage: Stage::Nothing,
            gone: false,
            full: false,
            head_waits: false,
            body: request.body(),
            received: false,
            expected: None,
            bodiless: false,
            trailers: false,
            trailing: Vec::new(),
            readers: Vec::new(),
            writers: Vec::new(),
        };
        let is_head = request.head.method() == b"HEAD";
        Self { shared, core, task: request.task, deadline, is_head, state: Gil::new(state) }
    }

    pub fn is_over(&self, py: Python<'_>) -> bool {
        self.state.borrow(py).stage == Stage::Done
    }

    /// READABLE, WRITABLE or CANCEL.
    pub fn event(&self, py: Python<'_>, kind: u32) -> PyResult<()> {
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.borrow(py);
            state.gone |= kind == abi::NFFI_CANCEL;
            if kind != abi::NFFI_WRITABLE {
                readers = std::mem::take(&mut state.readers);
            }
            if kind != abi::NFFI_READABLE {
                state.full = false;
                writers = std::mem::take(&mut state.writers);
            }
        }
        wake(py, readers)?;
        wake(py, writers)
    }

    /// Sends a head that nothing has followed.
    pub fn flush(&self, py: Python<'_>) {
        let waits = std::mem::take(&mut self.state.borrow(py).head_waits);
        if waits {
            let code = self.shared.host.write(self.task, b"");
            let mut state = self.state.borrow(py);
            state.gone |= code == Some(abi::NFFI_GONE);
            state.full |= code == Some(abi::NFFI_FULL);
        }
    }

    // ---- waiting ------------------------------------------------------------------------------

    pub fn future<'py>(&self, py: Python<'py>, what: What) -> PyResult<Bound<'py, PyAny>> {
        let future = self.core.create_future.bind(py).call0()?;
        let mut state = self.state.borrow(py);
        let waiters = if what == What::Message { &mut state.readers } else { &mut state.writers };
        waiters.push(future.clone().unbind());
        drop(state);
        Ok(future)
    }

    /// What the await is worth, or None: it has to wait.
    pub fn take(&self, py: Python<'_>, what: What) -> PyResult<Option<Py<PyAny>>> {
        if what == What::Message {
            return self.take_message(py);
        }
        let (full, gone) = {
            let state = self.state.borrow(py);
            (state.full, state.gone)
        };
        match (full, gone) {
            (_, true) => Err(self.core.disconnected(py)),
            (true, _) => Ok(None),
            (false, _) => Ok(Some(py.None())),
        }
    }

    fn take_message(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut state = self.state.borrow(py);
        if state.gone || state.stage == Stage::Done {
            drop(state);
            return event(py, intern!(py, "http.disconnect"), |_| Ok(())).map(Some);
        }
        if state.received {
            return Ok(None);
        }
        // SAFETY: the task has not ended: it is not Done.
        let next = unsafe {
            state.body.next(&self.shared.host, self.task, |piece| {
                crate::bytes::copied(py, piece.as_ptr().cast(), piece.len()).map(Bound::unbind)
            })
        };
        let (body, more) = match next? {
            Next::Piece(None, _) => {
                drop(state);
                return Err(PyMemoryError::new_err("no memory for a piece of the request's body"));
            }
            Next::Piece(Some(body), last) => (body, !last),
            Next::End => (PyBytes::new(py, b"").unbind(), false),
            Next::Wait => return Ok(None),
            Next::Gone => {
                state.gone = true;
                drop(state);
                return self.take_message(py);
            }
        };
        state.received = !more;
        drop(state);
        event(py, intern!(py, "http.request"), |dict| {
            dict.set_item(intern!(py, "body"), body)?;
            dict.set_item(intern!(py, "more_body"), more)
        })
        .map(Some)
    }

    // ---- the answer ---------------------------------------------------------------------------

    fn start(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let status: i32 = match message.get(intern!(py, "status"))? {
            Some(status) => status.extract()?,
            None => return Err(PyRuntimeError::new_err("ASGI message 'http.response.start' has no 'status'.")),
        };
        if !(200..=999).contains(&status) {
            return Err(PyRuntimeError::new_err(format!("Invalid HTTP status {status} in 'http.response.start'.")));
        }
        let headers = message.headers()?;
        let trailers = message.flag(intern!(py, "trailers"))?;
        let expected = headers.content_length()?;
        if self.state.borrow(py).gone {
            return Err(self.core.disconnected(py));
        }
        match self.shared.host.http_head(self.task, status, &headers.lines()) {
            abi::NFFI_OK => {}
            abi::NFFI_GONE => {
                self.state.borrow(py).gone = true;
                return Err(self.core.disconnected(py));
            }
            _ => return Err(headers.refused()),
        }
        let mut state = self.state.borrow(py);
        state.stage = Stage::Head;
        state.head_waits = true;
        state.trailers = trailers;
        state.bodiless = self.is_head || matches!(status, 204 | 304);
        state.expected = expected.filter(|_| !state.bodiless);
        Ok(())
    }

    /// Counts a piece against Content-Length.
    fn count(&self, py: Python<'_>, len: usize, last: bool) -> PyResult<()> {
        let mut state = self.state.borrow(py);
        if let Some(expected) = &mut state.expected {
            *expected = expected
                .checked_sub(len as u64)
                .ok_or_else(|| PyRuntimeError::new_err("Response content longer than Content-Length"))?;
            if last && *expected > 0 {
                return Err(PyRuntimeError::new_err("Response content shorter than Content-Length"));
            }
        }
        Ok(())
    }

    /// What the host has said to a piece. None: no memory.
    fn sent(&self, py: Python<'_>, code: Option<i32>) -> PyResult<()> {
        let mut state = self.state.borrow(py);
        match code {
            Some(abi::NFFI_OK) => {}
            Some(abi::NFFI_FULL) => state.full = true,
            Some(abi::NFFI_GONE) => {
                state.gone = true;
                drop(state);
                return Err(self.core.disconnected(py));
            }
            Some(_) => return Err(PyRuntimeError::new_err("the host has refused a piece of the answer")),
            None => return Err(PyMemoryError::new_err("no memory for a piece of the answer")),
        }
        Ok(())
    }

    fn body(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let body = message.bytes(intern!(py, "body"))?;
        let more = message.flag(intern!(py, "more_body"))?;
        let body = body.as_ref().map_or(&[][..], |body| body.as_bytes());
        let (gone, bodiless, trailers) = {
            let state = self.state.borrow(py);
            (state.gone, state.bodiless, state.trailers)
        };
        if gone {
            return Err(self.core.disconnected(py));
        }
        self.count(py, body.len(), !more)?;
        let body = if bodiless { &[][..] } else { body };
        if !more && !trailers {
            return self.finish_with(py, 0, body);
        }
        if !body.is_empty() || more {
            self.state.borrow(py).head_waits = false;
            let code = self.shared.host.write(self.task, body);
            self.sent(py, code)?;
        }
        if !more {
            self.state.borrow(py).stage = Stage::Trailers;
        }
        Ok(())
    }

    fn path_send(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let path = message.get(intern!(py, "path"))?;
        let path: std::path::PathBuf = path.ok_or_else(|| PyTypeError::new_err("path is missing"))?.extract()?;
        if !path.is_absolute() {
            return Err(PyRuntimeError::new_err(format!(
                "'http.response.pathsend' takes an absolute path, not {}",
                path.display()
            )));
        }
        let file = std::fs::File::open(&path)?;
        let len = file.metadata()?.len();
        let (gone, bodiless, trailers) = {
            let state = self.state.borrow(py);
            (state.gone, state.bodiless, state.trailers)
        };
        if gone {
            return Err(self.core.disconnected(py));
        }
        self.count(py, usize::try_from(len).unwrap_or(usize::MAX), true)?;
        if !bodiless && len > 0 {
            self.state.borrow(py).head_waits = false;
            let code = self.shared.host.http_file(self.task, OwnedFd::from(file), 0, -1);
            self.sent(py, Some(code))?;
        }
        if trailers {
            self.state.borrow(py).stage = Stage::Trailers;
            return Ok(());
        }
        self.finish_with(py, 0, b"")
    }

    fn send_trailers(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let headers = message.headers()?;
        let more = message.flag(intern!(py, "more_trailers"))?;
        let earlier = {
            let mut state = self.state.borrow(py);
            if state.gone {
                drop(state);
                return Err(self.core.disconnected(py));
            }
            if more {
                state.trailing.extend(headers.unbind());
                return Ok(());
            }
            std::mem::take(&mut state.trailing)
        };
        // ASGI: the others go without.
        if !self.shared.host.takes_trailers(self.task) {
            return self.finish_with(py, 0, b"");
        }
        let headers = headers.after(py, earlier);
        match self.shared.host.http_trailers(self.task, &headers.lines()) {
            abi::NFFI_OK => self.finish_with(py, 0, b""),
            abi::NFFI_GONE => {
                self.state.borrow(py).gone = true;
                Err(self.core.disconnected(py))
            }
            _ => Err(headers.refused()),
        }
    }

    /// Ends the task. Nobody does so twice.
    fn finish_with(&self, py: Python<'_>, status: i32, last: &[u8]) -> PyResult<()> {
        let readers = {
            let mut state = self.state.borrow(py);
            if std::mem::replace(&mut state.stage, Stage::Done) == Stage::Done {
                return Ok(());
            }
            // The host's memory goes with the task.
            (state.body, state.head_waits) = (Body::None, false);
            std::mem::take(&mut state.readers)
        };
        self.core.over(py, self.task);
        let answer = self.shared.host.answer(self.task, status, last);
        if self.shared.later(answer) {
            self.core.flush_soon(py)?;
        }
        wake(py, readers)
    }

    /// A failure of the app's, or its end without one: a plain 500, or a cut connection.
    fn fail(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        let (stage, gone) = {
            let state = self.state.borrow(py);
            (state.stage, state.gone)
        };
        if stage == Stage::Nothing && !gone {
            let text = crate::http::Line::new(b"content-type", b"text/plain; charset=utf-8");
            let length = crate::http::Line::new(b"content-length", b"21");
            if self.shared.host.http_head(self.task, 500, &[text, length]) == abi::NFFI_OK {
                return self.finish_with(py, 0, if self.is_head { b"" } else { b"Internal Server Error" });
            }
        }
        self.finish_with(py, 1, why.as_bytes())
    }
}

#[pymethods]
impl Exchange {
    /// Its number, for the log.
    #[getter]
    #[pyo3(name = "task")]
    fn number(&self) -> u64 {
        self.task
    }

    #[getter]
    fn deadline(&self) -> Option<f64> {
        (self.deadline != 0).then(|| self.deadline as f64 / 1e9)
    }

    /// Has the client gone?
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.state.borrow(py).gone || self.shared.host.cancelled(self.task)
    }

    /// The app has raised an exception, which is in the log.
    fn raised(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        self.fail(py, why)
    }
}

/// `receive` and `send`, as the app gets them.
pub static RECEIVE: Method = Method::new(c"receive", receive, ffi::METH_NOARGS);
pub static SEND: Method = Method::new(c"send", send, ffi::METH_O);

unsafe extern "C" fn receive(exchange: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls it with the object that it was bound to, an Exchange.
    unsafe {
        method(|py| {
            let exchange = Bound::from_borrowed_ptr(py, exchange).cast_into_unchecked::<Exchange>();
            Ok(Bound::new(py, Waiting::new(Target::Http(exchange.unbind()), What::Message))?.into_any())
        })
    }
}

unsafe extern "C" fn send(exchange: *mut ffi::PyObject, message: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above; and message is an object.
    unsafe {
        method(|py| {
            let exchange = Bound::from_borrowed_ptr(py, exchange).cast_into_unchecked::<Exchange>();
            Exchange::send(&exchange, Message::of(&Bound::from_borrowed_ptr(py, message))?)
        })
    }
}

impl Exchange {
    fn send<'py>(slf: &Bound<'py, Self>, message: Message<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let kind = message.kind()?;
        let kind = kind.to_str()?;
        let stage = this.state.borrow(py).stage;
        match (stage, kind) {
            (Stage::Nothing, "http.response.start") => {
                this.start(&message)?;
                this.core.head_waits(slf)?;
            }
            (Stage::Head, "http.response.body") => this.body(&message)?,
            (Stage::Head, "http.response.pathsend") => this.path_send(&message)?,
            (Stage::Trailers, "http.response.trailers") => this.send_trailers(&message)?,
            (stage, kind) => {
                return Err(PyRuntimeError::new_err(match stage {
                    Stage::Nothing => format!("Expected ASGI message 'http.response.start', but got '{kind}'."),
                    Stage::Head => format!("Expected ASGI message 'http.response.body', but got '{kind}'."),
                    Stage::Trailers => format!("Expected ASGI message 'http.response.trailers', but got '{kind}'."),
                    Stage::Done => {
                        format!("Unexpected ASGI message '{kind}' sent, after response already completed.")
                    }
                }));
            }
        }
        if this.state.borrow(py).full {
            return Ok(Bound::new(py, Waiting::new(Target::Http(slf.clone().unbind()), What::Room))?.into_any());
        }
        Ok(this.core.done.bind(py).clone().into_any())
    }

    /// The app has returned.
    pub fn returned(&self, py: Python<'_>, result: &Bound<'_, PyAny>) -> PyResult<()> {
        let (stage, gone) = {
            let state = self.state.borrow(py);
            (state.stage, state.gone)
        };
        let why = if !result.is_none() {
            let name = super::message::type_name(result);
            format!("ASGI callable should return None, but returned an object of type {name}.")
        } else if stage == Stage::Done {
            return Ok(());
        } else if gone {
            return self.finish_with(py, 1, b"the client has gone");
        } else if stage == Stage::Nothing {
            "ASGI callable returned without starting response.".to_owned()
        } else {
            "ASGI callable returned without completing response.".to_owned()
        };
        self.shared.host.log(self.task, abi::NFFI_LOG_ERR as i32, &why);
        self.fail(py, &why)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Whatever became of the app, the task ends. Python objects go with the GIL held.
        Python::attach(|py| {
            if !self.is_over(py) {
                let _ = self.finish_with(py, 1, b"the app has ended without an answer");
            }
        });
    }
}
