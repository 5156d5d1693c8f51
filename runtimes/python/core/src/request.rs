//! A task as a Python object: `nffi.Request`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nffi_abi as abi;
use pyo3::{exceptions::PyMemoryError, prelude::*, types::PyBytes};

use crate::{
    bytes::{copied, with_bytes},
    runtime::Shared,
};

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
    /// The object for an NFFI_CALL, with a copy of its bytes. Where no memory is left the task is
    /// answered here, and None comes.
    pub fn receive(py: Python<'_>, shared: &Arc<Shared>, event: &abi::nffi_event) -> Option<Py<Self>> {
        // PyO3 panics where it has no other way to say it.
        if let Ok(Some(request)) = catch_unwind(AssertUnwindSafe(|| Self::new(py, shared, event))) {
            return Some(request);
        }
        let message = format!("MemoryError: no memory for a request of {} bytes", event.len);
        shared.host.log(event.task, abi::NFFI_LOG_ERR as i32, &message);
        shared.host.reply(shared.host.answer(event.task, 1, message.as_bytes()));
        None
    }

    fn new(py: Python<'_>, shared: &Arc<Shared>, event: &abi::nffi_event) -> Option<Py<Self>> {
        // SAFETY: the host's, until the task ends, which it cannot before this has returned.
        let data = unsafe { copied(py, event.data, event.len) }?.unbind();
        let (task, flags, deadline) = (event.task, event.flags, event.deadline);
        // Claimed until it is there: one that is dropped before does not answer for itself.
        let ended = AtomicBool::new(true);
        let request = Py::new(py, Self { shared: Arc::clone(shared), task, flags, deadline, data, ended }).ok()?;
        request.get().ended.store(false, Ordering::Release);
        Some(request)
    }

    /// True for the one caller that may end the task.
    pub fn claim(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }
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
        with_bytes(piece, |data| {
            let written = self.shared.host.write(self.task, data);
            written.ok_or_else(|| no_memory_for_a_piece(data.len()))
        })?
    }

    /// A code, and with NFFI_OK the piece. Where no memory is left the piece is lost, and the
    /// exception says so.
    fn _read<'py>(&self, py: Python<'py>) -> PyResult<(i32, Option<Bound<'py, PyBytes>>)> {
        // SAFETY: the host gives len bytes at data.
        let take = |data, len| unsafe { copied(py, data, len) }.ok_or_else(|| no_memory_for_a_piece(len));
        let (code, piece) = self.shared.host.read(self.task, take);
        Ok((code, piece.transpose()?))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<nffi.Request {} of {} bytes>", self.task, self.data.bind(py).as_bytes().len())
    }
}

fn no_memory_for_a_piece(len: usize) -> PyErr {
    PyMemoryError::new_err(format!("no memory for a piece of {len} bytes"))
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
