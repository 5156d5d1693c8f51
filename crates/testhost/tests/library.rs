//! The library, as the tests of an SDK would use it.

#![allow(clippy::expect_used)]

mod fixtures;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fixtures::fixture;
use nffi_testhost::{CallError, LoadError, Received, Refusal, RuntimeId, Settings, TestHost, UnloadError};

const SOON: Duration = Duration::from_secs(20);

fn load(host: &mut TestHost, library: &str, config: &str, settings: Settings) -> RuntimeId {
    let path = fixture(library);
    host.load(path.to_str().expect("text"), config.as_bytes(), settings).expect("loaded")
}

fn fixture_in(host: &mut TestHost) -> RuntimeId {
    load(host, "libfixture.so", "{}", Settings::default())
}

#[test]
fn a_runtime_from_load_to_unload() {
    let mut host = TestHost::lock();
    let runtime = fixture_in(&mut host);
    assert_eq!(host.call(runtime, b"echo hello", SOON).expect("an answer"), b"hello");
    let error = host.call(runtime, b"fail 5 because", SOON).expect_err("its own error");
    assert_eq!(error, CallError::Status { status: 5, message: b"because".to_vec() });
    assert_eq!(error.to_string(), "status 5: because");
    host.cast(runtime, b"echo into the void").expect("taken");
    host.unload(runtime, SOON).expect("gone");
    assert_eq!(host.call(runtime, b"echo", SOON), Err(CallError::Refused(Refusal::Unloaded)));
    assert!(matches!(host.unload(runtime, SOON), Err(UnloadError::Refused(Refusal::Unloaded))));
    let stats = host.stats(runtime);
    assert_eq!((stats.calls, stats.casts, stats.answers, stats.rejected), (2, 1, 3, 1));
    assert_eq!((host.bad_answers(runtime), host.in_flight(runtime)), (0, 0));
}

#[test]
fn several_calls_at_once() {
    let mut host = TestHost::lock();
    let runtime = fixture_in(&mut host);
    let begin = Instant::now();
    let slow = host.submit(runtime, b"sleep 150 slow", SOON).expect("taken");
    let mut calls = vec![slow];
    calls.extend((0..20).map(|i| host.submit(runtime, format!("echo {i}").as_bytes(), SOON).expect("taken")));
    let mut answers = Vec::new();
    while !calls.is_empty() {
        answers.extend(host.wait_any(&mut calls).into_iter().map(|(_, result)| result.expect("an answer")));
    }
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!(answers.len(), 21);
    assert_eq!(answers.last().map(Vec::as_slice), Some(&b"slow"[..]));
    assert!(host.wait_any(&mut calls).is_empty());
    assert_eq!(host.wait(slow), Err(CallError::NoSuchCall));
    host.unload(runtime, SOON).expect("gone");
}

#[test]
fn timeouts_and_cancels_reach_the_runtime() {
    let mut host = TestHost::lock();
    let runtime = fixture_in(&mut host);
    let begin = Instant::now();
    assert_eq!(host.call(runtime, b"cancel_seen", Duration::from_millis(60)), Err(CallError::Timeout));
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(60) && took < SOON, "{took:?}");
    let call = host.submit(runtime, b"cancel_seen", Duration::MAX).expect("taken");
    // Polled, and waiting for its end.
    assert_eq!(host.call(runtime, b"echo x", SOON).expect("an answer"), b"x");
    host.cancel(call);
    host.unload(runtime, SOON).expect("both were ended");
    let stats = host.stats(runtime);
    assert_eq!((stats.timeouts, stats.cancelled), (1, 2));
}

#[test]
fn streams() {
    let mut host = TestHost::lock();
    let runtime = load(&mut host, "libpieces.so", "", Settings::default());
    let stream = host.open(runtime, b"", true, SOON).expect("open");
    assert_eq!(host.receive(stream, Duration::from_millis(10)), Ok(Received::Nothing));
    for i in 0..200u8 {
        assert!(host.send(stream, &vec![i; 3000]));
        assert_eq!(host.receive(stream, SOON), Ok(Received::Piece(vec![i; 3000])));
    }
    assert!(host.send_end(stream));
    assert_eq!(host.receive(stream, SOON), Ok(Received::End));
    assert_eq!(host.receive(stream, SOON), Err(CallError::NoSuchCall));
    assert!(!host.send(stream, b"late"));

    // Nobody receives: the runtime's window shuts, then ours; then the caller goes.
    let stream = host.open(runtime, b"", true, SOON).expect("open");
    let offered = (0..100).take_while(|_| host.may_send(stream) && host.offer(stream, &[1; 10_000])).count();
    assert!(offered < 100, "a window without end");
    host.close(stream);
    host.unload(runtime, SOON).expect("the stream was ended");
}

#[test]
fn the_last_piece_may_come_with_the_reply() {
    let mut host = TestHost::lock();
    let runtime = fixture_in(&mut host);
    let stream = host.open(runtime, b"write_reply 3 rest", false, SOON).expect("open");
    let mut pieces = Vec::new();
    while let Received::Piece(piece) = host.receive(stream, SOON).expect("sound") {
        pieces.push(piece);
    }
    assert_eq!(pieces, [b"aaa".to_vec(), b"rest".to_vec()]);
    let stream = host.open(runtime, b"write 1 3 9", false, SOON).expect("open");
    assert_eq!(host.receive(stream, SOON), Ok(Received::Piece(b"aaa".to_vec())));
    assert!(matches!(host.receive(stream, SOON), Err(CallError::Status { status: 9, .. })));
    host.unload(runtime, SOON).expect("gone");
}

#[test]
fn lines_come_to_whoever_listens() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut host = TestHost::lock();
    let into = lines.clone();
    host.on_line(move |line| into.lock().expect("lock").push((line.runtime, line.level, line.call, line.message)));
    let runtime = fixture_in(&mut host);
    let call = host.submit(runtime, b"log 4 careful", SOON).expect("taken");
    host.wait(call).expect("an answer");
    host.unload(runtime, SOON).expect("gone");
    host.on_line(|_| {});
    let lines = lines.lock().expect("lock");
    let (name, level, call, message) = &lines[0];
    assert_eq!((name.as_str(), *level, message.as_slice()), ("fixture", 4, &b"careful"[..]));
    assert!(*call > 0);
    assert_eq!((lines.len(), host.dropped_lines()), (1, 0));
}

#[test]
fn settings_hold_and_failures_are_told() {
    let mut host = TestHost::lock();
    let settings = Settings { max_request: 10, max_response: 10, ..Settings::default() };
    let runtime = load(&mut host, "libfixture.so", "{}", settings);
    assert_eq!(host.call(runtime, &[0; 11], SOON), Err(CallError::Refused(Refusal::RequestTooLarge)));
    assert_eq!(host.call(runtime, b"size 11", SOON), Err(CallError::TooLarge));
    host.unload(runtime, SOON).expect("gone");

    let path = fixture("libfixture.so");
    let path = path.to_str().expect("text");
    let failed = host.load(path, br#"{"init_fail":"no model"}"#, Settings::default());
    assert!(matches!(&failed, Err(LoadError::Init(why)) if why == "no model"), "{failed:?}");
    let missing = host.load("./no/such.so", b"", Settings::default()).expect_err("missing").to_string();
    assert!(missing.contains("\"./no/such.so\" not found"), "{missing}");

    let runtime = fixture_in(&mut host);
    let call = host.submit(runtime, b"never", Duration::from_millis(20)).expect("taken");
    assert_eq!(host.wait(call), Err(CallError::Timeout));
    assert!(matches!(host.unload(runtime, Duration::from_millis(20)), Err(UnloadError::Unended(1))));
}
