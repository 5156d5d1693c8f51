//! Why there is no answer.

use std::{fmt::Write as _, time::Duration};

use nffi_abi::nffi_task;
use wasmtime::{Trap, WasmBacktrace};

use crate::host::{Host, Level};

/// Of a line that quotes others.
const LONGEST: usize = 1000;

/// What host functions and limits end a function with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("exit {0}")]
    Exit(i32),
    #[error("the time is over")]
    Time,
    #[error("nobody waits for it any more")]
    Gone,
    #[error("too much output")]
    Output,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Of a function that has ended by itself.
    Exit(i32),
    Time(Duration),
    Gone,
    Output(usize),
    /// What it was, and where, frame by frame.
    Trap(String, Vec<String>),
    /// What it wrote is not an answer.
    Contract(String),
}

impl Failure {
    /// Of the error that a call of wasmtime's ended with. `Ok` where the function has ended well.
    pub fn of(error: &wasmtime::Error, time_limit: Option<Duration>, max_output: usize) -> Result<(), Self> {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return match stop {
                Stop::Exit(0) => Ok(()),
                Stop::Exit(code) => Err(Self::Exit(*code)),
                Stop::Time => Err(Self::Time(time_limit.unwrap_or_default())),
                Stop::Gone => Err(Self::Gone),
                Stop::Output => Err(Self::Output(max_output)),
            };
        }
        let what = match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => "its fuel is used up".to_owned(),
            Some(Trap::StackOverflow) => "its stack is used up (max_stack)".to_owned(),
            Some(Trap::UnreachableCodeReached) => "unreachable".to_owned(),
            Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
            None => last(error),
        };
        Err(Self::Trap(what, error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default()))
    }

    /// One line, for the log and for callers.
    pub fn message(&self) -> String {
        match self {
            Self::Exit(code) => format!("the function ended with exit code {code}"),
            Self::Time(limit) => format!("the function was stopped after {} ms (time_limit)", limit.as_millis()),
            Self::Gone => "the function was stopped: nobody waits for it any more".to_owned(),
            Self::Output(most) => format!("the function wrote more than {most} bytes (max_output)"),
            Self::Trap(what, _) => format!("the function failed: {what}"),
            Self::Contract(why) => format!("the function's output is not an answer: {why}"),
        }
    }

    /// What the message does not say. `starved`: more memory than that was asked for.
    pub fn log_details(&self, host: Host, task: nffi_task, starved: Option<usize>) {
        if let Some(limit) = starved {
            let line = format!("more memory than {limit} bytes was asked for and refused (memory_limit)");
            host.log(task, Level::Error, &line);
        }
        if !self.frames().is_empty() {
            host.log(task, Level::Error, &format!("{}, at", self.message()));
        }
        for frame in self.frames() {
            host.log(task, Level::Error, frame);
        }
    }

    fn frames(&self) -> &[String] {
        match self {
            Self::Trap(_, frames) => frames,
            _ => &[],
        }
    }
}

fn frames(trace: &WasmBacktrace) -> Vec<String> {
    let mut lines = Vec::new();
    for frame in trace.frames() {
        let name = frame.func_name().map_or_else(
            || format!("function {}", frame.func_index()),
            |name| rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}")),
        );
        let places: Vec<String> = frame
            .symbols()
            .iter()
            .filter_map(|symbol| Some(format!("{}:{}", symbol.file()?, symbol.line()?)))
            .collect();
        let mut line = format!("  {}: {name}", lines.len());
        match (places.first(), frame.module_offset()) {
            (Some(_), _) => _ = write!(line, " ({})", places.join(", in ")),
            (None, Some(offset)) => _ = write!(line, " (offset {offset:#x})"),
            (None, None) => {}
        }
        lines.push(line);
    }
    lines
}

fn last(error: &wasmtime::Error) -> String {
    error.chain().last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// An error with all that is behind it, in one line.
pub fn chain(error: &wasmtime::Error) -> String {
    let parts: Vec<String> = error.chain().map(|part| part.to_string().replace('\n', " ")).collect();
    parts.join(": ")
}

/// What quotes a file or a configuration, as one line of a log.
pub fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().take(LONGEST).map(plain).collect()
}
