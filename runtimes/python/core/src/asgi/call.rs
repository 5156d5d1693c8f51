//! Calls that cost less than those of the limited API of 3.11. Both functions are in every libpython
//! from 3.9 on, and from 3.12 on in the limited API, too.

use std::ffi::c_int;

use pyo3::{ffi, prelude::*, types::PyString};

unsafe extern "C" {
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargsf: usize,
        kwnames: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_VectorcallMethod(
        name: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargsf: usize,
        kwnames: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// PY_VECTORCALL_ARGUMENTS_OFFSET: the slot before the arguments may be used.
const OFFSET: usize = 1 << (usize::BITS - 1);

pub fn call<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let mut room = [std::ptr::null_mut(); 9];
    const { assert!(N < 9) };
    for (slot, arg) in room[1..].iter_mut().zip(args) {
        *slot = arg.as_ptr();
    }
    // SAFETY: N objects, alive, behind a slot of our own; what comes is a new reference or NULL.
    unsafe {
        let result = PyObject_Vectorcall(callable.as_ptr(), room.as_ptr().add(1), N | OFFSET, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// A method of the first argument, without a bound method between.
pub fn call_method<'py, const N: usize>(
    name: &Bound<'py, PyString>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let mut room = [std::ptr::null_mut(); 9];
    const { assert!(N > 0 && N < 9) };
    for (slot, arg) in room[1..].iter_mut().zip(args) {
        *slot = arg.as_ptr();
    }
    // SAFETY: as above.
    unsafe {
        let result = PyObject_VectorcallMethod(name.as_ptr(), room.as_ptr().add(1), N | OFFSET, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(name.py(), result)
    }
}

/// One method of a native object, as METH_O or METH_NOARGS.
pub struct Method(ffi::PyMethodDef);

// SAFETY: it is never changed.
unsafe impl Sync for Method {}

impl Method {
    pub const fn new(name: &'static std::ffi::CStr, function: ffi::PyCFunction, flags: c_int) -> Self {
        Self(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
            ml_flags: flags,
            ml_doc: std::ptr::null(),
        })
    }

    /// The method bound to an object.
    pub fn of<'py>(&'static self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition lives for ever, and CPython does not change it.
        unsafe {
            let definition = std::ptr::from_ref(&self.0).cast_mut();
            let bound = ffi::PyCFunction_NewEx(definition, object.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(object.py(), bound)
        }
    }
}

/// What every such function does: no panic leaves, and an error becomes Python's.
///
/// # Safety
/// Called by CPython, with the GIL.
pub unsafe fn method<'py>(work: impl FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let py = unsafe { Python::assume_attached() };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(py)));
    let result = result.unwrap_or_else(|_| {
        Err(pyo3::exceptions::PySystemError::new_err("a panic in the Python host: please report it"))
    });
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
