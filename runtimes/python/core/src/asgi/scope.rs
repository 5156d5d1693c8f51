//! The dict that says what a request is.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use pyo3::{
    ffi,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString, PyTuple},
};

use super::gil::Gil;
use crate::http::Head;

/// How many different texts are kept, and how long one may be: clients make up their own.
const KEPT: usize = 512;
const LONGEST: usize = 64;

/// FNV-1a: the keys are short.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Objects for bytes that come again and again.
struct Interned<T>(HashMap<Box<[u8]>, Py<T>, BuildHasherDefault<Fnv>>);

impl<T> Interned<T> {
    fn new() -> Self {
        Self(HashMap::default())
    }

    fn get<'py>(
        &mut self,
        py: Python<'py>,
        key: &[u8],
        make: impl FnOnce(&[u8]) -> PyResult<Bound<'py, T>>,
    ) -> PyResult<Bound<'py, T>> {
        if let Some(found) = self.0.get(key) {
            return Ok(found.bind(py).clone());
        }
        let made = make(key)?;
        if self.0.len() < KEPT && key.len() <= LONGEST {
            self.0.insert(key.into(), made.clone().unbind());
        }
        Ok(made)
    }
}

/// Makes the scopes of one server.
pub struct Scopes {
    /// Have every key, so that a copy need not grow.
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    extensions: Py<PyDict>,
    ws_extensions: Py<PyDict>,
    /// lifespan's.
    state: Py<PyDict>,
    keys: Keys,
    kept: Gil<Kept>,
}

struct Kept {
    names: Interned<PyBytes>,
    texts: Interned<PyString>,
    /// One that came last, with its address.
    server: Option<(Vec<u8>, u16, Py<PyTuple>)>,
}

macro_rules! keys {
    ($($name:ident)*) => {
        struct Keys { $($name: Py<PyString>,)* }

        impl Keys {
            const ALL: &'static [&'static str] = &[$(stringify!($name),)*];

            fn new(py: Python<'_>) -> Self {
                Self { $($name: PyString::intern(py, stringify!($name)).unbind(),)* }
            }
        }
    };
}

keys!(http_version method scheme path raw_path query_string root_path headers client server state extensions);

/// Text for what a client sends as bytes; what is no UTF-8 becomes U+FFFD.
fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: there are as many bytes; what comes is a new string, or NULL and an exception.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), bytes.len().cast_signed(), c"replace".as_ptr());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

impl Scopes {
    pub fn new(py: Python<'_>, state: &Bound<'_, PyDict>) -> PyResult<Self> {
        let template = |kind: &str, extra: &[&str]| -> PyResult<Py<PyDict>> {
            let (scope, asgi) = (PyDict::new(py), PyDict::new(py));
            asgi.set_item("version", "3.0")?;
            asgi.set_item("spec_version", "2.5")?;
            scope.set_item("type", kind)?;
            scope.set_item("asgi", asgi)?;
            for key in Keys::ALL.iter().chain(extra) {
                scope.set_item(*key, py.None())?;
            }
            Ok(scope.unbind())
        };
        let extensions = |names: &[&str]| -> PyResult<Py<PyDict>> {
            let all = PyDict::new(py);
            names.iter().try_for_each(|name| all.set_item(*name, PyDict::new(py)))?;
            Ok(all.unbind())
        };
        let websocket = template("websocket", &["subprotocols"])?;
        // It has none.
        websocket.bind(py).del_item("method")?;
        Ok(Self {
            http: template("http", &[])?,
            websocket,
            extensions: extensions(&["http.response.trailers", "http.response.pathsend"])?,
            ws_extensions: extensions(&["websocket.http.response"])?,
            state: state.clone().unbind(),
            keys: Keys::new(py),
            kept: Gil::new(Kept { names: Interned::new(), texts: Interned::new(), server: None }),
        })
    }

    pub fn http<'py>(&self, py: Python<'py>, head: &Head<'_>) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.http.bind(py).copy()?;
        let method = self.kept.borrow(py).texts.get(py, head.method(), |bytes| text(py, bytes))?;
        scope.set_item(self.keys.method.bind(py), method)?;
        self.fill(&scope, head, head.scheme(), &self.extensions)?;
        Ok(scope)
    }

    pub fn websocket<'py>(&self, py: Python<'py>, head: &Head<'_>) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.websocket.bind(py).copy()?;
        let scheme: &[u8] = if head.is_tls() || head.scheme() == b"https" { b"wss" } else { b"ws" };
        self.fill(&scope, head, scheme, &self.ws_extensions)?;
        let offered = PyList::empty(py);
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
                for each in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|each| !each.is_empty()) {
                    offered.append(text(py, each)?)?;
                }
            }
        }
        scope.set_item("subprotocols", offered)?;
        Ok(scope)
    }

    fn fill(&self, scope: &Bound<'_, PyDict>, head: &Head<'_>, scheme: &[u8], extensions: &Py<PyDict>) -> PyResult<()> {
        let py = scope.py();
        let keys = &self.keys;
        let version: &[u8] = match head.version() {
            1000 => b"1.0",
            1001 => b"1.1",
            2000..3000 => b"2",
            3000..4000 => b"3",
            _ => b"1.1",
        };
        {
            let mut kept = self.kept.borrow(py);
            let mut kept_text = |bytes: &[u8]| kept.texts.get(py, bytes, |bytes| text(py, bytes));
            scope.set_item(keys.http_version.bind(py), kept_text(version)?)?;
            scope.set_item(keys.scheme.bind(py), kept_text(scheme)?)?;
            scope.set_item(keys.root_path.bind(py), kept_text(head.prefix())?)?;
            let headers = PyList::empty(py);
            for (name, value) in head.headers() {
                let name = kept.names.get(py, name, |name| Ok(PyBytes::new(py, &name.to_ascii_lowercase())))?;
                headers.append(PyTuple::new(py, [name, PyBytes::new(py, value)])?)?;
            }
            scope.set_item(keys.headers.bind(py), headers)?;
            if let Some(client) = client(py, &mut kept.texts, head)? {
                scope.set_item(keys.client.bind(py), client)?;
            }
            scope.set_item(keys.server.bind(py), kept.server(py, head)?)?;
        }
        scope.set_item(keys.path.bind(py), text(py, head.path())?)?;
        scope.set_item(keys.raw_path.bind(py), PyBytes::new(py, head.raw_path()))?;
        scope.set_item(keys.query_string.bind(py), PyBytes::new(py, head.query()))?;
        scope.set_item(keys.state.bind(py), self.state.bind(py).copy()?)?;
        let extensions = extensions.bind(py).copy()?;
        let params = head.params();
        if params.len() > 0 {
            let dict = PyDict::new(py);
            for (name, value) in params {
                dict.set_item(text(py, name)?, text(py, value)?)?;
            }
            extensions.set_item("nffi.params", dict)?;
        }
        scope.set_item(keys.extensions.bind(py), extensions)
    }
}

/// None with a unix socket, as with the usual servers.
fn client<'py>(
    py: Python<'py>,
    texts: &mut Interned<PyString>,
    head: &Head<'_>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let address = head.client_addr();
    if address.is_empty() || address.starts_with(b"unix:") {
        return Ok(None);
    }
    // Not kept beyond its number: a site's clients are many, but a proxy in front is one.
    let address = texts.get(py, address, |bytes| text(py, bytes))?;
    (address, head.client_port()).into_pyobject(py).map(Some)
}

impl Kept {
    fn server<'py>(&mut self, py: Python<'py>, head: &Head<'_>) -> PyResult<Bound<'py, PyTuple>> {
        let (address, port) = (head.server_addr(), head.server_port());
        if let Some((last, last_port, server)) = &self.server
            && last == address
            && *last_port == port
        {
            return Ok(server.bind(py).clone());
        }
        let server = match address.strip_prefix(b"unix:") {
            Some(path) => (text(py, path)?, None::<u16>),
            None => (text(py, address)?, Some(port)),
        };
        let server = server.into_pyobject(py)?;
        let before = self.server.replace((address.to_vec(), port, server.clone().unbind()));
        // A tuple of a string and a number: nothing that runs code goes with it.
        drop(before);
        Ok(server)
    }
}
