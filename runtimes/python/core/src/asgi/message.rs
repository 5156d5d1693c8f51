//! What is in the dicts that an app sends.

use pyo3::{
    exceptions::{PyKeyError, PyRuntimeError, PyTypeError},
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString, PyTuple},
};

use crate::http::Line;

/// A message of an app's.
pub struct Message<'py>(Bound<'py, PyDict>);

impl<'py> Message<'py> {
    pub fn py(&self) -> Python<'py> {
        self.0.py()
    }

    pub fn of(message: &Bound<'py, PyAny>) -> PyResult<Self> {
        let dict = message
            .cast::<PyDict>()
            .map_err(|_| PyTypeError::new_err(format!("ASGI messages are dicts, not {}", type_name(message))))?;
        Ok(Self(dict.clone()))
    }

    pub fn get(&self, key: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.get_item(key)
    }

    pub fn kind(&self) -> PyResult<Bound<'py, PyString>> {
        let py = self.0.py();
        let kind = self.get(intern!(py, "type"))?.ok_or_else(|| PyKeyError::new_err("type"))?;
        Ok(kind.cast_into::<PyString>()?)
    }

    /// False where it is missing.
    pub fn flag(&self, key: &Bound<'py, PyString>) -> PyResult<bool> {
        self.get(key)?.map_or(Ok(false), |value| value.is_truthy())
    }

    /// An entry of bytes, or of what has a buffer; none where it is missing.
    pub fn bytes(&self, key: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.get(key)?.filter(|value| !value.is_none()).map(|value| as_bytes(value, key)).transpose()
    }

    pub fn headers(&self) -> PyResult<Headers<'py>> {
        let py = self.0.py();
        let mut headers = Headers(Vec::new());
        if let Some(all) = self.get(intern!(py, "headers"))? {
            headers.add(&all)?;
        }
        Ok(headers)
    }
}

/// A message for the app.
pub fn event(
    py: Python<'_>,
    kind: &Bound<'_, PyString>,
    fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "type"), kind)?;
    fill(&dict)?;
    Ok(dict.into_any().unbind())
}

pub fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn as_bytes<'py>(value: Bound<'py, PyAny>, what: impl std::fmt::Display) -> PyResult<Bound<'py, PyBytes>> {
    match value.cast_into::<PyBytes>() {
        Ok(bytes) => Ok(bytes),
        Err(other) => {
            let value = other.into_inner();
            let py = value.py();
            let view = py
                .import(intern!(py, "builtins"))?
                .getattr("memoryview")?
                .call1((&value,))
                .map_err(|_| PyTypeError::new_err(format!("{what}: bytes expected, not {}", type_name(&value))))?;
            Ok(view.call_method0("tobytes")?.cast_into::<PyBytes>()?)
        }
    }
}

/// A header line that is kept.
pub type Pair = (Py<PyBytes>, Py<PyBytes>);

/// The header lines of a message, alive.
pub struct Headers<'py>(Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>);

impl<'py> Headers<'py> {
    fn add(&mut self, all: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(list) = all.cast::<PyList>() {
            self.0.reserve(list.len());
            return list.iter().try_for_each(|pair| self.add_pair(pair));
        }
        all.try_iter()?.try_for_each(|pair| self.add_pair(pair?))
    }

    fn add_pair(&mut self, pair: Bound<'py, PyAny>) -> PyResult<()> {
        let pair = match pair.cast_into::<PyTuple>() {
            Ok(tuple) => tuple,
            Err(other) => {
                let pair = other.into_inner();
                let parts: Vec<Bound<'py, PyAny>> = pair.try_iter()?.collect::<PyResult<_>>()?;
                PyTuple::new(pair.py(), parts)?
            }
        };
        if pair.len() != 2 {
            return Err(PyRuntimeError::new_err("Invalid HTTP header: a name and a value expected."));
        }
        let part = |i| pair.get_item(i);
        self.0.push((as_bytes(part(0)?, "header name")?, as_bytes(part(1)?, "header value")?));
        Ok(())
    }

    pub fn unbind(self) -> impl Iterator<Item = Pair> {
        self.0.into_iter().map(|(name, value)| (name.unbind(), value.unbind()))
    }

    /// Behind those of earlier messages.
    pub fn after(self, py: Python<'py>, earlier: Vec<Pair>) -> Self {
        let earlier = earlier.into_iter().map(|(name, value)| (name.into_bound(py), value.into_bound(py)));
        Self(earlier.chain(self.0).collect())
    }

    fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.0.iter().find(|(each, _)| each.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_bytes())
    }

    pub fn lines(&self) -> Vec<Line<'_>> {
        self.0.iter().map(|(name, value)| Line::new(name.as_bytes(), value.as_bytes())).collect()
    }

    /// What Content-Length says.
    pub fn content_length(&self) -> PyResult<Option<u64>> {
        let Some(value) = self.find(b"content-length") else { return Ok(None) };
        let digits = std::str::from_utf8(value.trim_ascii()).ok().filter(|text| !text.starts_with('+'));
        let length = digits.and_then(|digits| digits.parse().ok());
        length.map(Some).ok_or_else(|| PyRuntimeError::new_err("Invalid Content-Length: a number expected."))
    }

    /// Why the host has refused them.
    pub fn refused(&self) -> PyErr {
        let is_name = |name: &[u8]| {
            !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
        };
        let bad_name = self.0.iter().find(|(name, _)| !is_name(name.as_bytes()));
        PyRuntimeError::new_err(match bad_name {
            Some((name, _)) => format!("Invalid HTTP header name: {:?}.", String::from_utf8_lossy(name.as_bytes())),
            None => "Invalid HTTP header value: it has CR, LF or NUL.".to_owned(),
        })
    }
}
