//! Messages through functions, and each limit with a function that does not keep it.

use std::{
    collections::BTreeSet,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use nffi_testhost::{CallError, TestHost};
use nffi_wasm_tests::{ECHO, Lines, SOON, Scratch, ask, fails, load, program, refused, unload};

#[test]
fn an_echo() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("echo"));
    let echo = load(&mut host, &scratch.function("echo.wasm", &program(ECHO)), "");
    for size in [0, 1, 1000, 32768, 32769, 1 << 20] {
        let request: Vec<u8> = (0..size).map(|n| (n * 7 % 256) as u8).collect();
        assert!(host.call(echo, &request, SOON).unwrap() == request, "{size} bytes");
    }
    let mut calls: Vec<_> = (0..500).map(|n| host.submit(echo, format!("{n}").as_bytes(), SOON).unwrap()).collect();
    let mut answers = BTreeSet::new();
    while !calls.is_empty() {
        for (_, answer) in host.wait_any(&mut calls) {
            answers.insert(String::from_utf8(answer.unwrap()).unwrap());
        }
    }
    assert_eq!(answers.len(), 500);
    unload(&mut host, echo);
}

#[test]
fn every_request_has_an_instance_of_its_own() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("fresh"));
    // Counts in its memory; a second request would see the first one's.
    let body = "(i32.store8 (i32.const 4096) (i32.add (i32.load8_u (i32.const 4096)) (i32.const 1)))
                (call $number (i32.load8_u (i32.const 4096)))";
    let counter = load(&mut host, &scratch.function("c.wasm", &program(body)), r#""threads":"1""#);
    for _ in 0..20 {
        assert_eq!(ask(&mut host, counter, ""), "01");
    }
    unload(&mut host, counter);
}

#[test]
fn an_endless_loop_is_stopped() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("loop"));
    let file = scratch.function("loop.wasm", &program("(loop $l (br $l))"));
    let looping = load(&mut host, &file, r#""time_limit":"100ms""#);
    assert_eq!(fails(&mut host, looping, ""), "the function was stopped after 100 ms (time_limit)");
    unload(&mut host, looping);
    // Without a limit: when its caller has gone.
    let looping = load(&mut host, &file, r#""time_limit":"off","threads":"1""#);
    assert_eq!(host.call(looping, b"", Duration::from_millis(100)), Err(CallError::Timeout));
    unload(&mut host, looping);
}

#[test]
fn a_long_function_does_not_hold_up_others() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("fair"));
    // 'x' loops for ever.
    let body = "(drop (call $read))
        (if (i32.eq (i32.load8_u (i32.const 32768)) (i32.const 120)) (then (loop $l (br $l)))) (call $say (i32.const 1))";
    let mixed = load(&mut host, &scratch.function("m.wasm", &program(body)), r#""threads":"1","time_limit":"10s""#);
    let long = host.submit(mixed, b"x", SOON).unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&mut host, mixed, "a"), "a");
    }
    assert_eq!(host.in_flight(mixed), 1);
    host.cancel(long);
    unload(&mut host, mixed);
}

#[test]
fn sleepers_take_no_thread() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("sleep"));
    let file = scratch.function("s.wasm", &program("(call $sleep (i64.const 300000000)) (call $number (i32.const 7))"));
    let sleeping = load(&mut host, &file, r#""threads":"1","instances":"100""#);
    let begun = Instant::now();
    let mut calls: Vec<_> = (0..100).map(|_| host.submit(sleeping, b"", SOON).unwrap()).collect();
    while !calls.is_empty() {
        for (_, answer) in host.wait_any(&mut calls) {
            assert_eq!(answer.unwrap(), b"07");
        }
    }
    let took = begun.elapsed();
    // One after the other it would be half a minute.
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&took), "{took:?}");
    unload(&mut host, sleeping);
    let file = scratch.function("t.wasm", &program("(call $sleep (i64.const 3600000000000))"));
    let sleeping = load(&mut host, &file, r#""time_limit":"50ms""#);
    assert!(fails(&mut host, sleeping, "").contains("time_limit"));
    unload(&mut host, sleeping);
}

#[test]
fn past_the_instances_requests_wait() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("few"));
    let file = scratch.function("s.wasm", &program("(call $sleep (i64.const 20000000)) (call $number (i32.const 7))"));
    let sleeping = load(&mut host, &file, r#""instances":"2""#);
    let mut calls: Vec<_> = (0..20).map(|_| host.submit(sleeping, b"", SOON).unwrap()).collect();
    let begun = Instant::now();
    while !calls.is_empty() {
        for (_, answer) in host.wait_any(&mut calls) {
            assert_eq!(answer.unwrap(), b"07");
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}: more than two at a time", begun.elapsed());
    unload(&mut host, sleeping);
}

/// A reactor that takes random numbers when it starts, and says them.
fn reactor(initialize: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $starts (mut i32) (i32.const 48))
  (func (export "_initialize")
    (global.set $starts (i32.add (global.get $starts) (i32.const 1)))
    (drop (call $random (i32.const 32) (i32.const 16)))
    (drop (memory.grow (i32.const 1)))
    (i32.store8 (i32.const 70000) (i32.const 33))
    {initialize})
  (func (export "handle") (local $n i32)
    (i32.store8 (i32.const 16) (global.get $starts))
    (i32.store8 (i32.const 17) (i32.load8_u (i32.const 70000)))
    (loop $letters
      (i32.store8 (i32.add (i32.const 18) (local.get $n))
        (i32.add (i32.const 97) (i32.rem_u (i32.load8_u (i32.add (i32.const 32) (local.get $n))) (i32.const 26))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $letters (i32.lt_u (local.get $n) (i32.const 14))))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 16))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

#[test]
fn a_reactor_is_initialised_for_each_request_or_once() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("reactor"));
    let file = scratch.function("reactor.wasm", &reactor(""));
    let each = load(&mut host, &file, "");
    let answers: BTreeSet<_> = (0..3).map(|_| ask(&mut host, each, "")).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    unload(&mut host, each);
    let cache = format!(r#""cache":"{}","snapshot":"on""#, scratch.0.join("cache").display());
    let mut once = String::new();
    // The second time it comes from the cache.
    for _ in 0..2 {
        let runtime = load(&mut host, &file, &cache);
        let answers: BTreeSet<_> = (0..3).map(|_| ask(&mut host, runtime, "")).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let answer = answers.into_iter().next().unwrap();
        assert!(answer.starts_with("1!"), "{answer}");
        assert!(once.is_empty() || once == answer, "{once} {answer}");
        once = answer;
        unload(&mut host, runtime);
    }
    // What it has seen is part of it.
    let other = load(&mut host, &file, &format!(r#"{cache},"guest_env":"A=1""#));
    assert_ne!(ask(&mut host, other, ""), once);
    unload(&mut host, other);
}

#[test]
fn a_command_says_what_to_run_once() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("wizer"));
    let text = program("(call $number (global.get $seen))").replace(
        "(func $main",
        r#"(global $seen (mut i32) (i32.const 0))
           (func (export "wizer-initialize") (global.set $seen (i32.add (global.get $seen) (i32.const 42))))
           (func $main"#,
    );
    let file = scratch.function("command.wasm", &text);
    let plain = load(&mut host, &file, "");
    assert_eq!(ask(&mut host, plain, ""), "00");
    unload(&mut host, plain);
    let snapshot = load(&mut host, &file, r#""snapshot":"on""#);
    assert_eq!(ask(&mut host, snapshot, ""), "42");
    unload(&mut host, snapshot);
}

/// What Wizer's header for C makes of a program: `wizer.resume` is main() without what comes before it, which
/// `wizer-initialize` has done.
#[test]
fn a_snapshot_goes_on_at_wizer_resume() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("resume"));
    let text = program("(call $begin) (call $number (global.get $seen))").replace(
        "(func $main",
        r#"(global $seen (mut i32) (i32.const 0))
           (func $begin (global.set $seen (i32.add (global.get $seen) (i32.const 30)))
             (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 5))))
           (func (export "wizer-initialize") (call $begin))
           (func (export "wizer.resume") (call $number (i32.add (global.get $seen) (i32.load (i32.const 512)))))
           (func $main"#,
    );
    let file = scratch.function("resume.wasm", &text);
    let plain = load(&mut host, &file, "");
    assert_eq!(ask(&mut host, plain, ""), "30", "_start, which begins anew");
    unload(&mut host, plain);
    let cache = format!(r#""cache":"{}","snapshot":"on""#, scratch.0.join("cache").display());
    // The second time it comes from the cache; each request from the same state.
    for _ in 0..2 {
        let snapshot = load(&mut host, &file, &cache);
        for _ in 0..3 {
            assert_eq!(ask(&mut host, snapshot, ""), "35", "wizer.resume, and memory and globals as they were");
        }
        unload(&mut host, snapshot);
    }
    // As Wizer itself: another name for the entry is the user's to choose.
    let entry = load(&mut host, &file, r#""entry":"wizer.resume""#);
    assert_eq!(ask(&mut host, entry, ""), "00", "not initialised");
    unload(&mut host, entry);
}

#[test]
fn an_initialisation_has_limits() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("init"));
    let file = |initialize: &str| scratch.function("init.wasm", &reactor(initialize));
    let snapshot = r#""snapshot":"on","time_limit":"100ms""#;
    for (initialize, why) in [
        ("unreachable", "snapshot: the function failed: unreachable"),
        ("(loop $l (br $l))", "snapshot: the function was stopped after 100 ms (time_limit)"),
    ] {
        let said = refused(&mut host, &file(initialize), snapshot);
        assert!(said.contains(why), "{said}");
    }
    let command = scratch.function("command.wasm", &program(ECHO));
    let said = refused(&mut host, &command, snapshot);
    assert!(said.contains("snapshot: exports neither _initialize, as a reactor does, nor wizer-initialize"), "{said}");
    let said = refused(&mut host, &file(""), r#""entry":"answer""#);
    assert!(said.contains("does not export the function answer, which answers requests"), "{said}");
}

#[test]
fn a_memory_bomb_is_stopped() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("bomb"));
    let lines = Lines::of(&mut host);
    // Says how many pages it got, then asks for more until it gets none, and traps.
    let file = scratch.function(
        "bomb.wasm",
        &program("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"),
    );
    let bomb = load(&mut host, &file, r#""memory_limit":"1m""#);
    assert!(fails(&mut host, bomb, "").starts_with("the function failed: "));
    lines.find(&mut host, "more memory than 1048576 bytes was asked for and refused (memory_limit)");
    unload(&mut host, bomb);
    let file = scratch.function(
        "pages.wasm",
        &program(
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (call $number (memory.size))",
        ),
    );
    let pages = load(&mut host, &file, r#""memory_limit":"1m""#);
    assert_eq!(ask(&mut host, pages, ""), "16");
    unload(&mut host, pages);
    let big = "(module (memory (export \"memory\") 17) (func (export \"_start\")))";
    let said = refused(&mut host, &scratch.function("big.wasm", big), r#""memory_limit":"1m""#);
    assert!(
        said.contains("needs 1114112 bytes of memory to begin with, more than the memory_limit of 1048576"),
        "{said}"
    );
}

#[test]
fn a_flood_is_stopped() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("flood"));
    let file = scratch.function("flood.wasm", &program("(loop $l (call $say (i32.const 30000)) (br $l))"));
    let flood = load(&mut host, &file, r#""max_output":"100k""#);
    assert_eq!(fails(&mut host, flood, ""), "the function wrote more than 102400 bytes (max_output)");
    unload(&mut host, flood);
    let flood = load(
        &mut host,
        &scratch.function("one.wasm", &program("(call $say (i32.const 1000))")),
        r#""max_output":"1000""#,
    );
    assert_eq!(ask(&mut host, flood, "").len(), 1000);
    unload(&mut host, flood);
}

#[test]
fn endless_recursion_is_stopped() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("stack"));
    let file = scratch.function("deep.wasm", &program("(call $main) (call $main)"));
    for stack in ["16k", "512k", "8m"] {
        let deep = load(&mut host, &file, &format!(r#""max_stack":"{stack}""#));
        assert_eq!(fails(&mut host, deep, ""), "the function failed: its stack is used up (max_stack)");
        unload(&mut host, deep);
    }
}

#[test]
fn fuel() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("fuel"));
    let file = scratch.function("loop.wasm", &program("(loop $l (br $l))"));
    let looping = load(&mut host, &file, r#""fuel":"100000""#);
    assert_eq!(fails(&mut host, looping, ""), "the function failed: its fuel is used up");
    unload(&mut host, looping);
    let echo = load(&mut host, &scratch.function("echo.wasm", &program(ECHO)), r#""fuel":"100000""#);
    for _ in 0..3 {
        assert_eq!(ask(&mut host, echo, "hi"), "hi");
    }
    unload(&mut host, echo);
}

#[test]
fn exits_and_traps() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("exits"));
    let lines = Lines::of(&mut host);
    let zero = load(
        &mut host,
        &scratch.function("z.wasm", &program("(call $number (i32.const 1)) (call $exit (i32.const 0))")),
        "",
    );
    assert_eq!(ask(&mut host, zero, ""), "01");
    unload(&mut host, zero);
    let three = load(
        &mut host,
        &scratch.function("t.wasm", &program("(call $number (i32.const 1)) (call $exit (i32.const 3))")),
        "",
    );
    assert_eq!(fails(&mut host, three, ""), "the function ended with exit code 3");
    unload(&mut host, three);
    let trap = r#"(module (memory (export "memory") 1)
      (func $deep_down (drop (i32.load (i32.const 70000)))) (func $outer (export "_start") (call $deep_down)))"#;
    let trapping = load(&mut host, &scratch.function("trap.wasm", trap), "");
    let said = fails(&mut host, trapping, "");
    assert_eq!(said, "the function failed: out of bounds memory access");
    let (level, call, _) = lines.find(&mut host, "0: deep_down");
    assert_eq!(level, 3);
    assert_ne!(call, 0, "the line is of no call");
    lines.find(&mut host, "1: outer");
    unload(&mut host, trapping);
}

#[test]
fn stderr_is_the_error_log() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("stderr"));
    let lines = Lines::of(&mut host);
    let file =
        scratch.function("e.wasm", &program("(drop (call $write (i32.const 2) (i32.const 256) (i32.const 18)))"));
    let runtime = load(&mut host, &file, r#""log_level":"warn""#);
    assert_eq!(ask(&mut host, runtime, ""), "");
    let (level, call, line) = lines.find(&mut host, "a line");
    assert_eq!((level, line.as_str()), (4, "a line"));
    assert_ne!(call, 0);
    assert_eq!(lines.find(&mut host, "and another").2, "and another");
    unload(&mut host, runtime);
    let file = scratch.function(
        "f.wasm",
        &program(
            "(local $n i32) (loop $l
        (drop (call $write (i32.const 2) (i32.const 256) (i32.const 7)))
        (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 100000))))",
        ),
    );
    let runtime = load(&mut host, &file, "");
    assert_eq!(ask(&mut host, runtime, ""), "");
    lines.find(&mut host, "(stderr: more than 65536 bytes, the rest is dropped)");
    unload(&mut host, runtime);
}

#[test]
fn nothing_is_seen_that_was_not_given() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("env"));
    let print = |sizes: &str, get: &str| {
        program(&format!(
            "(drop (call {sizes} (i32.const 512) (i32.const 516))) (drop (call {get} (i32.const 1024) (i32.const 32768)))
             (call $say (i32.load (i32.const 516)))"
        ))
    };
    let file = scratch.function("env.wasm", &print("$env_sizes", "$env"));
    let none = load(&mut host, &file, "");
    assert_eq!(ask(&mut host, none, ""), "");
    unload(&mut host, none);
    let some = load(&mut host, &file, r#""guest_env":[["A","1"],["B","two words"]]"#);
    assert_eq!(ask(&mut host, some, ""), "A=1\0B=two words\0");
    unload(&mut host, some);
    let args = load(&mut host, &scratch.function("args.wasm", &print("$args_sizes", "$args")), r#""arg":["-v","x"]"#);
    assert_eq!(ask(&mut host, args, ""), "args.wasm\0-v\0x\0");
    unload(&mut host, args);
}

/// Opens the path of the request below descriptor 3; answers with its bytes, or the error number.
fn opener(rights: u32, how: u32) -> String {
    program(&format!(
        "(local $n i32) (local $rc i32) (local.set $n (call $read))
         (local.set $rc (call $open (i32.const 3) (i32.const 1) (i32.const 32768) (local.get $n) (i32.const {how})
           (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 512)))
         (if (local.get $rc) (then (call $number (local.get $rc)) (return)))
         (i32.store (i32.const 0) (i32.const 32768)) (i32.store (i32.const 4) (i32.const 100))
         (local.set $rc (call $fd_read (i32.load (i32.const 512)) (i32.const 0) (i32.const 1) (i32.const 8)))
         (if (local.get $rc) (then (call $number (local.get $rc)) (return)))
         (call $say (i32.load (i32.const 8)))"
    ))
}

#[test]
fn folders_are_not_left() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("dirs"));
    let (inside, outside) = (scratch.0.join("inside"), scratch.0.join("outside"));
    std::fs::create_dir_all(inside.join("deeper")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(inside.join("file"), "in").unwrap();
    std::fs::write(outside.join("secret"), "out").unwrap();
    symlink("file", inside.join("near")).unwrap();
    symlink(outside.join("secret"), inside.join("far")).unwrap();
    symlink("../outside", inside.join("away")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let granted = format!(r#""dir":[["{}","/data","ro"]]"#, inside.display());

    let reader = scratch.function("r.wasm", &opener(2, 0));
    let none = load(&mut host, &reader, "");
    assert_eq!(ask(&mut host, none, "file"), "08", "a descriptor that is not there: BADF");
    unload(&mut host, none);
    let read = load(&mut host, &reader, &granted);
    for path in ["file", "near", "./file", "deeper/../file"] {
        assert_eq!(ask(&mut host, read, path), "in", "{path}");
    }
    for path in [
        "../outside/secret",
        "far",
        "away/secret",
        "/etc/passwd",
        "deeper/../../outside/secret",
        "..",
        "/proc/self/root",
    ] {
        assert_eq!(ask(&mut host, read, path), "76", "{path}");
    }
    assert_eq!(ask(&mut host, read, "missing"), "44");
    assert_eq!(ask(&mut host, read, "loop"), "32");
    unload(&mut host, read);

    let writer = scratch.function("w.wasm", &opener(1 << 6, 1));
    let read_only = load(&mut host, &writer, &granted);
    assert_eq!(ask(&mut host, read_only, "new"), "69");
    assert!(!inside.join("new").exists());
    unload(&mut host, read_only);
    let writes = load(&mut host, &writer, &format!(r#""dir":[["{}","/data"]]"#, inside.display()));
    // Opened to be written to, so it cannot be read.
    assert_eq!(ask(&mut host, writes, "new"), "08");
    assert!(inside.join("new").exists());
    assert_eq!(ask(&mut host, writes, "../outside/new"), "76");
    assert!(!outside.join("new").exists());
    unload(&mut host, writes);
    let said = refused(&mut host, &reader, r#""dir":[["/no/such/folder","/x"]]"#);
    assert!(said.contains("dir /no/such/folder: No such file"), "{said}");
}

#[test]
fn modules_that_cannot_run_are_refused() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("refused"));
    for (wat, why) in [
        (r#"(module (memory (export "memory") 1))"#, "does not export the function _start"),
        (r#"(module (func (export "_start")))"#, "does not export its memory"),
        (r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#, "has a 64-bit memory"),
        (
            r#"(module (import "env" "a" (func)) (import "env" "b" (func)) (import "wasi_snapshot_preview1" "fd_eat" (func))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory (export "memory") 1) (func (export "_start")))"#,
            "imports what is not there: env.a, env.b, wasi_snapshot_preview1.fd_eat. Only",
        ),
        (
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func)) (memory (export "memory") 1)
            (func (export "_start")))"#,
            "incompatible import type",
        ),
        (r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#, "_start takes"),
        ("(component)", "is a component"),
    ] {
        let said = refused(&mut host, &scratch.function("m.wasm", wat), "");
        assert!(said.contains(why), "{wat}: {said}");
    }
    for (bytes, why) in [
        (&b""[..], "is not WebAssembly"),
        (b"#!/bin/sh", "is not WebAssembly"),
        (b" (module)", "is WebAssembly text"),
        (b"\0asm\x01\0\0\0\xff\xff", "is broken"),
    ] {
        let said = refused(&mut host, &scratch.file("m.wasm", bytes), "");
        assert!(said.contains(why), "{bytes:?}: {said}");
    }
    let said = refused(&mut host, &scratch.0.join("none.wasm"), "");
    assert!(said.contains("none.wasm: No such file"), "{said}");
    let said = refused(&mut host, &scratch.0, "");
    assert!(said.contains("is not a file"), "{said}");
}

#[test]
fn http_requests_are_for_the_other_interfaces() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("kinds"));
    let echo = load(&mut host, &scratch.function("echo.wasm", &program(ECHO)), r#""interface":"wasi""#);
    assert_eq!(fails(&mut host, echo, "hi"), "takes HTTP requests (nffi_pass), not messages (nffi.call)");
    unload(&mut host, echo);
}

#[test]
fn what_takes_long_to_compile_has_its_time_for_the_snapshot() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("slow-to-compile"));
    let many: String = (0..10_000)
        .map(|n| format!("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))"))
        .collect();
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_initialize")) (func (export "handle")) {many})"#
    );
    let file = scratch.function("slow.wasm", &text);
    let runtime = load(&mut host, &file, r#""snapshot":"on","time_limit":"200ms""#);
    assert_eq!(ask(&mut host, runtime, ""), "");
    unload(&mut host, runtime);
}
