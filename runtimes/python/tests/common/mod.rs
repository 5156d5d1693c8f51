//! What the tests share. They are ignored by default, since they need a libpython:
//! `scripts/test python` runs them.

#![allow(dead_code, unused_imports, clippy::expect_used)]

pub mod script;

use std::path::PathBuf;

pub use nffi_testhost::testing::{Lines, SOON, ask, unload};
use nffi_testhost::{CallError, LoadError, RuntimeId, Settings, TestHost};

/// In the folder above the test's own. cargo does not build it for a test, since nothing links it.
pub fn library() -> String {
    let test = std::env::current_exe().expect("a path");
    let path = test.ancestors().nth(2).expect("target/debug").join("libnffi_python.so");
    assert!(path.exists(), "first: cargo build -p nffi-python -p nffi-python-core");
    path.to_str().expect("text").to_owned()
}

pub fn handlers() -> String {
    let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "handlers"].iter().collect();
    dir.to_str().expect("text").to_owned()
}

/// A configuration: the handler, the folder of the test's handlers, and more options as JSON.
pub fn config(handler: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"handler":"{handler}","path":"{}"{comma}{more}}}"#, handlers())
}

pub fn try_load(host: &mut TestHost, config: &str) -> Result<RuntimeId, LoadError> {
    host.load(&library(), config.as_bytes(), Settings::default())
}

pub fn load(host: &mut TestHost, handler: &str, more: &str) -> RuntimeId {
    try_load(host, &config(handler, more)).expect("it starts")
}

/// Why it does not start.
pub fn refused(host: &mut TestHost, handler: &str, more: &str) -> String {
    try_load(host, &config(handler, more)).expect_err("it must not start").to_string()
}

/// The status and the message of an answer that is an error.
pub fn fails(host: &mut TestHost, runtime: RuntimeId, request: &str) -> (i32, String) {
    match host.call(runtime, request.as_bytes(), SOON) {
        Err(CallError::Status { status, message }) => (status, String::from_utf8(message).expect("text")),
        other => panic!("an error answer expected, got {other:?}"),
    }
}
