//! `for part, err, status in rt:stream(req) do`: its rounds, its end, and what a loop leaves behind.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

fn opening() -> Vm {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("open", Say::Done);
    vm
}

/// A loop that writes its rounds down, and its text.
const LOOP: &str = "local rounds = {}
    for part, err, status in nffi.get('down'):stream('all', opts) do
        rounds[#rounds + 1] = tostring(part) .. ',' .. tostring(err) .. ',' .. tostring(status)
    end
    return table.concat(rounds, ' ')";

fn closes() -> usize {
    host::journal().iter().filter(|line| line.starts_with("close")).count()
}

#[test]
fn the_parts_then_a_clean_end() {
    let vm = opening();
    for part in ["one", "", "a\0b"] {
        host::will("receive", Say::Data(part.into()));
    }
    host::will("receive", Say::Own("closed"));
    assert_eq!(vm.run(LOOP), r#""one,nil,nil ,nil,nil a\x00b,nil,nil""#, "an empty part is one too");
    assert_eq!(
        host::journal(),
        [
            "find \"down\"",
            "open r1 3 \"all\" more=0",
            "receive s1",
            "receive s1",
            "receive s1",
            "receive s1",
            "close s1"
        ]
    );
    vm.outside("collectgarbage() collectgarbage()");
    assert_eq!(closes(), 0, "it was closed already");
}

#[test]
fn a_stream_without_parts_has_no_rounds() {
    let vm = opening();
    host::will("receive", Say::Own("closed"));
    assert_eq!(vm.run(LOOP), r#""""#);
    assert_eq!(closes(), 1);
}

#[test]
fn it_sleeps_between_the_parts() {
    let vm = opening();
    for part in ["one", "two"] {
        host::will("receive", Say::Yield);
        host::will("wait", Say::Yield);
        host::will("resumed", Say::Done);
        host::will("receive", Say::Data(part.into()));
    }
    host::will("receive", Say::Own("closed"));
    assert_eq!(vm.run(&format!("opts = {{ timeout = 700 }} {LOOP}")), r#""one,nil,nil two,nil,nil""#);
    let waits: Vec<_> = host::journal().into_iter().filter(|line| line.starts_with("wait")).collect();
    assert_eq!(waits, ["wait s1 r1 receive 700"; 2], "its timeout is that of each wait");
}

#[test]
fn an_error_after_parts_makes_one_round() {
    let vm = opening();
    host::will("receive", Say::Data(b"one".to_vec()));
    host::will("receive", Say::Runtime(17, b"disk full".to_vec()));
    assert_eq!(vm.run(LOOP), r#""one,nil,nil false,disk full,17""#);
    assert_eq!(closes(), 1);
}

#[test]
fn a_timeout_makes_one_round_and_closes() {
    let vm = opening();
    host::will("receive", Say::Yield);
    host::will("wait", Say::Yield);
    host::will("resumed", Say::Own("timeout"));
    assert_eq!(vm.run(LOOP), r#""false,timeout,nil""#);
    assert_eq!(closes(), 1);
}

#[test]
fn what_does_not_open_makes_one_round() {
    let vm = Vm::new();
    host::will("find", Say::Number(3));
    host::will("open", Say::Own("queue full"));
    assert_eq!(vm.run(LOOP), r#""false,queue full,nil""#);
    assert_eq!(host::journal().len(), 2);
}

#[test]
fn a_runtime_that_says_closed_has_failed_all_the_same() {
    let vm = opening();
    host::will("receive", Say::Runtime(3, b"closed".to_vec()));
    assert_eq!(vm.run(LOOP), r#""false,closed,3""#);
}

#[test]
fn past_its_end_the_iterator_stays_ended() {
    let vm = opening();
    host::will("receive", Say::Own("closed"));
    let code =
        "local next_part = nffi.get('down'):stream('x') local function count(...) return select('#', ...), (...) end
        local a, b = count(next_part()) local c, d = count(next_part()) return a, b, c, d";
    assert_eq!(vm.run(code), "1, nil, 1, nil");
    host::will("receive", Say::Own("timeout"));
    let code = "local next_part = nffi.get('down'):stream('x') next_part() return next_part()";
    assert_eq!(vm.run(code), "nil", "after an error too");
}

#[test]
fn a_loop_that_is_left_is_closed_by_the_collector() {
    for leave in ["break", "error('mine')", "return"] {
        let vm = opening();
        host::will("receive", Say::Data(b"one".to_vec()));
        let code = format!("pcall(function() for part in nffi.get('down'):stream('x') do {leave} end end)");
        vm.run(&code);
        vm.outside("collectgarbage() collectgarbage()");
        assert_eq!(closes(), 1, "{leave}");
    }
}

#[test]
fn an_iterator_that_is_never_called_is_closed_by_the_collector() {
    let vm = opening();
    vm.run("nffi.get('down'):stream('x')");
    vm.outside("collectgarbage() collectgarbage()");
    assert_eq!(closes(), 1);
}

#[test]
fn many_loops_left_in_the_middle_leave_nothing() {
    let vm = opening();
    host::always("receive", Say::Data(b"part".to_vec()));
    vm.run("for _ = 1, 2000 do for part in nffi.get('down'):stream('x') do break end end");
    vm.outside("collectgarbage() collectgarbage()");
    assert_eq!(closes(), 2000);
}
