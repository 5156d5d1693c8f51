//! Finding runtimes, unloading them, and what nffi.runtimes() tells.

use nffi_luatest::{
    host::{self, Facts, Say},
    vm::Vm,
};

#[test]
fn a_declared_runtime_is_found_by_name() {
    let vm = Vm::new();
    host::will("find", Say::Number(0));
    assert_eq!(vm.run(r"local rt = nffi.get('e\0\255') return rt.number, rt.name"), r#"0, "e\x00\xff""#);
    assert_eq!(host::journal(), [r#"find "e\x00\xff""#]);
}

#[test]
fn one_that_is_not_declared_is_an_error() {
    let vm = Vm::new();
    host::will("find", Say::Own("no such runtime"));
    assert_eq!(vm.run("return nffi.get('echo')"), r#"nil, "no such runtime""#);
    host::will("find", Say::Own("API disabled in the context of init_by_lua*"));
    assert_eq!(vm.run("return nffi.call('echo', 'x')"), r#"nil, "API disabled in the context of init_by_lua*""#);
}

#[test]
fn unload_returns_true_or_an_error() {
    let vm = Vm::new();
    host::always("find", Say::Number(5));
    host::will("unload", Say::Done);
    host::will("unload", Say::Own("unloaded"));
    assert_eq!(vm.outside("return nffi.get('echo'):unload()"), "true");
    assert_eq!(vm.outside("return nffi.get('echo'):unload()"), r#"nil, "unloaded""#);
    assert!(host::journal().contains(&"unload 5".to_owned()));
}

/// Every pair of the table, in order of the keys.
const SHOW: &str = "local function show(t)
    local list = {}
    for k, v in pairs(t) do list[#list + 1] = k .. '=' .. tostring(v) end
    table.sort(list)
    return table.concat(list, ' ')
end";

#[test]
fn no_runtimes_is_an_empty_array() {
    let vm = Vm::new();
    assert_eq!(vm.outside("local list = nffi.runtimes() return type(list), next(list)"), r#""table", nil"#);
}

#[test]
fn every_field_is_the_one_of_its_name() {
    let vm = Vm::new();
    host::runtimes(vec![Facts {
        name: b"echo".to_vec(),
        library: b"/lib/libecho.so".to_vec(),
        error: Vec::new(),
        state: 1,
        declared: 1,
        counts: [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.],
    }]);
    assert_eq!(
        vm.outside(&format!("{SHOW} local list = nffi.runtimes() return #list, show(list[1])")),
        "1, \"abandoned=3 answers=6 bad_answers=11 calls=4 cancelled=9 casts=5 declared=true dropped_logs=12 \
         errors=7 in_flight=2 library=/lib/libecho.so name=echo queued=1 rejected=10 state=ready timeouts=8\""
    );
}

#[test]
fn only_a_failed_runtime_has_an_error() {
    let vm = Vm::new();
    let facts = |state| Facts { error: b"no\0config".to_vec(), state, ..Facts::default() };
    host::runtimes((0..5).map(facts).collect());
    let code = "local list = {} for i, rt in ipairs(nffi.runtimes()) do
        list[i] = rt.state .. ':' .. tostring(rt.error) .. ':' .. tostring(rt.declared) end return table.concat(list, ' ')";
    assert_eq!(
        vm.outside(code),
        r#""starting:nil:false ready:nil:false failed:no\x00config:false unloading:nil:false stopped:nil:false""#
    );
}

#[test]
fn runtimes_keep_their_order_and_their_own_words() {
    let vm = Vm::new();
    let facts = |name: &str, calls| Facts {
        name: name.into(),
        library: format!("lib{name}").into_bytes(),
        counts: [0., 0., 0., calls, 0., 0., 0., 0., 0., 0., 0., 0.],
        ..Facts::default()
    };
    host::runtimes(vec![facts("b", 1.), facts("", 2.), facts("a\0\u{ff}", 9_007_199_254_740_992.)]);
    let code = "local list = {} for i, rt in ipairs(nffi.runtimes()) do
        list[i] = rt.name .. ',' .. rt.library .. ',' .. string.format('%d', rt.calls) end return table.concat(list, ' ')";
    assert_eq!(vm.outside(code), r#""b,libb,1 ,lib,2 a\x00\xc3\xbf,liba\x00\xc3\xbf,9007199254740992""#);
}

#[test]
fn the_list_is_the_caller_s_own() {
    let vm = Vm::new();
    host::runtimes(vec![Facts { name: b"a".to_vec(), ..Facts::default() }]);
    let code = "local one = nffi.runtimes() one[1].name = 'spoilt' one[2] = true
        local two = nffi.runtimes() return two[1].name, #two";
    assert_eq!(vm.outside(code), r#""a", 1"#);
}
