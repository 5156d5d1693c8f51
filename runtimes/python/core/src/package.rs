//! The Python package `nffi`. Its sources are in this library, so that the two always fit, and
//! that a venv need not hold it.

use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
};

use pyo3::{exceptions::PyMemoryError, prelude::*, sync::PyOnceLock, types::PyBytes, wrap_pymodule};

use crate::bytes::copied;

/// In the order of their imports.
const SOURCES: [(&str, &str); 11] = [
    ("nffi", include_str!("../../nffi/__init__.py")),
    ("nffi._context", include_str!("../../nffi/_context.py")),
    ("nffi._logging", include_str!("../../nffi/_logging.py")),
    ("nffi._streams", include_str!("../../nffi/_streams.py")),
    ("nffi._asyncio", include_str!("../../nffi/_asyncio.py")),
    ("nffi._threads", include_str!("../../nffi/_threads.py")),
    ("nffi._asgi", include_str!("../../nffi/_asgi.py")),
    ("nffi._lifespan", include_str!("../../nffi/_lifespan.py")),
    ("nffi._wsgi_io", include_str!("../../nffi/_wsgi_io.py")),
    ("nffi._wsgi", include_str!("../../nffi/_wsgi.py")),
    ("nffi._start", include_str!("../../nffi/_start.py")),
];

/// Finds the modules above, however they are imported. In Python, since importing is.
const FINDER: &CStr = cr#"
import importlib.abc, importlib.util, linecache, sys

class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, sources, native):
        self.sources = sources
        self.native = native

    def find_spec(self, name, path=None, target=None):
        if name in self.sources or name == "nffi._native":
            return importlib.util.spec_from_loader(name, self, origin="libnffi_python_core.so")

    def create_module(self, spec):
        return self.native if spec.name == "nffi._native" else None

    def exec_module(self, module):
        if module is not self.native:
            super().exec_module(module)

    def is_package(self, name):
        return name == "nffi"

    def get_source(self, name):
        return self.sources.get(name)

    def get_code(self, name):
        source, file = self.sources[name], f"<{name}>"
        # For the lines in tracebacks.
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        return compile(source, file, "exec")

def install(sources, native):
    sys.meta_path.insert(0, Sources(dict(sources), native))
"#;

/// The module `nffi._start`; the first time in a process, with everything that it needs. A start
/// thread and the event loop, for libraries of the seed's ABI, may come at the same time.
pub fn load(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    static INSTALLED: PyOnceLock<()> = PyOnceLock::new();
    INSTALLED.get_or_try_init(py, || {
        let finder = PyModule::from_code(py, FINDER, c"nffi-finder", c"_nffi_finder")?;
        let native = wrap_pymodule!(crate::native)(py);
        finder.getattr("install")?.call1((SOURCES.to_vec(), native)).map(drop)
    })?;
    py.import("nffi._start")
}

/// The process's environment as it is now; os.environ is as it was when Python started.
#[pyfunction]
pub fn environ(py: Python<'_>) -> PyResult<Vec<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>> {
    let bytes = |text: &OsStr| {
        // SAFETY: a text's own bytes.
        let copy = unsafe { copied(py, text.as_bytes().as_ptr().cast(), text.len()) };
        copy.ok_or_else(|| PyMemoryError::new_err("no memory for the environment"))
    };
    std::env::vars_os().map(|(name, value)| Ok((bytes(&name)?, bytes(&value)?))).collect()
}
