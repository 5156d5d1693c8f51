//! The fixtures, loaded into the test host.

// Every test binary compiles this module and uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use nffi_testhost::{CallError, LogLine, Received, RuntimeId, Settings, StreamId, TestHost};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A fixture's library: cargo puts examples beside the folder of the test itself.
pub fn library(name: &str) -> String {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push(format!("examples/lib{name}.so"));
    assert!(path.exists(), "{} is not built: before a test alone, cargo build --examples", path.display());
    path.display().to_string()
}

/// The host with one runtime in it, and the lines that it logs.
pub struct Loaded {
    pub host: MutexGuard<'static, TestHost>,
    pub runtime: RuntimeId,
    lines: Arc<Mutex<Vec<LogLine>>>,
}

impl Loaded {
    pub fn new(name: &str, config: &str) -> Self {
        let mut host = TestHost::lock();
        let lines: Arc<Mutex<Vec<LogLine>>> = Arc::default();
        let sink = Arc::clone(&lines);
        host.on_line(move |line| sink.lock().unwrap().push(line));
        let runtime = host.load(&library(name), config.as_bytes(), Settings::default()).unwrap();
        Self { host, runtime, lines }
    }

    pub fn call(&mut self, request: &str) -> Result<String, CallError> {
        self.call_within(request, PATIENCE)
    }

    pub fn call_within(&mut self, request: &str, timeout: Duration) -> Result<String, CallError> {
        let answer = self.host.call(self.runtime, request.as_bytes(), timeout)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    /// Until the answer to `request` is `wanted`.
    pub fn wait_for(&mut self, request: &str, wanted: &str) {
        let begin = std::time::Instant::now();
        while self.call(request).unwrap() != wanted {
            assert!(begin.elapsed() < PATIENCE, "{request} is not {wanted}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The lines so far, as `LEVEL/CALL MESSAGE`: calls numbered as they appear, 0 none.
    pub fn lines(&mut self) -> Vec<String> {
        self.host.turn(Some(Duration::from_millis(1)));
        let mut calls = vec![0];
        let mut shown = Vec::new();
        for line in &*self.lines.lock().unwrap() {
            let number = calls.iter().position(|call| *call == line.call).unwrap_or_else(|| {
                calls.push(line.call);
                calls.len() - 1
            });
            shown.push(format!("{}/{number} {}", line.level, String::from_utf8_lossy(&line.message)));
        }
        shown
    }

    /// All pieces of a stream, until its end.
    pub fn receive_all(&mut self, stream: StreamId) -> Result<Vec<Vec<u8>>, CallError> {
        let mut pieces = Vec::new();
        loop {
            match self.host.receive(stream, PATIENCE)? {
                Received::Piece(piece) => pieces.push(piece),
                Received::End => return Ok(pieces),
                Received::Nothing => panic!("no piece came"),
            }
        }
    }

    /// Everything ended, once, and the runtime has said so.
    pub fn unload(&mut self) {
        self.host.unload(self.runtime, PATIENCE).unwrap();
        assert_eq!(self.host.bad_answers(self.runtime), 0);
        assert_eq!(self.host.in_flight(self.runtime), 0);
    }
}

pub fn status(status: i32, message: &str) -> Result<String, CallError> {
    Err(CallError::Status { status, message: message.as_bytes().to_vec() })
}
