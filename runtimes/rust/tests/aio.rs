//! An async service, called by a host.
#![cfg(feature = "async")]

mod support;

use std::time::Duration;

use nffi_testhost::{CallError, Settings, TestHost};
use support::{Loaded, PATIENCE, library, status};

const LIBRARY: &str = "nffi_test_async";

/// With one thread, where handlers run in the loop itself, and with several.
fn each(test: impl Fn(Loaded)) {
    for threads in [1, 3] {
        test(Loaded::new(LIBRARY, &format!(r#"{{"threads":"{threads}","name":"t{threads}"}}"#)));
    }
}

#[test]
fn answers_in_bulk() {
    each(|mut loaded| {
        let runtime = loaded.runtime;
        let submit =
            |loaded: &mut Loaded, request: String| loaded.host.submit(runtime, request.as_bytes(), PATIENCE).unwrap();
        let late: Vec<_> = (0..200).map(|_| submit(&mut loaded, "late 20".to_owned())).collect();
        let calls: Vec<_> = (0..2000).map(|n| (n, submit(&mut loaded, format!("echo {n}")))).collect();
        for (n, call) in calls {
            assert_eq!(loaded.host.wait(call).unwrap(), n.to_string().into_bytes());
        }
        for call in late {
            assert_eq!(loaded.host.wait(call).unwrap(), b"late");
        }
        loaded.unload();
    });
}

#[test]
fn errors_panics_and_lines() {
    each(|mut loaded| {
        assert_eq!(loaded.call("fail 404"), status(404, "as was asked"));
        assert_eq!(loaded.call("panic at once"), status(1, "panicked: at once"));
        assert_eq!(loaded.call("panic-late later"), status(1, "panicked: later"));
        assert_eq!(loaded.call("log careful").unwrap(), "logged");
        let lines = loaded.lines();
        for begin in ["3/1 panicked at ", "3/2 panicked at ", "4/3 careful"] {
            assert!(lines.iter().any(|line| line.starts_with(begin)), "{begin}: {lines:#?}");
        }
        loaded.unload();
        assert_eq!(loaded.lines().last().unwrap(), "6/0 stops");
    });
}

#[test]
fn a_call_whose_caller_has_gone_is_dropped() {
    each(|mut loaded| {
        assert_eq!(loaded.call_within("never", Duration::from_millis(200)), Err(CallError::Timeout));
        loaded.wait_for("dropped", "1");
        let runtime = loaded.runtime;
        let calls: Vec<_> = (0..50).map(|_| loaded.host.submit(runtime, b"never", PATIENCE).unwrap()).collect();
        // One that is cancelled before its first step has nothing to drop.
        loaded.wait_for("begun", "51");
        calls.into_iter().for_each(|call| loaded.host.cancel(call));
        loaded.wait_for("dropped", "51");
        loaded.unload();
    });
}

#[test]
fn pieces_both_ways() {
    each(|mut loaded| {
        let runtime = loaded.runtime;
        let streams: Vec<_> = (0..20).map(|_| loaded.host.open(runtime, b"upper", true, PATIENCE).unwrap()).collect();
        for round in ["a", "b"] {
            for stream in &streams {
                assert!(loaded.host.send(*stream, round.as_bytes()));
            }
        }
        for stream in streams {
            loaded.host.send_end(stream);
            assert_eq!(loaded.receive_all(stream).unwrap(), [b"A", b"B"]);
        }
        let stream = loaded.host.open(runtime, b"whole", true, PATIENCE).unwrap();
        assert!(loaded.host.send(stream, b" and more"));
        loaded.host.send_end(stream);
        assert_eq!(loaded.receive_all(stream).unwrap().concat(), b"whole and more");
        loaded.unload();
    });
}

#[test]
fn a_writer_waits_for_its_reader() {
    each(|mut loaded| {
        let runtime = loaded.runtime;
        let stream = loaded.host.open(runtime, b"pour 1048576", false, PATIENCE).unwrap();
        assert_eq!(loaded.call("echo meanwhile").unwrap(), "meanwhile");
        let poured: usize = loaded.call("poured").unwrap().parse().unwrap();
        assert!(poured < 1024, "all of {poured} pieces went at once");
        let pieces = loaded.receive_all(stream).unwrap();
        assert_eq!((pieces.len(), pieces.last().unwrap().as_slice()), (1025, &b"end"[..]));
        let stream = loaded.host.open(runtime, b"pour 1048576", false, PATIENCE).unwrap();
        assert_eq!(loaded.call("echo once more").unwrap(), "once more");
        loaded.host.close(stream);
        loaded.unload();
    });
}

#[test]
fn what_was_accepted_is_finished_before_the_stop() {
    each(|mut loaded| {
        let runtime = loaded.runtime;
        let calls: Vec<_> = (0..6).map(|_| loaded.host.submit(runtime, b"late 30", PATIENCE).unwrap()).collect();
        loaded.unload();
        for call in calls {
            assert_eq!(loaded.host.wait(call).unwrap(), b"late");
        }
    });
}

/// The host does not wait for it, and what it logs afterwards is not handed over.
#[test]
fn a_blocking_thread_that_outlives_the_runtime_is_not_heard() {
    each(|mut loaded| {
        assert_eq!(loaded.call("outlive").unwrap(), "begun");
        let begin = std::time::Instant::now();
        while !loaded.lines().iter().any(|line| line.contains("blocks")) {
            assert!(begin.elapsed() < PATIENCE, "it does not log");
        }
        loaded.unload();
        let before = loaded.lines();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(loaded.lines(), before);
        assert!(!before.iter().any(|line| line.contains("n=99")), "it was over by then, so nothing is tested");
    });
}

#[test]
fn two_configurations_and_a_start_that_fails() {
    let mut loaded = Loaded::new(LIBRARY, r#"{"name":"one"}"#);
    let other = loaded.host.load(&library(LIBRARY), br#"{"name":"two"}"#, Settings::default()).unwrap();
    assert_eq!(loaded.call("name").unwrap(), "one");
    assert_eq!(loaded.host.call(other, b"name", PATIENCE).unwrap(), b"two");
    loaded.unload();
    loaded.host.unload(other, PATIENCE).unwrap();
    drop(loaded);
    let mut host = TestHost::lock();
    let error = host.load(&library(LIBRARY), br#"{"fail":"no network"}"#, Settings::default()).unwrap_err();
    assert_eq!(error.to_string(), "no network");
}
