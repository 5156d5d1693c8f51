//! A request of a WSGI app as a Python object: its environ in, its answer out. What is done when is
//! `nffi._wsgi`'s business.
//!
//! The request's memory is the host's until the task ends, and a task ends in a method of this
//! object, or when it is dropped: always by a thread that has the GIL. So a method that has it, and
//! finds the task not ended, may read.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nffi_abi as abi;
use pyo3::{
    exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError},
    ffi, intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString, PyTuple},
};

use crate::{
    bytes::copied,
    http::{Body, Line, Request},
    runtime::Shared,
};

/// The request that an app works on. Made by the runtime only.
#[pyclass(frozen, module = "nffi._native")]
pub struct WsgiRequest {
    shared: Arc<Shared>,
    request: Request<'static>,
    /// CLOCK_MONOTONIC, nanoseconds; 0 never.
    deadline: u64,
    ended: AtomicBool,
    /// Not sent yet.
    head: Mutex<Option<Head>>,
}

// SAFETY: what the request points to is the host's, and may be read from any thread.
unsafe impl Send for WsgiRequest {}
// SAFETY: as above.
unsafe impl Sync for WsgiRequest {}

/// The head of an answer: names and values one behind the other, and where each ends.
struct Head {
    status: u16,
    text: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Head {
    fn lines(&self) -> Vec<Line<'_>> {
        let mut start = 0;
        let line = |&(name_end, end): &(usize, usize)| {
            let line = Line::new(&self.text[start..name_end], &self.text[name_end..end]);
            start = end;
            line
        };
        self.ends.iter().map(line).collect()
    }
}

impl WsgiRequest {
    /// The object for an NFFI_HTTP. Where that cannot be had the task is answered here.
    pub fn receive(py: Python<'_>, shared: &Arc<Shared>, event: &abi::nffi_event) -> Option<Py<Self>> {
        // SAFETY: as poll gave it; methods ask whether the task has ended.
        let Some(request) = (unsafe { Request::of(event) }) else {
            crate::http::refuse(&shared.host, event.task, "the host's requests are of an older kind");
            return None;
        };
        // Claimed until it is there: one that is dropped before does not answer for itself.
        let this = Self {
            shared: Arc::clone(shared),
            request,
            deadline: event.deadline,
            ended: AtomicBool::new(true),
            head: Mutex::new(None),
        };
        let Ok(this) = Py::new(py, this) else {
            crate::http::refuse(&shared.host, event.task, "MemoryError: no memory for a request");
            return None;
        };
        this.get().ended.store(false, Ordering::Release);
        Some(this)
    }

    /// True for the one caller that may end the task.
    fn claim(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }

    fn alive(&self) -> PyResult<&Request<'static>> {
        if self.ended.load(Ordering::Acquire) {
            return Err(PyRuntimeError::new_err("the request has been answered"));
        }
        Ok(&self.request)
    }

    /// Sends the head, where that is still to be done. Anything but NFFI_OK: nothing can follow.
    fn send_head(&self) -> i32 {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner).take();
        head.map_or(abi::NFFI_OK, |head| {
            self.shared.host.http_head(self.request.task, head.status.into(), &head.lines())
        })
    }

    fn reply(&self, status: i32, data: &[u8]) {
        self.shared.host.reply(self.shared.host.answer(self.request.task, status, data));
    }
}

/// Bytes as a str of as many characters, as PEP 3333 wants them.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: what comes is a new str, or NULL and an exception.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t, std::ptr::null());
        Bound::from_owned_ptr_or_err(py, text)
    }
}

/// The variable of a header; None for one that has none.
fn variable(name: &[u8]) -> Option<Vec<u8>> {
    // X_Forwarded_For would be taken for X-Forwarded-For, and anybody can send it.
    if name.contains(&b'_') {
        return None;
    }
    // HTTP_PROXY is what many programs take for their own proxy ("httpoxy"), and no client has a use for it.
    if name.eq_ignore_ascii_case(b"proxy") {
        return None;
    }
    let upper = name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() });
    Some(b"HTTP_".iter().copied().chain(upper).collect())
}

/// Adds a str's characters, each of which is a byte.
fn push_latin1(text: &mut Vec<u8>, what: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let value = value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("a header's {what} is a str, not {}: {}", type_of(value), shown(value)))
    })?;
    let utf8 = value.to_str()?;
    if utf8.is_ascii() {
        text.extend_from_slice(utf8.as_bytes());
        return Ok(());
    }
    for c in utf8.chars() {
        text.push(u8::try_from(u32::from(c)).map_err(|_| {
            PyValueError::new_err(format!("a header's {what} has a character beyond latin-1: {}", shown(value)))
        })?);
    }
    Ok(())
}

fn type_of(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned())
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn no_memory(len: usize) -> PyErr {
    PyMemoryError::new_err(format!("no memory for a piece of {len} bytes"))
}

#[pymethods]
impl WsgiRequest {
    /// Its number, as unique as the process.
    #[getter]
    fn task(&self) -> u64 {
        self.request.task
    }

    /// When the host stops waiting, on time.monotonic()'s clock; None: never.
    #[getter]
    fn deadline(&self) -> Option<f64> {
        (self.deadline != 0).then(|| self.deadline as f64 / 1e9)
    }

    /// Has the client gone, or the task ended?
    fn cancelled(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.shared.host.cancelled(self.request.task)
    }

    #[getter]
    fn is_head(&self) -> PyResult<bool> {
        Ok(self.alive()?.head.method() == b"HEAD")
    }

    #[getter]
    fn has_more(&self) -> bool {
        self.request.more
    }

    /// A copy of a body that is in memory.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let body = self.alive()?.head.body();
        // SAFETY: len bytes, the task is alive.
        unsafe { copied(py, body.as_ptr().cast(), body.len()) }.ok_or_else(|| no_memory(body.len()))
    }

    /// The descriptor of a body that is in a file, the host's; -1 where there is none.
    #[getter]
    fn body_fd(&self) -> PyResult<i32> {
        Ok(match self.alive()?.body() {
            Body::File { fd, .. } => fd,
            _ => -1,
        })
    }

    /// A copy of the template, with the variables of this request.
    fn environ<'py>(&self, template: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        let py = template.py();
        let head = &self.alive()?.head;
        let environ = template.copy()?;
        let set = |name: &Bound<'py, PyString>, value: &[u8]| environ.set_item(name, latin1(py, value)?);

        set(intern!(py, "REQUEST_METHOD"), head.method())?;
        // The prefix is empty, or the path begins with it.
        set(intern!(py, "SCRIPT_NAME"), head.prefix())?;
        set(intern!(py, "PATH_INFO"), head.path().get(head.prefix().len()..).unwrap_or_default())?;
        set(intern!(py, "QUERY_STRING"), head.query())?;
        let (raw_path, query) = (head.raw_path(), head.query());
        let uri = latin1(py, &if query.is_empty() { raw_path.to_vec() } else { [raw_path, b"?", query].concat() })?;
        environ.set_item(intern!(py, "REQUEST_URI"), &uri)?;
        environ.set_item(intern!(py, "RAW_URI"), &uri)?;
        set(intern!(py, "wsgi.url_scheme"), head.scheme())?;
        if head.is_tls() {
            set(intern!(py, "HTTPS"), b"on")?;
        }
        let (major, minor) = (head.version() / 1000, head.version() % 1000);
        let protocol = match (major, minor) {
            (1, 1) => intern!(py, "HTTP/1.1").clone(),
            _ => PyString::new(py, &format!("HTTP/{major}.{minor}")),
        };
        environ.set_item(intern!(py, "SERVER_PROTOCOL"), protocol)?;
        // Neither may be empty.
        let name = [head.server_name(), head.server_addr()].into_iter().find(|name| !name.is_empty());
        set(intern!(py, "SERVER_NAME"), name.unwrap_or(b"localhost"))?;
        let port = match (head.server_port(), head.is_tls()) {
            (0, false) => 80,
            (0, true) => 443,
            (port, _) => port,
        };
        set(intern!(py, "SERVER_PORT"), port.to_string().as_bytes())?;
        set(intern!(py, "REMOTE_ADDR"), head.client_addr())?;
        if head.client_port() != 0 {
            set(intern!(py, "REMOTE_PORT"), head.client_port().to_string().as_bytes())?;
        }

        // Of a chunked body, too, once nginx has it.
        if let Some(length) = head.content_length().filter(|length| *length > 0) {
            set(intern!(py, "CONTENT_LENGTH"), length.to_string().as_bytes())?;
        }
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"content-length") {
                set(intern!(py, "CONTENT_LENGTH"), value)?;
                continue;
            }
            if name.eq_ignore_ascii_case(b"content-type") {
                if !environ.contains(intern!(py, "CONTENT_TYPE"))? {
                    set(intern!(py, "CONTENT_TYPE"), value)?;
                }
                continue;
            }
            // nginx has undone it.
            if name.eq_ignore_ascii_case(b"transfer-encoding") && !self.request.more {
                continue;
            }
            let Some(variable) = variable(name) else { continue };
            let (variable, value) = (latin1(py, &variable)?, latin1(py, value)?);
            match environ.get_item(&variable)? {
                None => environ.set_item(variable, value)?,
                Some(before) => {
                    let between = if name.eq_ignore_ascii_case(b"cookie") { "; " } else { ", " };
                    environ.set_item(variable, before.add(between)?.add(value)?)?;
                }
            }
        }
        for (name, value) in head.params() {
            environ.set_item(latin1(py, name)?, latin1(py, value)?)?;
        }
        Ok(environ)
    }

    /// The head of the answer, in place of one that was set before. What its Content-Length says; -1
    /// without one.
    fn _set_head(&self, status: u16, headers: &Bound<'_, PyList>) -> PyResult<i64> {
        let mut head = Head { status, text: Vec::with_capacity(256), ends: Vec::with_capacity(headers.len()) };
        let mut length = -1;
        for header in headers.iter() {
            let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
                PyTypeError::new_err(format!("a header is a tuple (name, value), not {}", shown(&header)))
            })?;
            let start = head.text.len();
            push_latin1(&mut head.text, "name", &pair.get_item(0)?)?;
            let name_end = head.text.len();
            push_latin1(&mut head.text, "value", &pair.get_item(1)?)?;
            let (name, value) = (&head.text[start..name_end], &head.text[name_end..]);
            if !is_token(name) {
                return Err(PyValueError::new_err(format!("no name for a header: {}", shown(&header))));
            }
            if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                return Err(PyValueError::new_err(format!("a header's value is one line: {}", shown(&header))));
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
                let found = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<i64>().ok());
                let found = found.filter(|found| length == -1 || length == *found);
                length = found
                    .ok_or_else(|| PyValueError::new_err(format!("no length of an answer: {}", shown(&header))))?;
            }
            head.ends.push((name_end, head.text.len()));
        }
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(length)
    }

    /// Sends a piece. NFFI_OK, FULL, GONE or BAD.
    fn _write(&self, piece: &Bound<'_, PyBytes>) -> PyResult<i32> {
        self.alive()?;
        let code = self.send_head();
        if code != abi::NFFI_OK {
            return Ok(code);
        }
        let piece = piece.as_bytes();
        self.shared.host.write(self.request.task, piece).ok_or_else(|| no_memory(piece.len()))
    }

    /// Sends a part of a file. Takes the descriptor.
    fn _send_file(&self, descriptor: i32, offset: i64, length: i64) -> PyResult<i32> {
        // SAFETY: the caller gives it away.
        let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
        self.alive()?;
        match self.send_head() {
            abi::NFFI_OK => Ok(self.shared.host.http_file(self.request.task, file, offset, length)),
            code => Ok(code),
        }
    }

    /// The end, with the last piece.
    fn _finish(&self, piece: &Bound<'_, PyBytes>) {
        if !self.claim() {
            return;
        }
        match self.send_head() {
            abi::NFFI_OK => {
                let answer = self.shared.host.answer(self.request.task, 0, piece.as_bytes());
                self.shared.reply_soon(answer);
            }
            abi::NFFI_GONE => self.reply(1, b"the client has gone"),
            _ => self.reply(1, b"the host does not take the head of the answer"),
        }
    }

    fn _fail(&self, status: i32, message: &str) {
        if self.claim() {
            self.reply(status, message.as_bytes());
        }
    }

    /// A code, and with NFFI_OK the piece. Where no memory is left the piece is lost, and the
    /// exception says so.
    fn _read<'py>(&self, py: Python<'py>) -> PyResult<(i32, Option<Bound<'py, PyBytes>>)> {
        if self.ended.load(Ordering::Acquire) {
            return Ok((abi::NFFI_GONE, None));
        }
        // SAFETY: the host gives len bytes at data.
        let take = |data, len| unsafe { copied(py, data, len) }.ok_or_else(|| no_memory(len));
        let (code, piece) = self.shared.host.read(self.request.task, take);
        Ok((code, piece.transpose()?))
    }

    fn __repr__(&self) -> String {
        format!("<a WSGI request, task {}>", self.request.task)
    }
}

impl Drop for WsgiRequest {
    fn drop(&mut self) {
        // Whatever became of the app, the task ends.
        if self.claim() {
            self.reply(1, b"the app has ended without an answer");
        }
    }
}
