//! What goes to standard error, and to standard output.

use std::{
    io::{self, Write},
    time::Duration,
};

use nffi_testhost::{RuntimeId, TestHost};

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// The level of that name, or number.
pub fn level(name: &str) -> Option<u8> {
    let named = LEVELS.iter().position(|known| *known == name).or_else(|| name.parse().ok());
    named.filter(|level| *level < LEVELS.len()).and_then(|level| u8::try_from(level).ok())
}

pub fn say(message: &str) {
    eprintln!("nffi-testhost: {message}");
}

/// To standard output; false where that is closed.
pub fn put(bytes: &[u8]) -> bool {
    let mut out = io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) => {
            say(&format!("cannot write to standard output: {error}"));
            false
        }
    }
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// Shows the runtime's log lines up to a level.
pub fn lines_of(host: &mut TestHost, most: u8) {
    host.on_line(move |line| {
        if line.level > most {
            return;
        }
        let level = LEVELS.get(usize::from(line.level)).unwrap_or(&"?");
        let call = if line.call == 0 { String::new() } else { format!(", call {}", line.call) };
        eprintln!("[{level}] {}{call}: {}", line.runtime, one_line(&line.message));
    });
}

/// A line stays a line, whatever is in it.
pub fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// What was counted, in one line.
pub fn counters(host: &TestHost, runtime: RuntimeId, bad: u64) -> String {
    let stats = host.stats(runtime);
    let mut parts = vec![format!("{} calls", stats.calls), format!("{} answers", stats.answers)];
    let rest = [
        (stats.errors, "errors"),
        (stats.timeouts, "timeouts"),
        (stats.rejected, "refused"),
        (bad, "answers to what was not there"),
        (host.dropped_lines() as u64, "log lines dropped"),
        (host.in_flight(runtime) as u64, "never ended"),
    ];
    parts.extend(rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    parts.join(", ")
}
