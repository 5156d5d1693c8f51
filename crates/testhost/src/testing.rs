//! What tests of runtimes have in common. Panics where something is not as it should be.

#![allow(clippy::expect_used)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{LogLine, RuntimeId, TestHost};

/// How long a test waits for what ought to come at once.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks, and has an answer of text.
pub fn ask(host: &mut TestHost, runtime: RuntimeId, request: &str) -> String {
    let answer = host.call(runtime, request.as_bytes(), SOON).expect("an answer");
    String::from_utf8(answer).expect("text")
}

/// Ends it, and sees that it has kept the contract.
pub fn unload(host: &mut TestHost, runtime: RuntimeId) {
    host.unload(runtime, SOON).expect("it stops");
    assert_eq!((host.bad_answers(runtime), host.in_flight(runtime)), (0, 0));
}

/// What runtimes have logged since somebody asked for it.
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
