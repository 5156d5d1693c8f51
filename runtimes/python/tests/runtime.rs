//! One runtime after the other, in one interpreter without a venv.

#![allow(clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Lines, SOON, ask, config, fails, load, refused, try_load, unload};
use nffi_testhost::{CallError, Received, Settings, Surroundings, TestHost};

const BOTH: [&str; 2] = ["app:command", "app:command_async"];

#[test]
#[ignore = "needs libpython"]
fn echo_of_any_size() {
    let mut host = TestHost::lock();
    for handler in ["app:echo", "app:echo_async"] {
        let runtime = load(&mut host, handler, "");
        let all: Vec<u8> = (0..=255).cycle().take(16 << 20).collect();
        for size in [0, 1, 255, 65_536, 16 << 20] {
            let answer = host.call(runtime, &all[..size], SOON).expect("an answer");
            assert!(answer == all[..size], "{handler}: {size} bytes");
        }
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn what_a_handler_may_return() {
    let mut host = TestHost::lock();
    for handler in BOTH {
        let runtime = load(&mut host, handler, "");
        assert_eq!(ask(&mut host, runtime, "return str"), "päckchen");
        assert_eq!(ask(&mut host, runtime, "return none"), "");
        assert_eq!(ask(&mut host, runtime, "return array"), "ab");
        assert_eq!(ask(&mut host, runtime, "return view"), "bc");
        let (status, message) = fails(&mut host, runtime, "return int");
        assert_eq!((status, message.as_str()), (1, "TypeError: bytes, str or None expected, not int"));
        assert!(fails(&mut host, runtime, "return surrogate").1.starts_with("UnicodeEncodeError: "));
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn an_exception_of_any_text_is_an_answer() {
    let mut host = TestHost::lock();
    for handler in BOTH {
        let runtime = load(&mut host, handler, "");
        for _ in 0..10 {
            assert_eq!(fails(&mut host, runtime, "odd surrogate"), (1, "ValueError: \\udc80".to_owned()));
            assert_eq!(fails(&mut host, runtime, "odd own"), (404, "no \\ud800".to_owned()));
            assert_eq!(fails(&mut host, runtime, "odd mute"), (1, "Mute: its text cannot be had".to_owned()));
            assert_eq!(fails(&mut host, runtime, "odd leaving"), (1, "Leaving: its text cannot be had".to_owned()));
            assert_eq!(fails(&mut host, runtime, "odd stiff"), (1, "Stiff: stiff".to_owned()));
        }
        assert_eq!(ask(&mut host, runtime, "return view"), "bc", "its threads live: there are eight");
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn handlers_of_all_kinds() {
    let mut host = TestHost::lock();
    for (handler, answer) in [("app:service", "c:x"), ("app:service.method", "m:x")] {
        let runtime = load(&mut host, handler, "");
        assert_eq!(ask(&mut host, runtime, "x"), answer);
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn an_exception_is_an_answer_and_a_traceback() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    for handler in BOTH {
        let runtime = load(&mut host, handler, "");
        assert_eq!(fails(&mut host, runtime, "fail 404"), (404, "as told".into()));
        assert!(fails(&mut host, runtime, "fail 0").1.starts_with("ValueError: the status of an error"));
        let text = format!("kaboom in {handler}");
        assert_eq!(fails(&mut host, runtime, &format!("raise {text}")), (1, format!("ValueError: {text}")));
        let (level, call, _) = lines.find(&mut host, &format!("ValueError: {text}"));
        assert!(level == 3 && call > 0);
        // Each line of the traceback by itself, with the call.
        let (_, of_call, line) = lines.find(&mut host, "raise ValueError(rest)");
        assert!(of_call > 0 && !line.contains('\n'));
        assert!(lines.all().iter().all(|line| !line.contains("Error: as told")), "an error of one's own is not logged");
        // Neither ends the thread, nor the loop, nor this process.
        assert_eq!(fails(&mut host, runtime, "exit 2"), (1, "SystemExit: 2".into()));
        assert_eq!(fails(&mut host, runtime, "base"), (1, "KeyboardInterrupt: ctrl".into()));
        assert_eq!(ask(&mut host, runtime, "return none"), "");
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_task_of_a_handler_that_exits_does_not_end_the_loop() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let runtime = load(&mut host, "app:command_async", "");
    assert_eq!(ask(&mut host, runtime, "lost_task"), "still here");
    assert_eq!(ask(&mut host, runtime, "return none"), "");
    lines.find(&mut host, "SystemExit in a task is ignored");
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn init_gets_the_users_options_and_may_fail() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    assert_eq!(refused(&mut host, "app:command", r#""init":"raise""#), "ValueError: no such luck");
    lines.find(&mut host, "raise ValueError(\"no such luck\")");
    assert_eq!(refused(&mut host, "app:command", r#""init":"own""#), "in my own words");
    assert_eq!(refused(&mut host, "app:command", r#""init":"exit""#), "SystemExit: 2");
    lines.find(&mut host, "sys.exit(2)");
    let runtime = load(&mut host, "app:command", r#""greeting":"hello""#);
    assert_eq!(ask(&mut host, runtime, "config greeting"), "hello");
    assert_eq!(ask(&mut host, runtime, "state greeting"), "hello");
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn what_is_wrong_with_a_handler_is_told() {
    let mut host = TestHost::lock();
    assert!(refused(&mut host, "not_there:f", "").starts_with("ModuleNotFoundError: No module named 'not_there'"));
    assert_eq!(refused(&mut host, "app:missing", ""), "app has no missing");
    assert_eq!(refused(&mut host, "app:no_function", ""), "app.no_function is no function, but int");
    assert!(refused(&mut host, "async_init:f", "").contains("must be a def"));
    assert!(
        refused(&mut host, "no_init:f", r#""greeting":"x""#)
            .starts_with("unknown options \"greeting\": no_init has no")
    );
    assert!(refused(&mut host, "app:echo_async", r#""uvloop":"on""#).starts_with("ModuleNotFoundError"));
    assert!(refused(&mut host, "app:echo", r#""threads":"many""#).contains("\"threads\""));
}

#[test]
#[ignore = "needs libpython"]
fn two_configurations_are_two_runtimes() {
    let mut host = TestHost::lock();
    let one = load(&mut host, "app:command", r#""greeting":"one""#);
    let two = load(&mut host, "app:command_async", r#""greeting":"two""#);
    assert_eq!(ask(&mut host, one, "state greeting"), "one");
    assert_eq!(ask(&mut host, two, "state greeting"), "two");
    unload(&mut host, one);
    assert_eq!(ask(&mut host, two, "state greeting"), "two");
    unload(&mut host, two);
}

#[test]
#[ignore = "needs libpython"]
fn a_second_interpreter_is_refused() {
    let mut host = TestHost::lock();
    let runtime = load(&mut host, "app:echo", "");
    let venv = std::env::temp_dir().join(format!("nffi-python-no-venv-{}", std::process::id()));
    std::fs::create_dir_all(venv.join("bin")).expect("a folder");
    std::fs::write(venv.join("pyvenv.cfg"), "home = /usr/bin\nversion = 3.11.2\n").expect("a file");
    std::fs::write(venv.join("bin/python3"), "").expect("a file");
    let said = refused(&mut host, "app:echo", &format!(r#""venv":"{}""#, venv.display()));
    assert!(said.contains("share one interpreter") && said.contains("nffi-python-no-venv"), "{said}");
    assert_eq!(ask(&mut host, runtime, "x"), "x");
    unload(&mut host, runtime);
    std::fs::remove_dir_all(venv).expect("gone");
}

#[test]
#[ignore = "needs libpython"]
fn a_thousand_that_sleep_take_as_long_as_one() {
    let mut host = TestHost::lock();
    let runtime = load(&mut host, "app:command_async", "");
    let begin = Instant::now();
    let mut calls: Vec<_> = (0..1000).map(|_| host.submit(runtime, b"sleep 0.1", SOON).expect("taken")).collect();
    while !calls.is_empty() {
        for (_, answer) in host.wait_any(&mut calls) {
            assert_eq!(answer.expect("an answer"), b"slept");
        }
    }
    // One after the other they would take 100 s.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn threads_sleep_side_by_side() {
    let mut host = TestHost::lock();
    let mut took = Vec::new();
    for threads in ["1", "16"] {
        let runtime = load(&mut host, "app:command", &format!(r#""threads":"{threads}""#));
        let begin = Instant::now();
        let mut calls: Vec<_> = (0..16).map(|_| host.submit(runtime, b"sleep 0.1", SOON).expect("taken")).collect();
        while !calls.is_empty() {
            host.wait_any(&mut calls).into_iter().for_each(|(_, answer)| assert!(answer.is_ok()));
        }
        took.push(begin.elapsed());
        unload(&mut host, runtime);
    }
    assert!(took[0] >= Duration::from_millis(1600), "{took:?}");
    assert!(took[1] < took[0] / 2, "{took:?}");
}

#[test]
#[ignore = "needs libpython"]
fn a_thread_that_computes_lets_others_in() {
    let mut host = TestHost::lock();
    let runtime = load(&mut host, "app:command", r#""threads":"2""#);
    let spin = host.submit(runtime, b"spin 1.5", SOON).expect("taken");
    let begin = Instant::now();
    assert_eq!(ask(&mut host, runtime, "return str"), "päckchen");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(host.wait(spin).expect("an answer"), b"spun");
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn a_handler_hears_that_its_caller_has_gone() {
    let mut host = TestHost::lock();
    for (handler, requests) in [(BOTH[0], &["until_cancelled"][..]), (BOTH[1], &["until_cancelled", "stubborn"])] {
        let runtime = load(&mut host, handler, "");
        for (count, request) in requests.iter().enumerate() {
            let call = host.call(runtime, request.as_bytes(), Duration::from_millis(50));
            assert_eq!(call, Err(CallError::Timeout));
            let end = Instant::now() + SOON;
            while ask(&mut host, runtime, "cancelled") != (count + 1).to_string() {
                assert!(Instant::now() < end, "{handler}: {request} was not cancelled");
            }
        }
        // Ended once, although cancelled.
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn stop_lets_what_runs_finish_then_cancels() {
    let mut host = TestHost::lock();
    for handler in BOTH {
        let runtime = load(&mut host, handler, "");
        let call = host.submit(runtime, b"sleep 0.3", SOON).expect("taken");
        unload(&mut host, runtime);
        assert_eq!(host.wait(call).expect("finished before it stopped"), b"slept");
    }
}

#[test]
#[ignore = "needs libpython"]
fn lines_of_the_log() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    for handler in BOTH {
        let runtime = load(&mut host, handler, "");
        for (name, level) in [("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)] {
            let text = format!("a {name} of {handler}");
            ask(&mut host, runtime, &format!("log {name} {text}"));
            let (found, call, line) = lines.find(&mut host, &text);
            assert_eq!((found, line), (level, format!("shop: {text}")));
            assert!(call > 0, "the line belongs to its call");
        }
        ask(&mut host, runtime, "log DEBUG too much");
        ask(&mut host, runtime, &format!("print said by {handler}"));
        let (level, call, line) = lines.find(&mut host, &format!("said by {handler}"));
        assert!(level == 6 && call > 0 && line == format!("said by {handler}"));
        assert_eq!(lines.find(&mut host, "half a").2, "half a line");
        assert_eq!(lines.find(&mut host, "to stderr").0, 3);
        lines.find(&mut host, "careful now");
        ask(&mut host, runtime, "log_nffi");
        assert_eq!(lines.find(&mut host, "plain").2, "nffi: plain");
        assert_eq!(lines.find(&mut host, "of the root").2, "of the root");
        lines.find(&mut host, "KeyError: 'inner'");
        assert!(lines.all().iter().all(|line| !line.contains("too much") && !line.contains('\n')));
        unload(&mut host, runtime);
    }
    let runtime = load(&mut host, "app:command", r#""log_level":"debug""#);
    ask(&mut host, runtime, "log DEBUG at last");
    assert_eq!(lines.find(&mut host, "at last").0, 7);
    // Beside it one that wants less: the level is each runtime's own.
    let other = load(&mut host, "app:command", "");
    ask(&mut host, other, "log DEBUG not of this one");
    ask(&mut host, other, "log INFO but this");
    lines.find(&mut host, "but this");
    assert!(lines.all().iter().all(|line| !line.contains("not of this one")));
    unload(&mut host, other);
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn surroundings() {
    let mut host = TestHost::lock();
    for (number, handler) in BOTH.iter().enumerate() {
        let name = format!("NFFI_PYTHON_TEST_{number}");
        let mut around = Surroundings::default();
        around.add_env(&[name.clone(), "a value".into()]).expect("a name");
        around.working_directory = Some("/proc".into());
        let config = config(handler, "");
        let runtime =
            host.load_in(&common::library(), config.as_bytes(), Settings::default(), around).expect("it starts");
        // Python was started before: os.environ of then would not have it.
        assert_eq!(ask(&mut host, runtime, &format!("environ {name}")), "a value");
        assert_eq!(ask(&mut host, runtime, "environ NFFI_NOT_THERE"), "none");
        assert_eq!(ask(&mut host, runtime, "cwd"), "/proc");
        assert_eq!(ask(&mut host, runtime, "path"), common::handlers());
        assert_eq!(ask(&mut host, runtime, "utf8"), "1 utf-8");
        assert_eq!(ask(&mut host, runtime, "interval"), "0.000500");
        assert_eq!(ask(&mut host, runtime, "request"), "True False False False");
        assert_eq!(ask(&mut host, runtime, "terminate"), "-15");
        assert_eq!(ask(&mut host, runtime, "main"), "nffi:python");
        assert_eq!(ask(&mut host, runtime, "handlers"), "False");
        assert!(ask(&mut host, runtime, "signal").starts_with("signal only works in main thread"));
        let program = ask(&mut host, runtime, "program");
        assert!(program.starts_with("/usr/bin/python3") && program.ends_with(" /usr"), "{program}");
        let own = ask(&mut host, runtime, "own_thread");
        assert!(own.starts_with("nffi.request(): no request here") && own.ends_with(" | True"), "{own}");
        unload(&mut host, runtime);
    }
    let runtime = load(&mut host, BOTH[1], "");
    assert_eq!(ask(&mut host, runtime, "to_thread"), "True");
    unload(&mut host, runtime);
}

#[test]
#[ignore = "needs libpython"]
fn a_question_mark_reloads_the_module() {
    let mut host = TestHost::lock();
    let dir = std::env::temp_dir().join(format!("nffi-python-reload-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let write = |version: u32| {
        // As many bytes, in the same second: the size and the time of the file tell nothing.
        let text = format!("def f(data):\n    return 'version {version}'\n");
        std::fs::write(dir.join("versioned.py"), text).expect("a file");
        // The compiled file goes by size and second.
        let _ = std::fs::remove_dir_all(dir.join("__pycache__"));
    };
    let mut versions = Vec::new();
    for (version, handler) in [(1, "versioned:f"), (2, "versioned:f"), (3, "versioned?:f"), (4, "versioned?:f")] {
        write(version);
        let config = format!(r#"{{"handler":"{handler}","path":"{}"}}"#, dir.display());
        let runtime = try_load(&mut host, &config).expect("it starts");
        versions.push(ask(&mut host, runtime, ""));
        unload(&mut host, runtime);
    }
    assert_eq!(versions, ["version 1", "version 1", "version 3", "version 4"]);
    std::fs::remove_dir_all(dir).expect("gone");
}

#[test]
#[ignore = "needs libpython"]
fn pieces_both_ways() {
    let mut host = TestHost::lock();
    for handler in ["app:pieces", "app:pieces_async"] {
        // One thread: who waits for a piece must not need a second to be told of it.
        let runtime = load(&mut host, handler, r#""threads":"1""#);
        let stream = host.open(runtime, b"First", true, SOON).expect("open");
        assert_eq!(receive(&mut host, stream), b"fIRST");
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            assert!(host.send(stream, b"Abc"));
            assert_eq!(receive(&mut host, stream), b"aBC");
        }
        assert!(host.send_end(stream));
        assert_eq!(host.receive(stream, SOON).expect("the end"), Received::End);
        host.close(stream);
        // A plain call: the pieces are gathered.
        assert_eq!(ask(&mut host, runtime, "plain"), "PLAIN");
        unload(&mut host, runtime);
    }
}

fn receive(host: &mut TestHost, stream: nffi_testhost::StreamId) -> Vec<u8> {
    match host.receive(stream, SOON).expect("no error") {
        Received::Piece(piece) => piece,
        other => panic!("a piece expected, got {other:?}"),
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_flood_waits_for_its_reader() {
    let mut host = TestHost::lock();
    // No more than this may wait beyond the window: who does not wait overflows it.
    let settings = Settings { max_response: 1 << 20, ..Settings::default() };
    for handler in ["app:flood", "app:flood_async"] {
        let config = config(handler, r#""threads":"1""#);
        let runtime = host.load(&common::library(), config.as_bytes(), settings.clone()).expect("it starts");
        // 16 MiB through a window of 64 KiB.
        let stream = host.open(runtime, b"4096", false, SOON).expect("open");
        for number in 0..4096 {
            assert_eq!(receive(&mut host, stream)[..8], *format!("{number:08}").as_bytes());
        }
        assert_eq!(host.receive(stream, SOON).expect("the end"), Received::End);
        host.close(stream);
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn generators_yield_pieces() {
    let mut host = TestHost::lock();
    for handler in ["app:generator", "app:generator_async"] {
        let runtime = load(&mut host, handler, "");
        assert_eq!(ask(&mut host, runtime, "n"), "n0n1n2");
        let stream = host.open(runtime, b"p", false, SOON).expect("open");
        for expected in [b"p0", b"p1", b"p2"] {
            assert_eq!(receive(&mut host, stream), expected);
        }
        assert_eq!(host.receive(stream, SOON).expect("the end"), Received::End);
        host.close(stream);
        unload(&mut host, runtime);
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_stream_that_is_closed_ends_its_handler() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let runtime = load(&mut host, "app:endless", "");
    let stream = host.open(runtime, b"", false, SOON).expect("open");
    receive(&mut host, stream);
    host.close(stream);
    lines.find(&mut host, "ended by ");
    unload(&mut host, runtime);
}
