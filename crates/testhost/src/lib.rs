//! A host without nginx: loads a runtime library, calls it, stops it. The program of this crate
//! is built on it, and so may be the tests of an SDK.
//!
//! ```no_run
//! use std::time::Duration;
//! use nffi_testhost::{Settings, TestHost};
//!
//! let mut host = TestHost::lock();
//! let echo = host.load("target/libecho.so", b"{}", Settings::default())?;
//! let answer = host.call(echo, b"hello", Duration::from_secs(5))?;
//! assert_eq!(answer, b"hello");
//! host.unload(echo, Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module       | what                                                      |
//! |--------------|-----------------------------------------------------------|
//! | `doorbell`   | the sink: an eventfd that runtimes' threads ring          |
//! | `event_loop` | the host itself: one turn after the other                 |
//! | `calls`      | calls and casts, and what comes back                      |
//! | `stream`     | calls whose request and answer go piece by piece          |
//! | `http`       | HTTP requests, whole or piece by piece, and upgrades      |
//! | [`testing`]  | what tests of runtimes have in common                     |
//!
//! There is one host in a process, because the functions that runtimes call carry no context.
//! [`TestHost::lock`] hands it to one thread at a time; that thread is the event loop.

mod calls;
mod doorbell;
mod event_loop;
mod http;
mod stream;
pub mod testing;

pub use calls::{CallError, CallId};
pub use event_loop::{LoadError, LogLine, RuntimeId, TestHost, UnloadError};
pub use http::{HttpAnswer, HttpBody, HttpError, HttpHead, HttpId, HttpReceived, HttpRequest};
pub use nffi_core::{
    dispatch::{Refusal, Stats},
    options::Settings,
    surroundings::Surroundings,
};
pub use stream::{Received, StreamId};
