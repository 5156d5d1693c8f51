//! The program, run on the C fixture of t/fixtures.

#![allow(clippy::expect_used)]

mod fixtures;

use std::{
    io::{Read, Write},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use fixtures::fixture;

fn command(library: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nffi-testhost"));
    command.arg(fixture(library)).args(arguments);
    command
}

/// Exit code, standard output, standard error.
fn run(library: &str, arguments: &[&str]) -> (i32, String, String) {
    said(command(library, arguments).stdin(Stdio::null()).output().expect("run"))
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn start(library: &str, arguments: &[&str]) -> Child {
    command(library, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start")
}

#[test]
fn calls_are_answered_in_order() {
    let (code, out, err) = run("libfixture.so", &["--call", "echo one", "--call", "echo two", "--call", ""]);
    assert_eq!((code, out.as_str()), (0, "one\ntwo\n\n"), "{err}");
    assert!(err.contains("ready after"), "{err}");
    assert!(err.contains("3 bytes in"), "{err}");
    assert!(err.contains("3 calls, 3 answers; stopped after"), "{err}");
}

#[test]
fn the_configuration_arrives_as_it_is() {
    let (code, out, _) = run("libfixture.so", &["--call", "cfg"]);
    assert_eq!((code, out.as_str()), (0, "{}\n"));
    let (code, out, _) = run("libfixture.so", &["--config", "a text, \"quoted\"", "--call", "cfg"]);
    assert_eq!((code, out.as_str()), (0, "a text, \"quoted\"\n"));
    let file = std::env::temp_dir().join(format!("nffi-testhost-{}.json", std::process::id()));
    std::fs::write(&file, b"{\"threads\":\"3\"}").expect("write");
    let (code, out, _) = run("libfixture.so", &["--config-file", file.to_str().expect("text"), "--call", "cfg"]);
    std::fs::remove_file(&file).expect("remove");
    assert_eq!((code, out.as_str()), (0, "{\"threads\":\"3\"}\n"));
}

#[test]
fn standard_input_goes_and_comes_back_as_it_is() {
    let mut child = start("libfixture.so", &["--config", r#"{"echo":true}"#, "--stdin"]);
    let request: Vec<u8> = (0..200_000u32).map(|i| (i * 31) as u8).collect();
    let mut input = child.stdin.take().expect("stdin");
    let writer = thread::spawn({
        let request = request.clone();
        move || input.write_all(&request)
    });
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("writer").expect("written");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == request);
}

#[test]
fn a_status_is_a_failure() {
    let (code, out, err) = run("libfixture.so", &["--call", "fail 7 went wrong", "--call", "echo on"]);
    assert_eq!((code, out.as_str()), (1, "on\n"), "{err}");
    assert!(err.contains("status 7: went wrong"), "{err}");
    assert!(err.contains("2 calls, 2 answers, 1 errors"), "{err}");
}

#[test]
fn a_timeout_is_a_failure_and_the_rest_goes_on() {
    let begin = Instant::now();
    let (code, out, err) = run("libfixture.so", &["--timeout", "100", "--call", "cancel_seen", "--call", "echo on"]);
    assert_eq!((code, out.as_str()), (1, "on\n"), "{err}");
    assert!(err.contains("timeout (1"), "{err}");
    assert!(err.contains("1 timeouts; stopped after"), "{err}");
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn tasks_that_are_never_ended_are_reported() {
    let (code, _, err) = run("libfixture.so", &["--timeout", "50", "--call", "never"]);
    assert_eq!(code, 1);
    assert!(err.contains("1 never ended; not stopped: 1 tasks were not ended in time"), "{err}");
    assert!(err.contains("every task must be ended exactly once"), "{err}");
}

#[test]
fn a_runtime_that_does_not_say_stopped_is_reported() {
    let (code, _, err) = run("libfixture.so", &["--config", r#"{"no_stopped":true}"#, "--call", "echo x"]);
    assert_eq!(code, 1);
    assert!(err.contains("not stopped: it did not say in time that it has stopped"), "{err}");
}

#[test]
fn answers_twice_are_reported() {
    let (code, _, err) = run("libfixture.so", &["--call", "twice"]);
    assert_eq!(code, 1);
    assert!(err.contains("answers to what was not there"), "{err}");
    assert!(err.contains("[error] fixture: reply() for task"), "{err}");
}

#[test]
fn log_lines_have_level_runtime_and_call() {
    let calls =
        ["--call", "echo x", "--call", "log 4 careful", "--call", "log 7 detail", "--call", "log_global 3 broken"];
    let (code, _, err) = run("libfixture.so", &calls);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("[warn] fixture, call 2: careful\n"), "{err}");
    assert!(err.contains("[error] fixture: broken\n"), "{err}");
    assert!(!err.contains("detail"), "{err}");
    let (_, _, err) = run("libfixture.so", &["--log-level", "debug", "--call", "log 7 detail"]);
    assert!(err.contains("[debug] fixture, call 1: detail\n"), "{err}");
    let (_, _, err) = run("libfixture.so", &["--log-level", "3", "--call", "log 4 careful"]);
    assert!(!err.contains("careful"), "{err}");
}

#[test]
fn a_failed_init_is_reported() {
    let (code, out, err) = run("libfixture.so", &["--config", r#"{"init_fail":"no model"}"#, "--call", "echo x"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, "nffi-testhost: no model\n");
}

#[test]
fn what_is_no_runtime_is_reported() {
    for (library, why) in [
        ("libno_symbol.so", "does not export nffi_runtime_init_v1"),
        ("libfuture.so", "it exports nffi_runtime_init_v"),
        ("libmissing.so", "not found; looked in"),
    ] {
        let (code, _, err) = run(library, &["--call", "x"]);
        assert_eq!(code, 1);
        assert!(err.contains(why), "{library}: {err}");
    }
}

#[test]
fn checks() {
    let (code, _, err) = run("libcheck.so", &["--check"]);
    assert_eq!((code, err.as_str()), (0, "nffi-testhost: the configuration is sound\n"));
    let (code, _, err) = run("libcheck.so", &["--check", "--config", r#"{"check":"refuse"}"#]);
    assert_eq!((code, err.as_str()), (1, "nffi-testhost: colour must be red or green\n"));
    let (code, _, err) = run("libfixture.so", &["--check"]);
    assert!(code == 0 && err.contains("exports no check"), "{err}");
    let (code, _, err) = run("libcheck.so", &["--check", "--config", r#"{"check":"hang"}"#]);
    assert!(code == 1 && err.contains("the check took longer than 5s"), "{err}");
}

#[test]
fn an_answer_in_pieces() {
    let (code, out, err) = run("libfixture.so", &["--stream", "--call", "write 50 5000"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.len(), 250_000);
    for (i, piece) in out.as_bytes().chunks(5000).enumerate() {
        assert!(piece.iter().all(|&b| b == b'a' + (i % 26) as u8), "piece {i}");
    }
    assert!(err.contains("250000 bytes in 50 pieces"), "{err}");
    let (code, out, err) = run("libfixture.so", &["--stream", "--call", "write_reply 3 and the rest"]);
    assert_eq!((code, out.as_str()), (0, "aaaand the rest"), "{err}");
    let (code, _, err) = run("libfixture.so", &["--stream", "--call", "write 2 3 9"]);
    assert!(code == 1 && err.contains("status 9"), "{err}");
}

/// Answers come while standard input is still open.
#[test]
fn a_stream_is_interactive() {
    let mut child = start("libpieces.so", &["--stream", "--stdin"]);
    let mut input = child.stdin.take().expect("stdin");
    let mut output = child.stdout.take().expect("stdout");
    for word in [&b"one"[..], b"two", b"three"] {
        input.write_all(word).expect("written");
        let mut back = vec![0; word.len()];
        output.read_exact(&mut back).expect("an answer while the input is open");
        assert_eq!(back, word);
    }
    drop(input);
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty());
    let (code, _, err) = said(child.wait_with_output().expect("wait"));
    assert_eq!(code, 0);
    assert!(err.contains("11 bytes in 3 pieces"), "{err}");
}

#[test]
fn megabytes_through_a_stream() {
    let mut child = start("libpieces.so", &["--stream", "--stdin"]);
    let request: Vec<u8> = (0..5_000_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let mut input = child.stdin.take().expect("stdin");
    let writer = thread::spawn({
        let request = request.clone();
        move || input.write_all(&request)
    });
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("writer").expect("written");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == request);
}

#[test]
fn repeated_calls_are_timed() {
    let echo = ["--config", r#"{"echo":true,"threads":"2"}"#];
    let load = ["--repeat", "5000", "--concurrency", "64", "--size", "1000"];
    let (code, out, err) = run("libfixture.so", &[&echo[..], &load[..]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("5000 calls of 1000 bytes, 64 at once: "), "{out}");
    assert!(out.contains("microseconds a call: "), "{out}");
    assert!(err.contains("5000 calls, 5000 answers; stopped"), "{err}");
    let (code, _, err) = run("libfixture.so", &["--repeat", "10", "--concurrency", "4", "--call", "fail 3 no"]);
    assert!(code == 1 && err.contains("10 times status 3: no"), "{err}");
}

#[test]
fn wrong_arguments_are_told() {
    for (arguments, why) in [
        (&["--timeout", "0"][..], "--timeout: a number from 1 to 2147483647 expected, got \"0\""),
        (&["--timeout", "2147483648"], "--timeout: a number"),
        (&["--bogus"], "invalid option '--bogus'"),
        (&["other.so"], "unexpected argument"),
        (&["--config", "a", "--config-file", "b"], "one configuration only"),
        (&["--config-file", "/no/such/file"], "cannot read /no/such/file"),
        (&["--size", "3"], "--concurrency and --size go with --repeat"),
        (&["--repeat", "3", "--stream"], "--repeat goes with none of"),
        (&["--log-level", "loud"], "no such level \"loud\""),
    ] {
        let (code, out, err) = run("libfixture.so", arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(why) && err.contains("usage: nffi-testhost"), "{arguments:?}: {err}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_nffi-testhost")).arg("--help").output().expect("run");
    let (code, out, err) = said(output);
    assert!(code == 0 && out.starts_with("usage: ") && err.is_empty());
}
