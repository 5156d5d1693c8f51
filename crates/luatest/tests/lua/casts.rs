//! Casts: in any phase, with or without a request.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

const CAST: &str = "return nffi.get('audit'):cast('line')";

fn accepting() -> Vm {
    let vm = Vm::new();
    host::will("find", Say::Number(2));
    host::will("cast", Say::Done);
    vm
}

#[test]
fn a_cast_returns_true_at_once() {
    let vm = accepting();
    assert_eq!(vm.run(CAST), "true");
    assert_eq!(host::journal(), ["find \"audit\"", "cast r1 2 \"line\""]);
}

#[test]
fn a_cast_needs_no_coroutine() {
    for phase in ["log", "header_filter", "init_worker", "exit_worker", "set"] {
        let vm = accepting();
        vm.phase(phase);
        assert_eq!(vm.outside(CAST), "true", "{phase}");
        assert_eq!(host::journal()[1], "cast r1 2 \"line\"", "{phase}: log lines name the request");
    }
}

#[test]
fn a_cast_needs_no_request() {
    let vm = accepting();
    vm.phase("init");
    vm.request(0);
    assert_eq!(vm.outside(CAST), "true");
    assert_eq!(host::journal()[1], "cast - 2 \"line\"");
}

#[test]
fn a_cast_where_no_yield_is_possible() {
    let vm = accepting();
    let code = "local said string.gsub('a', '.', function() said = nffi.get('audit'):cast('line') end) return said";
    assert_eq!(vm.run(code), "true");
}

#[test]
fn a_refused_cast_says_why() {
    for words in ["queue full", "request too large", "unloaded", "API disabled in the context of init_by_lua*"] {
        let vm = Vm::new();
        host::will("find", Say::Number(2));
        host::will("cast", Say::Own(words));
        assert_eq!(vm.run(CAST), format!("nil, \"{words}\""));
    }
}

#[test]
fn a_cast_passes_every_byte() {
    let vm = accepting();
    assert_eq!(vm.run(r"return nffi.get('audit'):cast('a\0b\255\n')"), "true");
    assert_eq!(host::journal()[1], r#"cast r1 2 "a\x00b\xff\n""#);
}

/// Reading an answer may run the collector, and with it what users attach to their own objects.
#[test]
fn casts_in_finalizers_leave_answers_alone() {
    let vm = Vm::new();
    host::always("find", Say::Number(2));
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    host::always("open", Say::Done);
    host::always("receive", Say::Data(b"part".to_vec()));
    host::always("cast", Say::Own("queue full"));
    for jit in ["on", "off"] {
        let code = format!(
            "jit.{jit}() local ffi, rt = require 'ffi', nffi.get('audit') local casts, s = 0, rt:open('x')
            for i = 1, 20000 do
                ffi.gc(ffi.new('int[4]'), function() casts = casts + 1 rt:cast('freed') end)
                local sent = 'x' .. i
                local got, err = rt:call(sent)
                if got ~= sent then return i, got, err end
                got, err = s:receive()
                if got ~= 'part' then return i, got, err end
            end
            return casts > 10000"
        );
        assert_eq!(vm.run(&code), "true", "jit.{jit}()");
        host::journal();
    }
}
