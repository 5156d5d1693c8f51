//! Bytes into Python and out of it.

use std::ffi::c_char;

use pyo3::{
    exceptions::PyTypeError,
    ffi,
    prelude::*,
    types::{PyBytes, PyString},
};

/// A copy as a Python object; None where no memory is left, for which PyBytes::new has but a panic.
///
/// # Safety
/// There are len bytes at data, or it is NULL, which is no bytes.
pub unsafe fn copied(py: Python<'_>, data: *const c_char, len: usize) -> Option<Bound<'_, PyBytes>> {
    let len = if data.is_null() { 0 } else { ffi::Py_ssize_t::try_from(len).ok()? };
    // SAFETY: the caller's promise. What comes is a new bytes object, or NULL and an exception.
    unsafe {
        let bytes = ffi::PyBytes_FromStringAndSize(data, len);
        Some(Bound::from_owned_ptr_or_err(py, bytes).ok()?.cast_into_unchecked())
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
