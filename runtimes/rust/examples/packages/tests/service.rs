//! The library in a host: quick and slow queries, cancellation, the stop.
#![allow(clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::MutexGuard,
    time::{Duration, Instant},
};

use nffi_testhost::{CallError, RuntimeId, Settings, TestHost};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const SLOW: &[u8] = br#"{"query":"slow"}"#;
const SLOW_WAITING: usize = 64;

struct Packages {
    host: MutexGuard<'static, TestHost>,
    runtime: RuntimeId,
}

fn library() -> String {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("libnffi_packages.so");
    path.display().to_string()
}

/// A status file of a few hundred packages: enough to be slow for a second.
fn status_file() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("status");
    let stanza = |n: u32| format!("Package: p{n}\nStatus: install ok installed\nDepends: p{}\n\n", n / 3);
    std::fs::write(&path, (1..400).map(stanza).collect::<String>()).unwrap();
    path
}

impl Packages {
    fn serve(slow_threads: usize) -> Self {
        let mut host = TestHost::lock();
        let config = json!({ "status": status_file(), "slow_threads": slow_threads.to_string() });
        let runtime = host.load(&library(), config.to_string().as_bytes(), Settings::default()).unwrap();
        Self { host, runtime }
    }

    fn call(&mut self, request: &str) -> Result<String, CallError> {
        self.host.call(self.runtime, request.as_bytes(), PATIENCE).map(|answer| String::from_utf8(answer).unwrap())
    }

    fn stats(&mut self) -> Value {
        serde_json::from_str(&self.call(r#"{"query":"stats"}"#).unwrap()).unwrap()
    }

    fn wait_for_load(&mut self, running: usize, waiting: usize) {
        let began = Instant::now();
        while self.stats()["slow"] != json!({ "running": running, "waiting": waiting }) {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.stats()["slow"]);
        }
    }

    /// Every task was ended, once, and every thread has gone.
    fn stop(mut self) {
        self.host.unload(self.runtime, PATIENCE).unwrap();
        assert_eq!(self.host.bad_answers(self.runtime), 0);
    }
}

fn status(error: CallError) -> (i32, String) {
    match error {
        CallError::Status { status, message } => (status, String::from_utf8(message).unwrap()),
        other => panic!("{other}"),
    }
}

#[test]
fn answers_and_errors() {
    let mut packages = Packages::serve(1);
    assert!(packages.call(r#"{"query":"search","name":"p399"}"#).unwrap().contains(r#""total":1"#));
    let (code, message) = status(packages.call("nonsense").unwrap_err());
    assert_eq!(code, 400);
    assert!(message.starts_with("bad request: "), "{message}");
    let stats = packages.stats();
    assert_eq!(stats["packages"], 399);
    assert_eq!((&stats["source"]["threads"], &stats["source"]["slow_threads"]), (&json!(2), &json!(1)));
    packages.stop();
}

#[test]
fn a_slow_query_is_answered() {
    let mut packages = Packages::serve(1);
    let answer = packages.host.call(packages.runtime, SLOW, PATIENCE).unwrap();
    assert!(String::from_utf8(answer).unwrap().contains(r#""packages":399"#));
    packages.stop();
}

#[test]
fn quick_answers_come_while_every_slow_thread_works_and_callers_may_go() {
    let mut packages = Packages::serve(1);
    let runtime = packages.runtime;
    let slow: Vec<_> = (0..3).map(|_| packages.host.submit(runtime, SLOW, PATIENCE).unwrap()).collect();
    packages.wait_for_load(1, 2);
    slow.into_iter().for_each(|call| packages.host.cancel(call));
    packages.wait_for_load(0, 0);
    packages.stop();
}

#[test]
fn a_full_lane_is_busy() {
    let mut packages = Packages::serve(1);
    let runtime = packages.runtime;
    let mut calls = vec![packages.host.submit(runtime, SLOW, PATIENCE).unwrap()];
    packages.wait_for_load(1, 0);
    calls.extend((0..SLOW_WAITING).map(|_| packages.host.submit(runtime, SLOW, PATIENCE).unwrap()));
    packages.wait_for_load(1, SLOW_WAITING);
    let busy = packages.host.call(runtime, SLOW, PATIENCE).unwrap_err();
    assert_eq!(status(busy), (503, "busy: 64 slow queries wait already".to_owned()));
    calls.into_iter().for_each(|call| packages.host.cancel(call));
    packages.wait_for_load(0, 0);
    packages.stop();
}

#[test]
fn a_failed_start_names_the_file() {
    let mut host = TestHost::lock();
    let error = host.load(&library(), br#"{"status":"/nonexistent"}"#, Settings::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nonexistent: "), "{error}");
}
