//! Streams both ways: open, send, receive, shutdown, close.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

/// A VM in which a stream opens, in code that follows OPEN.
fn opening() -> Vm {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("open", Say::Done);
    vm
}

const OPEN: &str = "local s = assert(nffi.get('up'):open('head'));";

/// What happened after the stream was opened; it is still open.
fn then() -> Vec<String> {
    host::journal().into_iter().filter(|line| !line.starts_with("find") && !line.starts_with("open")).collect()
}

#[test]
fn opening_says_that_more_follows() {
    let vm = opening();
    assert_eq!(vm.run("s = nffi.get('up'):open('head') return type(s)"), "\"table\"");
    assert_eq!(host::journal(), ["find \"up\"", "open r1 3 \"head\" more=1"], "and sleeps nowhere");
}

#[test]
fn what_does_not_open_is_an_error_and_is_not_closed() {
    for words in ["queue full", "request too large", "unloaded", "no memory"] {
        let vm = Vm::new();
        host::will("find", Say::Number(3));
        host::will("open", Say::Own(words));
        assert_eq!(vm.run("return nffi.get('up'):open('x')"), format!("nil, \"{words}\""));
        vm.outside("collectgarbage() collectgarbage()");
        assert_eq!(host::journal().len(), 2);
    }
}

#[test]
fn a_piece_that_is_there_is_received_at_once() {
    let vm = opening();
    host::will("receive", Say::Data(b"one".to_vec()));
    host::will("receive", Say::Data(Vec::new()));
    host::will("receive", Say::Data(b"a\0\xff".to_vec()));
    let code = format!("{OPEN} keep = s return s:receive(), s:receive(), s:receive()");
    assert_eq!(vm.run(&code), r#""one", "", "a\x00\xff""#);
    assert_eq!(then(), ["receive s1"; 3]);
}

#[test]
fn receiving_sleeps_until_there_is_a_piece() {
    let vm = opening();
    host::will("receive", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("resumed", Say::Done);
    host::will("receive", Say::Data(b"one".to_vec()));
    assert_eq!(vm.run(&format!("{OPEN} keep = s return s:receive()")), "\"one\"");
    assert_eq!(then(), ["receive s1", "wait s1 r1 receive 0", "yield", "resumed s1 receive", "receive s1"]);
}

#[test]
fn news_that_is_no_piece_is_slept_over() {
    let vm = opening();
    for _ in 0..3 {
        host::will("receive", Say::Yield);
        host::will("wait", Say::Yield);
        host::will("resumed", Say::Done);
    }
    host::will("receive", Say::Own("closed"));
    assert_eq!(vm.run(&format!("{OPEN} keep = s return s:receive()")), r#"nil, "closed""#);
    assert_eq!(then().iter().filter(|line| *line == "yield").count(), 3);
}

#[test]
fn the_end_is_closed_and_stays_so() {
    let vm = opening();
    host::always("receive", Say::Own("closed"));
    let code = format!("{OPEN} keep = s s:receive() return s:receive()");
    assert_eq!(vm.run(&code), r#"nil, "closed""#, "two values");
}

#[test]
fn an_error_of_the_runtime_has_its_status() {
    let vm = opening();
    host::will("receive", Say::Runtime(17, b"disk full".to_vec()));
    host::will("receive", Say::Own("answer too large"));
    let code = format!(
        "{OPEN} keep = s local function show(...) return select('#', ...), ... end
        local a = {{ show(s:receive()) }}
        return a[1], a[2], a[3], a[4], show(s:receive())"
    );
    assert_eq!(vm.run(&code), r#"3, nil, "disk full", 17, 2, nil, "answer too large""#);
}

#[test]
fn a_timeout_leaves_the_stream_as_it_was() {
    let vm = opening();
    host::will("receive", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("resumed", Say::Own("timeout"));
    host::will("receive", Say::Data(b"late".to_vec()));
    let code = format!("{OPEN} keep = s local a, b, c = s:receive({{ timeout = 20 }}) return a, b, c, s:receive()");
    assert_eq!(vm.run(&code), r#"nil, "timeout", nil, "late""#);
    assert_eq!(then(), ["receive s1", "wait s1 r1 receive 20", "yield", "resumed s1 receive", "receive s1"]);
}

#[test]
fn a_wait_s_timeout_is_its_own_or_the_stream_s_or_the_runtime_s() {
    for (open, wait, passed) in [
        ("nil", "nil", "0"),
        ("{}", "{}", "0"),
        ("{ timeout = 300 }", "nil", "300"),
        ("{ timeout = 300 }", "{}", "300"),
        ("{ timeout = 300 }", "{ timeout = 0.5 }", "0.5"),
        ("nil", "{ timeout = 2^31 - 1 }", "2147483647"),
    ] {
        let vm = opening();
        host::will("receive", Say::Yield);
        host::will("send", Say::Yield);
        host::will("wait", Say::Own("enough"));
        host::will("wait", Say::Own("enough"));
        vm.run(&format!("keep = nffi.get('up'):open('x', {open}) keep:receive({wait}) keep:send('x', {wait})"));
        assert_eq!(
            then(),
            [
                "receive s1".to_owned(),
                format!("wait s1 r1 receive {passed}"),
                "send s1 \"x\"".to_owned(),
                format!("wait s1 r1 send {passed}"),
            ]
        );
    }
}

#[test]
fn a_wait_that_is_refused_is_not_yielded() {
    let vm = opening();
    let busy = "busy: another coroutine waits on this side of the stream";
    host::always("receive", Say::Yield);
    host::always("send", Say::Yield);
    host::always("wait", Say::Own(busy));
    let code =
        format!("{OPEN} keep = s local a, b, c = s:receive() local d, e, f = s:send('x') return a, b, c, d, e, f");
    assert_eq!(vm.run(&code), format!("nil, \"{busy}\", nil, nil, \"{busy}\", nil"));
    assert!(!then().contains(&"yield".to_owned()));
}

#[test]
fn sending_into_an_open_window_returns_at_once() {
    let vm = opening();
    host::always("send", Say::Done);
    let code = format!(r"{OPEN} keep = s return s:send('one'), s:send(''), s:send('\0\255'), s:send(12)");
    assert_eq!(vm.run(&code), "true, true, true, true");
    assert_eq!(then(), [r#"send s1 "one""#, r#"send s1 """#, r#"send s1 "\x00\xff""#, r#"send s1 "12""#]);
}

#[test]
fn sending_past_the_window_sleeps_until_there_is_room() {
    let vm = opening();
    host::will("send", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("resumed", Say::Done);
    assert_eq!(vm.run(&format!("{OPEN} keep = s return s:send('much')")), "true");
    assert_eq!(then(), ["send s1 \"much\"", "wait s1 r1 send 0", "yield", "resumed s1 send"], "it is sent once");
}

#[test]
fn sending_fails_with_the_reason() {
    for words in ["closed", "request too large", "no memory"] {
        let vm = opening();
        host::will("send", Say::Own(words));
        assert_eq!(vm.run(&format!("{OPEN} keep = s return s:send('x')")), format!("nil, \"{words}\""));
    }
    for words in ["timeout", "closed"] {
        let vm = opening();
        host::will("send", Say::Yield);
        host::will("wait", Say::Yield);
        host::will("resumed", Say::Own(words));
        assert_eq!(vm.run(&format!("{OPEN} keep = s return s:send('x')")), format!("nil, \"{words}\""));
    }
}

#[test]
fn a_piece_is_a_string() {
    let vm = opening();
    let code = format!("{OPEN} keep = s local a, b = s:send() local c, d = s:send({{}}) return a, b, c, d");
    assert_eq!(
        vm.run(&code),
        r#"nil, "bad request: string expected, got nil", nil, "bad request: string expected, got table""#
    );
    assert_eq!(then(), [""; 0]);
}

#[test]
fn shutdown_ends_the_request_not_the_answer() {
    let vm = opening();
    host::will("shutdown", Say::Done);
    host::will("shutdown", Say::Own("closed"));
    host::will("receive", Say::Data(b"rest".to_vec()));
    let code = format!("{OPEN} keep = s return s:shutdown('send'), s:receive(), s:shutdown('send')");
    assert_eq!(vm.run(&code), r#"true, "rest", nil, "closed""#);
    assert_eq!(then(), ["shutdown s1", "receive s1", "shutdown s1"]);
}

#[test]
fn two_coroutines_use_the_two_sides() {
    let vm = opening();
    host::will("receive", Say::Yield);
    host::will("send", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("resumed", Say::Done);
    host::will("resumed", Say::Done);
    host::will("receive", Say::Data(b"pong".to_vec()));
    vm.run(&format!("{OPEN} keep = s"));
    host::journal();
    assert_eq!(vm.together(&["return keep:receive()", "return keep:send('ping')"]), ["\"pong\"", "true"]);
    let sides: Vec<_> = then().into_iter().filter(|line| line.starts_with("wait")).collect();
    assert_eq!(sides, ["wait s1 r1 receive 0", "wait s1 r1 send 0"]);
}

#[test]
fn close_may_be_called_twice_and_closes_once() {
    let vm = opening();
    assert_eq!(vm.run(&format!("{OPEN} return s:close(), s:close()")), "true, true");
    vm.outside("collectgarbage() collectgarbage()");
    assert_eq!(then(), ["close s1"]);
}

#[test]
fn after_close_everything_is_closed() {
    let vm = opening();
    let code = format!(
        "{OPEN} s:close() local function second(_, err) return err end
        return second(s:send('x')), second(s:receive()), second(s:shutdown('send'))"
    );
    assert_eq!(vm.run(&code), r#""closed", "closed", "closed""#);
}

#[test]
fn a_stream_closed_while_another_waits_on_it_ends_the_wait() {
    let vm = opening();
    host::will("receive", Say::Yield);
    host::will("wait", Say::Yield);
    vm.run(&format!("{OPEN} keep = s"));
    assert_eq!(vm.together(&["return keep:receive()", "return keep:close()"]), [r#"nil, "closed""#, "true"]);
}

#[test]
fn a_stream_that_is_forgotten_is_closed_by_the_collector() {
    let vm = opening();
    vm.run(&format!("{OPEN} keep = s"));
    vm.outside("collectgarbage() collectgarbage()");
    assert_eq!(then(), [""; 0], "not while it is held");
    vm.outside("keep = nil collectgarbage() collectgarbage()");
    assert_eq!(then(), ["close s1"]);
}

#[test]
fn streams_that_a_vm_leaves_behind_are_closed_with_it() {
    let vm = opening();
    vm.run("keep = { nffi.get('up'):open('a'), nffi.get('up'):open('b') } keep[1]:close()");
    assert_eq!(then(), ["close s1"]);
    drop(vm);
    assert_eq!(then(), ["close s2"]);
}

#[test]
fn streams_do_not_share_what_they_are() {
    let vm = opening();
    host::always("send", Say::Done);
    vm.run("a, b = nffi.get('up'):open('x'), nffi.get('up'):open('y') a:send('1') b:send('2') a:close() b:send('3')");
    assert_eq!(then(), ["send s1 \"1\"", "send s2 \"2\"", "close s1", "send s2 \"3\""]);
}
