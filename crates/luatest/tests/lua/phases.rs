//! Where a coroutine can sleep, and in which words it is told that it cannot.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

/// Of ngx_lua's phases, as ngx.get_phase names them: those that can yield …
const YIELDING: [&str; 11] = [
    "server_rewrite",
    "rewrite",
    "access",
    "precontent",
    "content",
    "timer",
    "ssl_client_hello",
    "ssl_cert",
    "ssl_session_fetch",
    "proxy_ssl_cert",
    "proxy_ssl_verify",
];
/// … and those that cannot.
const OTHERS: [&str; 9] = [
    "init",
    "init_worker",
    "set",
    "header_filter",
    "body_filter",
    "balancer",
    "log",
    "ssl_session_store",
    "exit_worker",
];

const NO_YIELD: &str = "API disabled here: no yield across a C call boundary";

/// What call, open and stream say, one after the other.
const TRY: &str = "local rt = nffi.get('echo')
    local res, err, status = rt:call('x')
    local s, open_err = rt:open('x')
    local part, stream_err, rounds = nil, nil, 0
    for p, e in rt:stream('x') do part, stream_err, rounds = p, e, rounds + 1 end
    assert(res == nil and status == nil and s == nil and part == false and rounds == 1)
    assert(open_err == err and stream_err == err, open_err)
    return err";

fn with_runtime() -> Vm {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    vm
}

#[test]
fn a_phase_that_cannot_yield_is_named_as_ngx_lua_names_it() {
    let vm = with_runtime();
    for phase in OTHERS {
        vm.phase(phase);
        vm.request(usize::from(phase != "init"));
        assert_eq!(vm.outside(TRY), format!("\"API disabled in the context of {phase}_by_lua*\""));
    }
    assert!(host::journal().iter().all(|line| line.starts_with("find")), "nothing is posted");
}

#[test]
fn in_a_phase_that_can_it_is_the_c_call_boundary() {
    let vm = with_runtime();
    for phase in YIELDING {
        vm.phase(phase);
        let code = format!("local err string.gsub('a', '.', function() err = (function() {TRY} end)() end) return err");
        assert_eq!(vm.run(&code), format!("\"{NO_YIELD}\""), "{phase}");
    }
    assert!(host::journal().iter().all(|line| line.starts_with("find")), "nothing is posted");
}

#[test]
fn where_it_can_yield_the_module_is_asked_in_every_phase() {
    for phase in YIELDING.into_iter().chain(OTHERS) {
        let vm = with_runtime();
        vm.phase(phase);
        // A user's coroutine in log_by_lua could yield; ngx_lua's semaphore refuses it.
        host::will("call", Say::Own("API disabled in the context of log_by_lua*"));
        assert_eq!(vm.run("return nffi.call('echo', 'x')"), r#"nil, "API disabled in the context of log_by_lua*""#);
        assert_eq!(host::journal()[1], "call r1 3 \"x\" 0");
    }
}

#[test]
fn a_coroutine_without_a_request_is_init_by_lua_s() {
    let vm = with_runtime();
    vm.phase("init");
    vm.request(0);
    assert_eq!(vm.run(TRY), "\"API disabled in the context of init_by_lua*\"");
}

#[test]
fn a_comparison_of_sort_and_a_reader_of_load_cannot_yield() {
    let vm = with_runtime();
    for code in [
        "local err table.sort({ 2, 1 }, function() err = select(2, nffi.call('echo', 'x')) return false end) return err",
        "local err load(function() err = select(2, nffi.call('echo', 'x')) end) return err",
    ] {
        assert_eq!(vm.run(code), format!("\"{NO_YIELD}\""));
    }
}

#[test]
fn a_module_that_calls_while_it_is_required_cannot_yield() {
    let vm = with_runtime();
    let code = "package.preload.busy = function() return { nffi.call('echo', 'x') } end
        return require('busy')[2]";
    assert_eq!(vm.run(code), format!("\"{NO_YIELD}\""));
}

#[test]
fn pcall_and_iterators_can_yield() {
    let vm = with_runtime();
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    for code in [
        "return select(2, pcall(nffi.call, 'echo', 'x'))",
        "return select(2, xpcall(function() return nffi.call('echo', 'x') end, print))",
        "for got in function(_, last) return not last and nffi.call('echo', 'x') or nil end do return got end",
        "return setmetatable({}, { __index = function() return nffi.call('echo', 'x') end }).y",
    ] {
        assert_eq!(vm.run(code), "\"x\"", "{code}");
    }
}

#[test]
fn a_stream_that_cannot_sleep_any_more_says_so() {
    let vm = with_runtime();
    host::will("open", Say::Done);
    host::will("receive", Say::Data(b"there already".to_vec()));
    host::will("receive", Say::Yield);
    host::will("send", Say::Done);
    host::will("send", Say::Yield);
    let code = "s = nffi.get('echo'):open('x')
        local list = {}
        local function add(...) for i = 1, select('#', ...) do list[#list + 1] = tostring((select(i, ...))) end end
        string.gsub('a', '.', function()
            add(s:receive()) add(s:receive()) add(s:send('y')) add(s:send('z'))
        end)
        return table.concat(list, '|')";
    assert_eq!(vm.run(code), format!("\"there already|nil|{NO_YIELD}|true|nil|{NO_YIELD}\""));
    assert!(!host::journal().iter().any(|line| line.starts_with("wait")), "and is not put to sleep");
}
