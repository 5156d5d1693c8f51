//! Calls: the order of things, and every shape of what they return.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

/// A VM in which the next call of runtime 3 sleeps as number 7, and then takes this.
fn taking(say: Say) -> Vm {
    let vm = Vm::new();
    host::will("find", Say::Number(3));
    host::will("call", Say::Number(7));
    host::will("take", say);
    vm
}

/// A VM whose host answers every call with its request.
fn echoing() -> Vm {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    vm
}

const CALL: &str = "return nffi.call('echo', 'ping', { timeout = 500 })";

#[test]
fn a_call_sleeps_between_its_two_halves() {
    let vm = taking(Say::Data(b"pong".to_vec()));
    assert_eq!(vm.run(CALL), "\"pong\"", "the answer alone");
    assert_eq!(host::journal(), ["find \"echo\"", "call r1 3 \"ping\" 500", "yield", "take 7"]);
}

#[test]
fn the_request_that_runs_is_the_one_that_sleeps() {
    let vm = taking(Say::Data(Vec::new()));
    vm.request(0x1000);
    vm.run(CALL);
    assert_eq!(host::journal()[1], "call r1000 3 \"ping\" 500");
}

#[test]
fn an_empty_answer_is_an_empty_string() {
    assert_eq!(taking(Say::Data(Vec::new())).run(CALL), "\"\"");
}

#[test]
fn sleeping_number_zero_is_no_failure() {
    let vm = Vm::new();
    host::will("find", Say::Number(0));
    host::will("call", Say::Number(0));
    host::will("take", Say::Data(b"pong".to_vec()));
    assert_eq!(vm.run(CALL), "\"pong\"");
    assert_eq!(host::journal()[1..], ["call r1 0 \"ping\" 500", "yield", "take 0"]);
}

#[test]
fn a_refused_call_does_not_sleep() {
    for words in ["queue full", "request too large", "no such runtime", "unloaded", "shutting down", "no memory"] {
        let vm = Vm::new();
        host::will("find", Say::Number(3));
        host::will("call", Say::Own(words));
        assert_eq!(vm.run(CALL), format!("nil, \"{words}\""), "two values");
        assert_eq!(host::journal(), ["find \"echo\"", "call r1 3 \"ping\" 500"]);
    }
}

#[test]
fn an_error_of_nffi_s_own_has_no_status() {
    for words in ["timeout", "answer too large", "runtime failed: no config", "unloaded"] {
        assert_eq!(taking(Say::Own(words)).run(CALL), format!("nil, \"{words}\""), "two values");
    }
}

#[test]
fn an_error_of_the_runtime_has_its_status() {
    for status in [1, 404, -1, i32::MAX, i32::MIN] {
        let vm = taking(Say::Runtime(status, b"no such page".to_vec()));
        assert_eq!(vm.run(CALL), format!("nil, \"no such page\", {status}"));
    }
}

#[test]
fn a_runtime_s_words_are_not_taken_for_nffi_s() {
    assert_eq!(taking(Say::Runtime(5, b"timeout".to_vec())).run(CALL), r#"nil, "timeout", 5"#);
}

#[test]
fn every_byte_passes_both_ways() {
    let vm = echoing();
    let same = "local s = {} for i = 0, 255 do s[#s + 1] = string.char(i) end s = table.concat(s)
        for n = 0, 3 do local sent = s:rep(n) if nffi.call('echo', sent) ~= sent then return n end end return 'same'";
    assert_eq!(vm.run(same), "\"same\"");
    assert!(host::journal()[4].contains(r"\x00\x01"), "what is compared has a NUL in it");
    host::will("take", Say::Runtime(1, b"a\0b\xff".to_vec()));
    assert_eq!(vm.run("return nffi.call('echo', '')"), r#"nil, "a\x00b\xff", 1"#);
}

#[test]
fn a_long_request_and_answer() {
    let vm = echoing();
    let same = "local s = ('0123456789abcdef'):rep(65536) return nffi.call('echo', s) == s";
    assert_eq!(vm.run(same), "true");
    assert_eq!(host::journal()[1], "call r1 3 1048576 bytes 0");
}

#[test]
fn a_declared_runtime_is_looked_up_once() {
    let vm = echoing();
    vm.run("nffi.call('a', '1') nffi.call('b', '2') nffi.call('a', '3') nffi.call('b', '4')");
    let finds: Vec<_> = host::journal().into_iter().filter(|line| line.starts_with("find")).collect();
    assert_eq!(finds, [r#"find "a""#, r#"find "b""#]);
    vm.run("nffi.call('a', '5')");
    assert!(!host::journal().iter().any(|line| line.starts_with("find")), "the VM remembers, not the coroutine");
}

#[test]
fn a_name_that_was_not_found_is_looked_up_again() {
    let vm = echoing();
    host::will("find", Say::Own("no such runtime"));
    assert_eq!(vm.run("return nffi.call('late', 'x')"), r#"nil, "no such runtime""#);
    assert_eq!(vm.run("return nffi.call('late', 'x')"), "\"x\"");
}

#[test]
fn coroutines_that_take_turns_get_their_own_answers() {
    let vm = echoing();
    let code = |name: &str| {
        format!(
            "for i = 1, 20 do local sent = '{name}' .. i
            if nffi.call('echo', sent) ~= sent then return 'mixed up', i end end return 'right'"
        )
    };
    let codes = [code("a"), code("bb"), code("")];
    assert_eq!(vm.together(&codes.each_ref().map(String::as_str)), ["\"right\""; 3]);
}

#[test]
fn one_s_failure_is_not_another_s() {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("call", Say::Echo);
    host::will("take", Say::Own("timeout"));
    host::will("take", Say::Runtime(9, b"mine".to_vec()));
    host::will("take", Say::Data(b"well".to_vec()));
    assert_eq!(vm.together(&[CALL; 3]), [r#"nil, "timeout""#, r#"nil, "mine", 9"#, r#""well""#]);
}

/// Long enough for LuaJIT to compile the loop, the yield in it and the collector's work.
#[test]
fn a_hot_loop_of_calls_stays_right() {
    let vm = echoing();
    let code = "local rt = nffi.get('echo') for i = 1, 3000 do local sent = ('x'):rep(i % 50) .. i
        local got, err = rt:call(sent, { timeout = i }) if got ~= sent then return i, got, err end
        if i % 500 == 0 then collectgarbage() end end return 'right'";
    assert_eq!(vm.run(code), "\"right\"");
    assert_eq!(host::journal().len(), 1 + 3 * 3000);
}
