//! A blocking service, called by a host.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nffi_testhost::{CallError, Received, Settings, StreamId, TestHost};
use support::{Loaded, PATIENCE, library, status};

const LIBRARY: &str = "nffi_test_blocking";

#[test]
fn a_function_is_a_runtime() {
    let mut loaded = Loaded::new("nffi_test_function", "{}");
    assert_eq!(loaded.call("loud").unwrap(), "LOUD");
    assert_eq!(loaded.call(""), status(1, "silence"));
    let runtime = loaded.runtime;
    let error = loaded.host.call(runtime, b"\xff", PATIENCE).unwrap_err();
    assert!(
        matches!(&error, CallError::Status { status: 400, message } if message.starts_with(b"the request is no text: ")),
        "{error}"
    );
    loaded.unload();
}

#[test]
fn answers_in_bulk() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    let runtime = loaded.runtime;
    let mut calls: Vec<_> = (0..2000)
        .map(|n| (n, loaded.host.submit(runtime, format!("echo {n}").as_bytes(), PATIENCE).unwrap()))
        .collect();
    for (n, call) in calls.drain(..) {
        assert_eq!(loaded.host.wait(call).unwrap(), n.to_string().into_bytes());
    }
    assert_eq!(loaded.call("echo ").unwrap(), "");
    let large = vec![7; 16 << 20];
    assert_eq!(loaded.host.call(runtime, &[b"echo ", &large[..5]].concat(), PATIENCE).unwrap(), &large[..5]);
    loaded.unload();
}

#[test]
fn errors_and_their_statuses() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    assert_eq!(loaded.call("fail 404"), status(404, "as was asked"));
    assert_eq!(loaded.call("fail -3"), status(-3, "as was asked"));
    assert_eq!(loaded.call("fail 0"), status(1, "as was asked"));
    assert_eq!(loaded.call("parse x"), status(1, "invalid digit found in string"));
    assert_eq!(loaded.call("forget"), status(1, "the call was dropped without an answer"));
    loaded.unload();
}

#[test]
fn a_panic_is_an_error_and_says_where() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"threads":"1"}"#);
    assert_eq!(loaded.call("panic the sky falls"), status(1, "panicked: the sky falls"));
    // The same thread goes on.
    assert_eq!(loaded.call("echo on").unwrap(), "on");
    let lines: Vec<_> = loaded.lines().into_iter().filter(|line| line.starts_with("3/1 ")).collect();
    assert!(lines[0].starts_with("3/1 panicked at ") && lines[0].ends_with(": the sky falls"), "{lines:#?}");
    assert!(lines[0].contains("fixtures/blocking.rs:"), "{lines:#?}");
    assert!(lines[1].contains("innermost"), "{lines:#?}");
    assert!(lines.len() <= 33, "{lines:#?}");
    loaded.unload();
}

#[test]
fn lines_have_levels_fields_and_the_call() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    loaded.call("log x").unwrap();
    let lines = loaded.lines();
    let wanted = [
        "6/0 starts",
        "3/1 x at error user=\"ann\"",
        "4/1 x at warn count=3 user=\"ann\"",
        "6/1 x at info user=\"ann\"",
        "6/1 fields=\"alone\" user=\"ann\"",
    ];
    assert_eq!(lines, wanted);
    loaded.unload();
    assert_eq!(loaded.lines().last().unwrap(), "6/0 stops");
}

#[test]
fn other_threads_may_log_for_a_call() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    assert_eq!(loaded.call("elsewhere").unwrap(), "false");
    assert_eq!(loaded.lines()[1..], ["4/1 scoped", "4/0 not scoped"]);
    loaded.unload();
}

#[test]
fn the_level_is_an_option() {
    // The last one again: what another runtime has logged before does not count.
    for (level, count) in [("off", 0), ("error", 1), ("warn", 2), ("debug", 5), ("trace", 6), ("warn", 2)] {
        let mut loaded = Loaded::new(LIBRARY, &format!(r#"{{"log_level":"{level}"}}"#));
        loaded.call("log x").unwrap();
        let lines: Vec<_> = loaded.lines().into_iter().filter(|line| line.contains("/1 ")).collect();
        assert_eq!(lines.len(), count, "{level}: {lines:#?}");
        loaded.unload();
    }
}

#[test]
fn a_handler_hears_that_its_caller_has_gone() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    assert_eq!(loaded.call_within("wait", Duration::from_millis(10)), Err(CallError::Timeout));
    loaded.wait_for("gave-up", "1");
    // A call that was put aside hears of it by the event.
    assert_eq!(loaded.call_within("aside", Duration::from_millis(10)), Err(CallError::Timeout));
    loaded.wait_for("gave-up", "2");
    loaded.unload();
}

#[test]
fn the_time_that_is_left() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    let left: i64 = loaded.call_within("left", Duration::from_secs(30)).unwrap().parse().unwrap();
    assert!((3_000..=30_000).contains(&left), "{left}");
    assert_eq!(loaded.call_within("left", Duration::MAX).unwrap(), "-1");
    assert_eq!(loaded.call("cast").unwrap(), "false");
    loaded.unload();
}

/// One thread, so that nobody polls unless a handler that waits sends somebody else.
#[test]
fn streams_do_not_hold_up_calls() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"threads":"1"}"#);
    let runtime = loaded.runtime;
    let streams: Vec<_> = (0..20).map(|_| loaded.host.open(runtime, b"upper", true, PATIENCE).unwrap()).collect();
    assert_eq!(loaded.call("echo past the streams").unwrap(), "past the streams");
    for round in ["a", "b"] {
        for stream in &streams {
            assert!(loaded.host.send(*stream, round.as_bytes()));
        }
    }
    for stream in streams {
        loaded.host.send_end(stream);
        assert_eq!(loaded.receive_all(stream).unwrap(), [b"A", b"B"]);
    }
    assert_eq!(loaded.call("echo after them").unwrap(), "after them");
    loaded.unload();
}

/// A piece there and back.
fn echo(loaded: &mut Loaded, stream: StreamId) {
    assert!(loaded.host.send(stream, b"a"));
    let Ok(Received::Piece(piece)) = loaded.host.receive(stream, PATIENCE) else { panic!("no piece") };
    assert_eq!(piece, b"A");
}

/// Whoever reads or writes a stream goes on while all threads work; calls that come meanwhile wait
/// for one of them.
#[test]
fn calls_that_are_at_work_do_not_hold_up_streams() {
    for threads in [1, 3] {
        let mut loaded = Loaded::new(LIBRARY, &format!(r#"{{"threads":"{threads}"}}"#));
        let runtime = loaded.runtime;
        let begin = Instant::now();
        let reader = loaded.host.open(runtime, b"upper", true, PATIENCE).unwrap();
        let writer = loaded.host.open(runtime, b"pour 1048576", false, PATIENCE).unwrap();
        // Both have begun: of calls for several threads a later one may be first.
        echo(&mut loaded, reader);
        assert!(matches!(loaded.host.receive(writer, PATIENCE), Ok(Received::Piece(_))));
        let busy: Vec<_> = (0..threads).map(|_| loaded.host.submit(runtime, b"wait", PATIENCE).unwrap()).collect();
        while loaded.lines().iter().filter(|line| line.ends_with(" waits")).count() < threads {
            assert!(begin.elapsed() < PATIENCE, "{:#?}", loaded.lines());
        }
        let late = loaded.host.submit(runtime, b"wait", PATIENCE).unwrap();
        let later = loaded.host.submit(runtime, b"echo later", PATIENCE).unwrap();
        for _ in 0..3 {
            echo(&mut loaded, reader);
        }
        assert_eq!(loaded.receive_all(writer).unwrap().len(), 1024);
        // Those who wait for their caller to go give up by themselves after 30 s.
        assert!(begin.elapsed() < Duration::from_secs(20), "the streams went on after {:?}", begin.elapsed());
        assert_eq!(
            loaded.lines().iter().filter(|line| line.ends_with(" waits")).count(),
            threads,
            "one too many works"
        );
        loaded.host.cancel(late);
        busy.into_iter().for_each(|call| loaded.host.cancel(call));
        assert_eq!(loaded.host.wait(later).unwrap(), b"later");
        // The one whose caller went before its turn has not begun.
        loaded.wait_for("gave-up", &threads.to_string());
        assert_eq!(loaded.lines().iter().filter(|line| line.ends_with(" waits")).count(), threads);
        loaded.host.close(reader);
        loaded.unload();
    }
}

#[test]
fn a_writer_waits_for_its_reader() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"threads":"1"}"#);
    let runtime = loaded.runtime;
    let stream = loaded.host.open(runtime, b"pour 1048576", false, PATIENCE).unwrap();
    // The writer is stuck in its window, and the thread is free for others.
    assert_eq!(loaded.call("echo meanwhile").unwrap(), "meanwhile");
    let poured: usize = loaded.call("poured").unwrap().parse().unwrap();
    assert!(poured < 1024, "all of {poured} pieces went at once");
    let pieces = loaded.receive_all(stream).unwrap();
    assert_eq!((pieces.len(), pieces.last().unwrap().as_slice()), (1025, &b"end"[..]));
    // Without a reader of pieces the host gathers them.
    assert_eq!(loaded.call("pour 65536").unwrap().len(), 65536 + 3);
    loaded.unload();
}

#[test]
fn a_request_in_pieces_is_gathered() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    let runtime = loaded.runtime;
    let stream = loaded.host.open(runtime, b"whole", true, PATIENCE).unwrap();
    for piece in [" a", "", " b"] {
        assert!(loaded.host.send(stream, piece.as_bytes()));
    }
    loaded.host.send_end(stream);
    assert_eq!(loaded.receive_all(stream).unwrap().concat(), b"whole a b");
    loaded.unload();
}

#[test]
fn a_stream_whose_caller_goes_ends() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"threads":"1"}"#);
    let runtime = loaded.runtime;
    for request in ["upper", "pour 1048576"] {
        let stream = loaded.host.open(runtime, request.as_bytes(), true, PATIENCE).unwrap();
        assert_eq!(loaded.call("echo x").unwrap(), "x");
        loaded.host.close(stream);
    }
    loaded.unload();
}

#[test]
fn what_was_accepted_is_finished_before_the_stop() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"threads":"2","linger":"20ms"}"#);
    let runtime = loaded.runtime;
    let calls: Vec<_> = (0..6).map(|_| loaded.host.submit(runtime, b"linger", PATIENCE).unwrap()).collect();
    loaded.unload();
    for call in calls {
        assert_eq!(loaded.host.wait(call).unwrap(), b"lingered");
    }
}

#[test]
fn two_configurations_are_two_runtimes() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"name":"one","threads":"3"}"#);
    let second = r#"{"name":"two","threads":"1"}"#;
    let other = loaded.host.load(&library(LIBRARY), second.as_bytes(), Settings::default()).unwrap();
    let first = loaded.runtime;
    for (runtime, name, threads) in [(first, "one", "3"), (other, "two", "1")] {
        assert_eq!(loaded.host.call(runtime, b"name", PATIENCE).unwrap(), name.as_bytes());
        assert_eq!(loaded.host.call(runtime, b"threads", PATIENCE).unwrap(), threads.as_bytes());
    }
    loaded.unload();
    assert_eq!(loaded.host.call(other, b"name", PATIENCE).unwrap(), b"two");
    loaded.host.unload(other, PATIENCE).unwrap();
}

#[test]
fn lines_of_no_runtime_go_to_the_last_that_is_there() {
    let mut loaded = Loaded::new(LIBRARY, "{}");
    let other = loaded.host.load(&library(LIBRARY), b"{}", Settings::default()).unwrap();
    loaded.host.unload(other, PATIENCE).unwrap();
    assert_eq!(loaded.call("elsewhere").unwrap(), "false");
    let lines = loaded.lines();
    assert_eq!(lines[lines.len() - 2..], ["4/1 scoped", "4/0 not scoped"], "{lines:#?}");
    loaded.unload();
}

#[test]
fn a_start_that_fails_says_why() {
    let mut host = TestHost::lock();
    for (config, message) in [
        (r#"{"fail":"no disk"}"#, "no disk"),
        (r#"{"panic":true}"#, "panicked: as was asked"),
        (r#"{"nmae":"x"}"#, "unknown option \"nmae\", known are: name, fail, panic, linger, threads, log_level"),
        (r#"{"threads":"0"}"#, "option \"threads\": a number from 1 to 1024 expected, got 0"),
        (r#"{"linger":"x"}"#, "option \"linger\": a time such as 500ms, 5s or 1m expected, got \"x\""),
    ] {
        let error = host.load(&library(LIBRARY), config.as_bytes(), Settings::default()).unwrap_err().to_string();
        assert_eq!(error, message);
    }
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let _alone = TestHost::lock();
    let loaded = nffi_core::library::load(Path::new(&library(LIBRARY))).unwrap();
    let check = |config: &str| nffi_core::library::check(&loaded, config.as_bytes());
    assert_eq!(check("{}"), Ok(()));
    assert_eq!(check(r#"{"fail":"x"}"#), Err("check: x".to_owned()));
    assert_eq!(check(r#"{"x":"1"}"#).unwrap_err().split(',').next(), Some("unknown option \"x\""));
}
