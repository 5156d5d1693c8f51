//! What `receive()` and `send()` return: coroutines in all but their type, so that they can be
//! awaited and made a task.

use pyo3::{
    exceptions::{PyRuntimeError, PyStopIteration},
    ffi, intern,
    prelude::*,
    types::PyTuple,
};

use super::{exchange::Exchange, gil::Gil, socket::Socket};

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The next message.
    Message,
    /// Room in the window.
    Room,
}

/// Something that can be waited for.
pub enum Target {
    Http(Py<Exchange>),
    WebSocket(Py<Socket>),
}

impl Target {
    /// What the await is worth, if it need not wait.
    fn take(&self, py: Python<'_>, what: What) -> PyResult<Option<Py<PyAny>>> {
        match self {
            Self::Http(exchange) => exchange.get().take(py, what),
            Self::WebSocket(socket) => socket.get().take(py, what),
        }
    }

    /// A future that is done once it is worth another look.
    fn future<'py>(&self, py: Python<'py>, what: What) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Http(exchange) => exchange.get().future(py, what),
            Self::WebSocket(socket) => socket.get().future(py, what),
        }
    }
}

/// Tells who waits, with nothing borrowed.
pub fn wake(py: Python<'_>, futures: Vec<Py<PyAny>>) -> PyResult<()> {
    for future in futures {
        if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
        }
    }
    Ok(())
}

/// An await that may wait.
#[pyclass(frozen, module = "nffi._native")]
pub struct Waiting {
    target: Target,
    what: What,
    state: Gil<State>,
}

#[derive(Default)]
struct State {
    /// The future's, while it waits.
    inner: Option<Py<PyAny>>,
    over: bool,
}

impl Waiting {
    pub fn new(target: Target, what: What) -> Self {
        Self { target, what, state: Gil::default() }
    }

    /// The object to hand to the loop, or what the await is worth.
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        loop {
            let inner = {
                let mut state = self.state.borrow(py);
                if state.over {
                    drop(state);
                    return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
                }
                state.inner.take()
            };
            if let Some(inner) = inner {
                let mut result = std::ptr::null_mut();
                // SAFETY: an iterator, and room for one reference, which is owned.
                let (code, result) = unsafe {
                    let code = ffi::PyIter_Send(inner.as_ptr(), ffi::Py_None(), &mut result);
                    (code, Bound::from_owned_ptr_or_opt(py, result))
                };
                match (code, result) {
                    (ffi::PySendResult::PYGEN_NEXT, Some(yielded)) => {
                        self.state.borrow(py).inner = Some(inner);
                        return Ok(Step::Wait(yielded));
                    }
                    (ffi::PySendResult::PYGEN_RETURN, _) => {}
                    _ => {
                        self.state.borrow(py).over = true;
                        return Err(PyErr::fetch(py));
                    }
                }
            }
            match self.target.take(py, self.what) {
                Ok(Some(value)) => {
                    self.state.borrow(py).over = true;
                    return Ok(Step::Done(value));
                }
                Ok(None) => {}
                Err(error) => {
                    self.state.borrow(py).over = true;
                    return Err(error);
                }
            }
            let future = self.target.future(py, self.what)?;
            let inner = future.call_method0(intern!(py, "__await__"))?;
            self.state.borrow(py).inner = Some(inner.unbind());
        }
    }
}

enum Step<'py> {
    Wait(Bound<'py, PyAny>),
    Done(Py<PyAny>),
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.step(py)? {
            Step::Wait(yielded) => Ok(Some(yielded)),
            Step::Done(value) if value.is_none(py) => Ok(None),
            Step::Done(value) => Err(PyStopIteration::new_err((value,))),
        }
    }

    fn send<'py>(&self, py: Python<'py>, _value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.step(py)? {
            Step::Wait(yielded) => Ok(yielded),
            Step::Done(value) => Err(PyStopIteration::new_err((value,))),
        }
    }

    #[pyo3(signature = (*error))]
    fn throw<'py>(&self, py: Python<'py>, error: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.state.borrow(py).inner.take();
        let thrown = match &inner {
            Some(inner) => inner.bind(py).call_method1(intern!(py, "throw"), error),
            None => Err(thrown(error)?),
        };
        let mut state = self.state.borrow(py);
        match &thrown {
            Ok(_) => state.inner = inner,
            Err(_) => state.over = true,
        }
        drop(state);
        thrown
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let inner = {
            let mut state = self.state.borrow(py);
            state.over = true;
            state.inner.take()
        };
        if let Some(inner) = inner {
            inner.call_method0(py, intern!(py, "close"))?;
        }
        Ok(())
    }
}

/// throw(exception), or throw(type[, value[, traceback]]).
fn thrown(error: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    let given = error.get_item(1).ok().filter(|value| !value.is_none());
    let first = match given {
        Some(value) => value,
        None => error.get_item(0)?,
    };
    Ok(PyErr::from_value(if first.is_callable() && first.is_instance_of::<pyo3::types::PyType>() {
        first.call0()?
    } else {
        first
    }))
}

/// An await that is over already. One for all.
#[pyclass(frozen, module = "nffi._native")]
pub struct Done;

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    fn send(&self, _value: Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (*error))]
    fn throw(&self, error: &Bound<'_, PyTuple>) -> PyResult<()> {
        Err(thrown(error)?)
    }

    fn close(&self) {}
}
