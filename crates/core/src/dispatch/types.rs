//! What goes into [`Dispatch`](super::Dispatch), and what comes out of it.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    buf::Buf,
    http::{Http, HttpEnd},
    meter::End,
    pipe::Pieces,
    runtime::Runtime,
    slot::Answer,
};

/// What is submitted.
#[derive(Debug)]
pub struct Submission {
    pub data: Buf,
    /// CLOCK_MONOTONIC, ns; 0 none.
    pub deadline: u64,
    /// Who gets the outcome; NOBODY makes it a cast.
    pub owner: u32,
    /// What log lines of this task are marked with; 0 nothing.
    pub request_id: u64,
    /// The same for its trace: W3C's trace-id; 0 none.
    pub trace: u128,
    /// Both ways, for a stream.
    pub pieces: Option<Arc<Pieces>>,
    /// More of the request follows.
    pub more: bool,
    /// Makes it an HTTP task; `data` is the block of its request.
    pub http: Option<Box<Http>>,
    /// Bytes of the request, for the meter.
    pub bytes: u64,
    /// When it came, for the meter: CLOCK_MONOTONIC, ns; 0 now.
    pub submitted: u64,
    /// Is told of its end, where tasks are measured. HTTP tasks have none: their host knows it all.
    pub witness: Option<Box<dyn Witness>>,
}

/// When what happened to a task: CLOCK_MONOTONIC, ns; 0 not at all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub submitted: u64,
    pub polled: u64,
    pub over: u64,
}

/// Whoever wants to know how long a task took.
pub trait Witness: fmt::Debug + Send {
    /// It is over for whoever waited for it. Runs on: event loop.
    fn over(self: Box<Self>, runtime: &Runtime, end: End, times: Times);
}

impl Submission {
    /// A request with neither deadline nor pieces nor marks.
    pub fn new(data: Buf, owner: u32) -> Self {
        let bytes = data.len() as u64;
        Self {
            data,
            deadline: 0,
            owner,
            request_id: 0,
            trace: 0,
            pieces: None,
            more: false,
            http: None,
            bytes,
            submitted: 0,
            witness: None,
        }
    }
}

/// What log lines of a task are marked with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub request_id: u64,
    pub trace: u128,
}

/// Why a task was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    RequestTooLarge,
    Failed(String),
    Unloaded,
    ShuttingDown,
    NoSuchRuntime,
    NoMemory,
}

impl Refusal {
    /// In words, without a copy where they are always the same.
    pub fn words(&self) -> Cow<'static, str> {
        match self {
            Refusal::QueueFull => "queue full".into(),
            Refusal::RequestTooLarge => "request too large".into(),
            Refusal::Failed(why) => format!("runtime failed: {why}").into(),
            Refusal::Unloaded => "unloaded".into(),
            Refusal::ShuttingDown => "shutting down".into(),
            Refusal::NoSuchRuntime => "no such runtime".into(),
            Refusal::NoMemory => "no memory".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())
    }
}

impl std::error::Error for Refusal {}

/// How a task ended, for its owner.
#[derive(Debug)]
pub enum Outcome {
    /// Status 0 is success; otherwise the data are the runtime's message.
    Answer(Answer),
    /// Of an HTTP task.
    Http(HttpEnd),
    TooLarge,
    /// The runtime failed to start.
    Failed(String),
    NoMemory,
}

/// What [`Dispatch::drain`] found.
#[derive(Debug)]
pub enum News {
    /// The owner's task is over.
    Ended { owner: u32, outcome: Outcome },
    /// The owner's stream has pieces, or room.
    Pieces { owner: u32 },
    /// The runtime has left [`State::Starting`], or has stopped.
    Runtime { number: u32 },
}
