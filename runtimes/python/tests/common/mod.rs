//! What the tests share. They are ignored by default, since they need a libpython:
//! `scripts/test python` runs them.

#![allow(dead_code, clippy::expect_used)]

pub mod script;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nffi_testhost::{CallError, LoadError, LogLine, RuntimeId, Settings, TestHost};

pub const SOON: Duration = Duration::from_secs(20);

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

pub fn ask(host: &mut TestHost, runtime: RuntimeId, request: &str) -> String {
    let answer = host.call(runtime, request.as_bytes(), SOON).expect("an answer");
    String::from_utf8(answer).expect("text")
}

/// The status and the message of an answer that is an error.
pub fn fails(host: &mut TestHost, runtime: RuntimeId, request: &str) -> (i32, String) {
    match host.call(runtime, request.as_bytes(), SOON) {
        Err(CallError::Status { status, message }) => (status, String::from_utf8(message).expect("text")),
        other => panic!("an error answer expected, got {other:?}"),
    }
}

/// Ends it, and sees that it has kept the contract.
pub fn unload(host: &mut TestHost, runtime: RuntimeId) {
    host.unload(runtime, SOON).expect("it stops");
    assert_eq!((host.bad_answers(runtime), host.in_flight(runtime)), (0, 0));
}

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<LogLine>>>);

impl Lines {
    pub fn of(host: &mut TestHost) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        host.on_line(move |line| kept.0.lock().expect("no panic").push(line));
        lines
    }

    /// Level, call, and text of the first line with this text, which may still be on its way.
    pub fn find(&self, host: &mut TestHost, text: &str) -> (u8, u64, String) {
        let end = Instant::now() + SOON;
        loop {
            for line in self.0.lock().expect("no panic").iter() {
                let message = String::from_utf8_lossy(&line.message).into_owned();
                if message.contains(text) {
                    return (line.level, line.call, message);
                }
            }
            assert!(Instant::now() < end, "no line has {text:?}: {:?}", self.all());
            host.turn(Some(Duration::from_millis(10)));
        }
    }

    pub fn all(&self) -> Vec<String> {
        let lines = self.0.lock().expect("no panic");
        lines.iter().map(|line| String::from_utf8_lossy(&line.message).into_owned()).collect()
    }
}
