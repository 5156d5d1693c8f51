//! A task as a Python object: `nffi.Request`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nffi_abi as abi;
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::runtime::Shared;

/// The request that a handler works on. Made by the runtime only.
#[pyclass(frozen, module = "nffi")]
pub struct Request {
    shared: Arc<Shared>,
    task: abi::nffi_task,
    flags: u32,
    /// CLOCK_MONOTONIC, nanoseconds; 0 never.
    deadline: u64,
    data: Py<PyBytes>,
    ended: AtomicBool,
}

impl Request {
    /// Copies the request's bytes out of the host.
    pub fn new(py: Python<'_>, shared: Arc<Shared>, event: &abi::nffi_event) -> Self {
        let data = if event.data.is_null() {
            &[][..]
        } else {
            // SAFETY: the host's, until the task ends, which it cannot before this has returned.
            unsafe { std::slice::from_raw_parts(event.data.cast::<u8>(), event.len) }
        };
        let data = PyBytes::new(py, data).unbind();
        let (task, flags, deadline) = (event.task, event.flags, event.deadline);
        Self { shared, task, flags, deadline, data, ended: AtomicBool::new(false) }
    }

    /// True for the one caller that may end the task.
    pub fn claim(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }
}

/// What a handler may return, as bytes.
pub fn with_bytes<R>(value: &Bound<'_, PyAny>, take: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(take(bytes.as_bytes()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(take(text.to_str()?.as_bytes()));
    }
    if value.is_none() {
        return Ok(take(b""));
    }
    let py = value.py();
    let view = py.import("builtins")?.getattr("memoryview")?.call1((value,)).map_err(|_| {
        let name = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("bytes, str or None expected, not {name}"))
    })?;
    let bytes = view.call_method0("tobytes")?;
    Ok(take(bytes.cast::<PyBytes>()?.as_bytes()))
}

#[pymethods]
impl Request {
    /// The request's bytes; of one that comes in pieces, the first.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// Its number, as unique as the process.
    #[getter]
    fn task(&self) -> u64 {
        self.task
    }

    /// When the caller stops waiting, on time.monotonic()'s clock; None: never.
    #[getter]
    fn deadline(&self) -> Option<f64> {
        (self.deadline != 0).then(|| self.deadline as f64 / 1e9)
    }

    /// Nobody waits for the answer.
    #[getter]
    fn is_cast(&self) -> bool {
        self.flags & abi::NFFI_CAST != 0
    }

    /// The caller takes the answer in pieces.
    #[getter]
    fn wants_pieces(&self) -> bool {
        self.flags & abi::NFFI_PIECES != 0
    }

    #[getter]
    fn has_more(&self) -> bool {
        self.flags & abi::NFFI_MORE != 0
    }

    /// Has the caller gone, or the task ended?
    fn cancelled(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.shared.host.cancelled(self.task)
    }

    /// The request's pieces, for `for` and `async for`.
    #[getter]
    fn pieces<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("nffi._streams")?.call_method1("Pieces", (slf,))
    }

    /// Sends a piece of the answer. Awaited in `async def`, it returns once there is room for more;
    /// in `def` it returns then.
    fn write<'py>(slf: &Bound<'py, Self>, piece: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("nffi._streams")?.call_method1("write", (slf, piece))
    }

    /// The server that runs the handler.
    #[getter]
    fn _server(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.shared.server.get().map(|server| server.clone_ref(py))
    }

    fn _answer(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let answer = with_bytes(value, |data| self.claim().then(|| self.shared.host.answer(self.task, 0, data)))?;
        if let Some(answer) = answer {
            self.shared.host.reply(answer);
        }
        Ok(())
    }

    /// Adds the answer to the batch. True where the caller has to see to it that it is flushed.
    fn _answer_later(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let answer = with_bytes(value, |data| self.claim().then(|| self.shared.host.answer(self.task, 0, data)))?;
        Ok(answer.is_some_and(|answer| self.shared.later(answer)))
    }

    fn _fail(&self, status: i32, message: &str) {
        if self.claim() {
            self.shared.host.reply(self.shared.host.answer(self.task, status, message.as_bytes()));
        }
    }

    /// NFFI_OK, FULL, GONE or BAD.
    fn _write(&self, piece: &Bound<'_, PyAny>) -> PyResult<i32> {
        if self.ended.load(Ordering::Acquire) {
            return Ok(abi::NFFI_BAD);
        }
        with_bytes(piece, |data| self.shared.host.write(self.task, data))
    }

    /// A code, and with NFFI_OK the piece.
    fn _read(&self, py: Python<'_>) -> (i32, Option<Py<PyBytes>>) {
        self.shared.host.read(self.task, |piece| PyBytes::new(py, piece).unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<nffi.Request {} of {} bytes>", self.task, self.data.bind(py).as_bytes().len())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Whatever became of the handler, the task ends.
        if self.claim() {
            let answer = self.shared.host.answer(self.task, 1, b"the handler has ended without an answer");
            self.shared.host.reply(answer);
        }
    }
}
