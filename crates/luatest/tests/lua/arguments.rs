//! What is refused before anything is asked of the module, and what is passed on.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

/// A VM with a runtime `rt` for the code that follows.
const RT: &str = "local rt = nffi.get('echo');";

fn with_runtime() -> Vm {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    vm
}

/// All that was asked, but for looking up the runtime.
fn asked() -> Vec<String> {
    host::journal().into_iter().filter(|line| !line.starts_with("find")).collect()
}

#[test]
fn a_request_is_a_string() {
    let vm = with_runtime();
    for (bad, kind) in [
        ("nil", "nil"),
        ("true", "boolean"),
        ("{}", "table"),
        ("print", "function"),
        ("coroutine.create(print)", "thread"),
        ("require('ffi').new('char[3]')", "cdata"),
        ("io.stdout", "userdata"),
    ] {
        let refused = format!("nil, \"bad request: string expected, got {kind}\"");
        for way in ["nffi.call('echo', ", "rt:call(", "rt:cast(", "rt:open("] {
            assert_eq!(vm.run(&format!("{RT} return {way}{bad})")), refused, "{way}");
        }
        let all = format!(
            "{RT} local rounds = {{}} for a, b, c in rt:stream({bad}) do rounds[#rounds + 1] = {{a, b, c}} end
            assert(#rounds == 1) return rounds[1][1], rounds[1][2], rounds[1][3]"
        );
        assert_eq!(vm.run(&all), format!("false, \"bad request: string expected, got {kind}\", nil"));
    }
    assert_eq!(asked(), [""; 0]);
}

#[test]
fn a_number_is_a_request_as_lua_prints_it() {
    let vm = with_runtime();
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    host::always("cast", Say::Done);
    host::always("open", Say::Done);
    host::always("receive", Say::Own("closed"));
    for (number, text) in [("12", "12"), ("-0.5", "-0.5"), ("2^53", "9.007199254741e+15"), ("1/0", "inf")] {
        assert_eq!(vm.run(&format!("return nffi.call('echo', {number})")), format!("\"{text}\""));
        assert_eq!(vm.run(&format!("{RT} return rt:cast({number})")), "true");
        assert_eq!(vm.run(&format!("{RT} return type(rt:open({number}))")), "\"table\"");
        assert_eq!(vm.run(&format!("{RT} for _ in rt:stream({number}) do end")), "");
        let asked = asked().join("\n");
        for line in [
            format!("call r1 3 \"{text}\" 0"),
            format!("cast r1 3 \"{text}\""),
            format!("open r1 3 \"{text}\" more=1"),
            format!("open r1 3 \"{text}\" more=0"),
        ] {
            assert!(asked.contains(&line), "{line}: {asked}");
        }
    }
}

const BAD_TIMEOUTS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "-0.5",
    "2^31",
    "2^31 - 0.5",
    "2^32 + 5",
    "2^53",
    "1e300",
    "1/0",
    "-1/0",
    "0/0",
    "'5'",
    "true",
    "{}",
    "print",
];

#[test]
fn a_timeout_is_a_number_of_milliseconds_up_to_nginx_s_limit() {
    let vm = with_runtime();
    for bad in BAD_TIMEOUTS {
        let opts = format!("{{ timeout = {bad} }}");
        assert_eq!(vm.run(&format!("return nffi.call('echo', 'x', {opts})")), r#"nil, "bad timeout""#, "{bad}");
        assert_eq!(vm.run(&format!("{RT} return rt:open('x', {opts})")), r#"nil, "bad timeout""#, "{bad}");
        assert_eq!(
            vm.run(&format!("{RT} for a, b, c in rt:stream('x', {opts}) do return a, b, c end")),
            r#"false, "bad timeout", nil"#,
            "{bad}"
        );
    }
    assert_eq!(asked(), [""; 0]);
}

#[test]
fn a_stream_s_own_timeouts_are_held_to_the_same() {
    let vm = with_runtime();
    host::will("open", Say::Done);
    for bad in BAD_TIMEOUTS {
        let code = format!(
            "{RT} s = s or rt:open('x') local a, b = s:receive({{ timeout = {bad} }})
            local c, d = s:send('x', {{ timeout = {bad} }}) return a, b, c, d"
        );
        assert_eq!(vm.run(&code), r#"nil, "bad timeout", nil, "bad timeout""#, "{bad}");
    }
    assert_eq!(asked(), ["open r1 3 \"x\" more=1"]);
}

#[test]
fn a_good_timeout_is_passed_on_as_it_is() {
    let vm = with_runtime();
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    for (opts, passed) in [
        ("nil", "0"),
        ("{}", "0"),
        ("{ timeout = nil }", "0"),
        ("{ timeout = 1 }", "1"),
        ("{ timeout = 0.001 }", "0.001"),
        ("{ timeout = 1000.5 }", "1000.5"),
        ("{ timeout = 2147483646.5 }", "2147483646.5"),
        ("{ timeout = 2^31 - 1 }", "2147483647"),
    ] {
        assert_eq!(vm.run(&format!("return nffi.call('echo', 'x', {opts})")), "\"x\"");
        assert_eq!(asked()[0], format!("call r1 3 \"x\" {passed}"));
    }
}

#[test]
fn options_are_a_table() {
    let vm = with_runtime();
    host::will("open", Say::Done);
    for (bad, kind) in [("500", "number"), ("'500'", "string"), ("true", "boolean"), ("print", "function")] {
        let refused = format!("nil, \"bad options: table expected, got {kind}\"");
        for code in [
            format!("return nffi.call('echo', 'x', {bad})"),
            format!("{RT} return rt:call('x', {bad})"),
            format!("{RT} return rt:open('x', {bad})"),
            format!("return nffi.load('libx.so', '', {bad})"),
            format!("{RT} s = s or rt:open('x') return s:receive({bad})"),
            format!("return s:send('x', {bad})"),
        ] {
            assert_eq!(vm.run(&code), refused, "{code}");
        }
    }
    assert_eq!(asked(), ["open r1 3 \"x\" more=1"]);
}

#[test]
fn a_name_is_a_string() {
    let vm = Vm::new();
    for bad in ["nil", "12", "{}", "0/0", "true"] {
        assert_eq!(vm.run(&format!("return nffi.get({bad})")), r#"nil, "no such runtime""#, "{bad}");
        assert_eq!(vm.run(&format!("return nffi.call({bad}, 'x')")), r#"nil, "no such runtime""#, "{bad}");
    }
    assert_eq!(host::journal(), [""; 0]);
}

#[test]
fn a_direction_is_send() {
    let vm = with_runtime();
    host::will("open", Say::Done);
    for bad in ["", "nil", "'receive'", "'both'", "1"] {
        let code = format!("{RT} s = s or rt:open('x') return s:shutdown({bad})");
        assert_eq!(vm.run(&code), r#"nil, "bad direction: \"send\" expected""#);
    }
    assert_eq!(asked(), ["open r1 3 \"x\" more=1"]);
}
