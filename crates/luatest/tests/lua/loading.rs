//! nffi.load: its arguments and options, and how it waits for the runtime's init.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

#[test]
fn a_library_and_a_configuration_are_strings() {
    let vm = Vm::new();
    for (arguments, error) in [
        ("", "bad library: string expected, got nil"),
        ("12", "bad library: string expected, got number"),
        ("{}", "bad library: string expected, got table"),
        ("''", "bad library: its name is empty"),
        ("'libx.so', 12", "bad configuration: string expected, got number"),
        ("'libx.so', {}", "bad configuration: string expected, got table"),
        ("'libx.so', false", "bad configuration: string expected, got boolean"),
    ] {
        assert_eq!(vm.run(&format!("return nffi.load({arguments})")), format!("nil, \"{error}\""), "{arguments}");
    }
    assert_eq!(host::journal(), [""; 0]);
}

#[test]
fn an_option_is_one_that_there_is() {
    let vm = Vm::new();
    for (options, error) in [
        ("{ queu = 1 }", r#"bad option: \"queu\" is not known"#),
        ("{ Queue = 1 }", r#"bad option: \"Queue\" is not known"#),
        ("{ 5 }", r#"bad option: \"1\" is not known"#),
        ("{ [true] = 5 }", r#"bad option: \"true\" is not known"#),
        ("{ config = '' }", r#"bad option: \"config\" is not known"#),
    ] {
        assert_eq!(vm.run(&format!("return nffi.load('libx.so', '', {options})")), format!("nil, \"{error}\""));
    }
    assert_eq!(host::journal(), [""; 0]);
}

#[test]
fn an_option_is_a_number() {
    let vm = Vm::new();
    for option in ["queue", "tasks", "timeout", "stop_timeout", "max_request", "max_response", "spin"] {
        for bad in ["'5'", "'64m'", "true", "{}", "0/0"] {
            let code = format!("return nffi.load('libx.so', '', {{ {option} = {bad} }})");
            assert_eq!(vm.run(&code), format!(r#"nil, "bad option: \"{option}\" is no number""#), "{bad}");
        }
    }
    assert_eq!(host::journal(), [""; 0]);
}

#[test]
fn options_are_passed_on_as_they_are() {
    let vm = Vm::new();
    host::always("load", Say::Own("enough"));
    for (arguments, line) in [
        ("'libx.so'", r#"load "libx.so" """#),
        ("'libx.so', nil, nil", r#"load "libx.so" """#),
        (r"'/lib/x.so', 'a\0b', {}", r#"load "/lib/x.so" "a\x00b""#),
        (
            "'libx.so', 'c', { queue = 1, tasks = 2, timeout = 3.5, stop_timeout = 4, max_request = 0, max_response = 6, spin = 7 }",
            r#"load "libx.so" "c" queue=1 tasks=2 timeout=3.5 stop_timeout=4 max_request=0 max_response=6 spin=7"#,
        ),
        // Whether they make sense is the module's to say.
        ("'libx.so', '', { queue = -1, spin = 1/0 }", r#"load "libx.so" "" queue=-1 spin=inf"#),
    ] {
        assert_eq!(vm.run(&format!("return nffi.load({arguments})")), r#"nil, "enough""#);
        assert_eq!(host::journal(), [line]);
    }
}

const LOAD: &str = "local rt, err, status = nffi.load('libx.so') if not rt then return rt, err, status end
    return rt.number, rt.library";

#[test]
fn a_runtime_that_is_ready_is_returned_at_once() {
    let vm = Vm::new();
    host::will("load", Say::Number(4));
    host::will("ready", Say::Done);
    assert_eq!(vm.run(LOAD), r#"4, "libx.so""#);
    assert_eq!(host::journal(), [r#"load "libx.so" """#, "ready r1 4"]);
}

#[test]
fn one_that_is_not_is_waited_for() {
    let vm = Vm::new();
    host::will("load", Say::Number(4));
    host::will("ready", Say::Yield);
    host::will("ready", Say::Done);
    assert_eq!(vm.run(LOAD), r#"4, "libx.so""#);
    assert_eq!(host::journal(), [r#"load "libx.so" """#, "ready r1 4", "yield", "ready - 4"]);
}

#[test]
fn one_that_fails_after_the_wait_is_an_error() {
    let vm = Vm::new();
    host::will("load", Say::Number(4));
    host::will("ready", Say::Yield);
    host::will("ready", Say::Own("runtime failed: no config"));
    assert_eq!(vm.run(LOAD), r#"nil, "runtime failed: no config", nil"#);
}

#[test]
fn one_that_has_failed_already_is_an_error_without_a_wait() {
    let vm = Vm::new();
    host::will("load", Say::Number(4));
    host::will("ready", Say::Own("runtime failed: no config"));
    assert_eq!(vm.run(LOAD), r#"nil, "runtime failed: no config", nil"#);
    assert_eq!(host::journal(), [r#"load "libx.so" """#, "ready r1 4"]);
}

#[test]
fn what_cannot_be_loaded_is_not_waited_for() {
    let vm = Vm::new();
    host::will("load", Say::Own("runtime failed: libx.so: not found"));
    assert_eq!(vm.run("return nffi.load('libx.so')"), r#"nil, "runtime failed: libx.so: not found""#);
    assert_eq!(host::journal(), [r#"load "libx.so" """#]);
}

#[test]
fn where_no_yield_is_possible_nobody_waits() {
    let vm = Vm::new();
    vm.phase("init_worker");
    host::will("load", Say::Number(0));
    host::will("ready", Say::Done);
    assert_eq!(vm.outside(LOAD), r#"0, "libx.so""#);
    assert_eq!(host::journal()[1], "ready - 0");
}

#[test]
fn a_loaded_runtime_is_called_by_its_number() {
    let vm = Vm::new();
    host::will("load", Say::Number(4));
    host::will("ready", Say::Done);
    host::will("call", Say::Echo);
    host::will("take", Say::Echo);
    host::will("cast", Say::Done);
    host::will("unload", Say::Done);
    let code = "local rt = nffi.load('libx.so') return rt:call('x'), rt:cast('y'), rt:unload()";
    assert_eq!(vm.run(code), r#""x", true, true"#);
    assert_eq!(host::journal()[2..], ["call r1 4 \"x\" 0", "yield", "take 1", "cast r1 4 \"y\"", "unload 4"]);
}
