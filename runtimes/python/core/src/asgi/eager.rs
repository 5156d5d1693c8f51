//! An asyncio task whose first step is taken at once: most requests need no other.

use pyo3::{exceptions::PyRuntimeError, intern, prelude::*, types::PyDict};

use super::{
    call::{call, call_method},
    gil::Gil,
};

/// Makes such tasks, for one loop.
pub struct Tasks {
    task: Py<PyAny>,
    event_loop: Py<PyAny>,
    kind: Kind,
}

enum Kind {
    /// 3.12 and later: the task does it by itself.
    Own(Py<PyDict>),
    /// Before, a task hands its first step to the loop's call_soon, from which it is taken here.
    Captured { capture: Py<Capture>, call_soon: Py<PyAny>, kwargs: Py<PyDict> },
}

/// Stands in for call_soon while a task is made.
#[pyclass(frozen, module = "nffi._native")]
pub struct Capture(Gil<Option<Step>>);

/// What call_soon was given, and its context.
type Step = (Py<PyAny>, Option<Py<PyAny>>);

#[pymethods]
impl Capture {
    #[pyo3(signature = (step, *, context = None))]
    fn call_soon(&self, py: Python<'_>, step: Py<PyAny>, context: Option<Py<PyAny>>) {
        let before = self.0.borrow(py).replace((step, context));
        drop(before);
    }
}

impl Tasks {
    pub fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let task = py.import("asyncio")?.getattr("Task")?.unbind();
        let kwargs = PyDict::new(py);
        kwargs.set_item("loop", event_loop)?;
        // It would be made of a number otherwise.
        kwargs.set_item("name", "request")?;
        let kind = if py.version_info() >= (3, 12) {
            kwargs.set_item("eager_start", true)?;
            Kind::Own(kwargs.unbind())
        } else {
            let capture = Py::new(py, Capture(Gil::default()))?;
            let call_soon = capture.bind(py).getattr("call_soon")?.unbind();
            Kind::Captured { capture, call_soon, kwargs: kwargs.unbind() }
        };
        Ok(Self { task, event_loop: event_loop.clone().unbind(), kind })
    }

    /// The task, after its first step.
    pub fn start<'py>(&self, py: Python<'py>, coroutine: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (capture, call_soon, kwargs) = match &self.kind {
            Kind::Own(kwargs) => return self.task.bind(py).call((coroutine,), Some(kwargs.bind(py))),
            Kind::Captured { capture, call_soon, kwargs } => (capture, call_soon, kwargs),
        };
        let (event_loop, name) = (self.event_loop.bind(py), intern!(py, "call_soon"));
        event_loop.setattr(name, call_soon)?;
        let task = self.task.bind(py).call((coroutine,), Some(kwargs.bind(py)));
        event_loop.delattr(name)?;
        let task = task?;
        let taken = capture.get().0.borrow(py).take();
        let Some((step, context)) = taken else {
            return Err(PyRuntimeError::new_err("a task that asyncio has not scheduled"));
        };
        let step = step.bind(py);
        let ran = match &context {
            Some(context) => call_method(intern!(py, "run"), [context.bind(py), step]),
            None => call(step, []),
        };
        match ran {
            // SystemExit, say, is in the task, too.
            Err(error) if !task.call_method0(intern!(py, "done"))?.is_truthy()? => Err(error),
            _ => Ok(task),
        }
    }
}
