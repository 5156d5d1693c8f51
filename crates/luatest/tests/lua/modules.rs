//! The Lua modules themselves: without nginx's module, loaded again, and what they leave around.

use nffi_luatest::{
    host::{self, Say},
    vm::Vm,
};

const ABSENT: &str = r#"false, "ngx_http_nffi_module is not loaded: add \"load_module modules/ngx_http_nffi_module.so;\" to nginx.conf""#;

#[test]
fn without_the_module_require_says_what_to_do_each_time() {
    let vm = Vm::without_module();
    // Each request asks again: require keeps nothing of what failed.
    for _ in 0..3 {
        assert_eq!(vm.run("return pcall(require, 'resty.nffi')"), ABSENT);
    }
    vm.load_module();
    assert_eq!(vm.run("return pcall(require, 'resty.nffi')"), "true, table");
}

const RELOAD: &str = "for name in pairs(package.loaded) do
    if name:find('^resty%.nffi') then package.loaded[name] = nil end end";

#[test]
fn modules_that_are_loaded_again_work() {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    host::always("open", Say::Done);
    let code = format!(
        "local old = require 'resty.nffi' local rt, s = old.get('echo'), old.get('echo'):open('x')
        for _ = 1, 3 do {RELOAD} assert(require 'resty.nffi' ~= old) end
        local new = require 'resty.nffi'
        s:close()
        return new.call('echo', 'new'), old.call('echo', 'old'), rt:call('held'), new.get('echo'):open('y'):close()"
    );
    assert_eq!(vm.run(&code), r#""new", "old", "held", true"#);
}

/// LuaJIT has room for 65536 types in a VM: declaring them again each time would use it up.
#[test]
fn modules_may_be_loaded_again_for_ever() {
    let vm = Vm::new();
    let code = format!("for _ = 1, 1000 do {RELOAD} require 'resty.nffi' end return nffi.runtimes()");
    assert_eq!(vm.run(&code), "table");
}

#[test]
fn a_new_vm_in_the_same_process_works() {
    for _ in 0..3 {
        let vm = Vm::new();
        host::will("find", Say::Number(3));
        host::will("call", Say::Echo);
        host::will("take", Say::Echo);
        assert_eq!(vm.run("return nffi.call('echo', 'x')"), "\"x\"");
    }
}

#[test]
fn no_global_is_made() {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("call", Say::Echo);
    host::always("take", Say::Echo);
    host::always("open", Say::Done);
    host::always("receive", Say::Own("closed"));
    host::always("send", Say::Done);
    host::always("cast", Say::Done);
    host::always("load", Say::Number(1));
    host::always("ready", Say::Done);
    let code = "local made = {}
        setmetatable(_G, { __newindex = function(_, name) made[#made + 1] = name end,
                           __index = function(_, name) made[#made + 1] = 'read ' .. name end })
        local rt = nffi.get('echo')
        nffi.call('echo', 'x') rt:cast('y') nffi.load('l') nffi.runtimes()
        for _ in rt:stream('z') do end
        local s = rt:open('a') s:send('b') s:receive() s:shutdown('send') s:close() rt:unload()
        return table.concat(made, ' ')";
    assert_eq!(vm.run(code), r#""""#);
}

#[test]
fn what_there_is() {
    let vm = Vm::new();
    host::always("find", Say::Number(3));
    host::always("open", Say::Done);
    let code = "local function names(t) local list = {} for name in pairs(t) do list[#list + 1] = name end
        table.sort(list) return table.concat(list, ' ') end
        local rt = nffi.get('x')
        return names(require 'resty.nffi'), names(getmetatable(rt).__index), names(getmetatable(rt:open('y')).__index)";
    assert_eq!(
        vm.run(code),
        r#""_VERSION call get load runtimes", "call cast open stream unload", "close open receive send shutdown""#
    );
}
