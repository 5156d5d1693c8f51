//! Panics: an error for the caller, and lines in the log that say where.

use std::{
    any::Any,
    backtrace::Backtrace,
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::Once,
};

use crate::{
    Error,
    log::{self, Level},
};

/// Frames that are logged of one panic.
const FRAMES: usize = 32;

/// Every panic of this library is logged from now on, where the runtime is known in which it
/// happened; others stay with the hook that was there.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match log::place() {
            Some(place) => report(place, info),
            None => before(info),
        }));
    });
}

/// Runs a handler, or a part of it. Its panic is an error.
///
/// What a handler leaves half changed behind is the handler's concern, as it is for threads: the
/// standard locks tell of it.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(|| nffi_handler_frame(body))).map_err(|payload| {
        let error = Error::from(format!("panicked: {}", text(&*payload)));
        // A payload may panic when it is dropped; whoever throws such a thing has to live with a leak.
        std::mem::forget(payload);
        error
    })
}

/// The frame at which a trace ends: what called the handler is the SDK's.
#[inline(never)]
fn nffi_handler_frame<T>(body: impl FnOnce() -> T) -> T {
    let result = body();
    // Keeps the frame: a tail call would take it out of the trace.
    std::hint::black_box(());
    result
}

fn text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "something that is no text"
    }
}

/// A line for the panic, and one for each frame, so that each has the request's number.
fn report(place: log::Place, info: &PanicHookInfo) {
    let at = info.location().map_or_else(String::new, |at| format!(" at {at}"));
    place.line(Level::Error, &format!("panicked{at}: {}", text(info.payload())));
    for frame in frames(&Backtrace::force_capture().to_string()).into_iter().take(FRAMES) {
        place.line(Level::Error, &frame);
    }
}

/// The frames between the panic's machinery and the SDK's, as `function at file:line:column`.
fn frames(trace: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in trace.lines().map(str::trim) {
        match line.strip_prefix("at ") {
            Some(at) => {
                if let Some(last) = frames.last_mut() {
                    last.push_str(" at ");
                    last.push_str(at);
                }
            }
            None => frames.push(line.split_once(": ").map_or(line, |(_, function)| function).to_owned()),
        }
    }
    let machinery = |frame: &String| {
        ["rust_begin_unwind", "__rustc::rust_begin_unwind", "core::panicking::", "std::panicking::", "std::panic::"]
            .iter()
            .any(|name| frame.contains(name))
    };
    let end = frames.iter().position(|frame| frame.contains("nffi_handler_frame")).unwrap_or(frames.len());
    let begin = frames[..end].iter().rposition(machinery).map_or(0, |last| last + 1);
    frames.drain(begin..end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_thrown() {
        let message = |body: fn()| catch(body).unwrap_err().to_string();
        assert_eq!(message(|| panic!("plain")), "panicked: plain");
        assert_eq!(message(|| panic!("with {}", 1)), "panicked: with 1");
        assert_eq!(message(|| panic::panic_any(7)), "panicked: something that is no text");
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn a_payload_that_panics_does_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("once more");
            }
        }
        assert!(catch(|| panic::panic_any(Bomb)).is_err());
    }

    #[test]
    fn a_trace_is_of_the_handler_alone() {
        let trace = "   0: std::backtrace::capture\n   1: __rustc::rust_begin_unwind\n   2: core::panicking::panic_fmt\n\
             \x20            at /rustc/x/panicking.rs:1:2\n   3: app::inner\n             at ./src/lib.rs:3:4\n   4: app::handle\n\
             \x20  5: nffi::panics::nffi_handler_frame\n   6: std::panicking::try\n   7: std::thread::start";
        assert_eq!(frames(trace), ["app::inner at ./src/lib.rs:3:4", "app::handle"]);
        assert_eq!(frames("0: a\n1: b"), ["a", "b"]);
        assert!(frames("").is_empty());
    }
}
