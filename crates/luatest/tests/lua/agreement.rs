//! Three declare the same functions and structures: lua/resty/nffi/ffi.lua in C, the module in
//! Rust, and the fake host that stands in for it here.

use std::{fs, path::Path};

use nffi_luatest::{
    declared::{self, Declared},
    host::{self, Facts},
    vm::{ROOT, Vm},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn lua() -> Declared {
    declared::from_c(&read("lua/resty/nffi/ffi.lua"))
}

/// src/lua.rs, and all below it.
fn module_source() -> String {
    let mut source = read("src/lua.rs");
    let mut below: Vec<_> = fs::read_dir(Path::new(ROOT).join("src/lua")).unwrap().map(|e| e.unwrap().path()).collect();
    below.sort();
    for path in below {
        source.push_str(&fs::read_to_string(path).unwrap());
    }
    source
}

#[test]
fn the_module_is_what_lua_declares() {
    let module = declared::from_rust(&module_source());
    let lua = lua();
    assert_eq!(module.structs, lua.structs);
    assert_eq!(module.functions, lua.functions);
    // Each of them was read: an argument list opens only in a prototype, a brace only in a struct.
    let text = read("lua/resty/nffi/ffi.lua");
    let text = text.split("ffi.cdef [[").nth(1).and_then(|rest| rest.split("]]").next()).unwrap();
    assert_eq!((text.matches('{').count(), text.matches('(').count()), (lua.structs.len(), lua.functions.len()));
}

#[test]
fn the_fake_host_is_what_lua_declares() {
    assert_eq!(declared::from_rust(&read("crates/luatest/src/native.rs")), lua());
}

#[test]
fn lua_lays_structures_out_as_rust_does() {
    let vm = Vm::new();
    vm.run("return nffi._VERSION");
    for (name, fields) in lua().structs {
        let (mut at, mut alignment) = (0usize, 1);
        for (kind, field) in fields {
            let size = match kind.as_str() {
                "int" | "uint32_t" => 4,
                "double" | "size_t" | "const char *" => 8,
                other => panic!("{name}.{field} is a {other}: of what size?"),
            };
            at = at.next_multiple_of(size);
            assert_eq!(vm.number(&format!("require('ffi').offsetof('{name}', '{field}')")), at, "{name}.{field}");
            at += size;
            alignment = alignment.max(size);
        }
        let size = at.next_multiple_of(alignment);
        assert_eq!(vm.number(&format!("require('ffi').sizeof('{name}')")), size, "{name}");
    }
}

/// The numbers after `const NAME: c_int =` in the module, and `NAME =` in Lua.
#[test]
fn both_mean_the_same_by_done_yield_and_failed() {
    let (module, lua) = (read("src/lua.rs"), read("lua/resty/nffi/ffi.lua"));
    for name in ["FAILED", "DONE", "YIELD"] {
        let rust = module.split(&format!("const {name}: c_int = ")).nth(1).unwrap().split(';').next().unwrap();
        let said = lua.split(&format!("    {name} = ")).nth(1).unwrap().split(',').next().unwrap();
        assert_eq!(rust, said, "{name}");
    }
}

#[test]
fn the_module_numbers_states_as_lua_names_them() {
    let module = module_source();
    let vm = Vm::new();
    for state in ["Starting", "Ready", "Failed", "Unloading", "Stopped"] {
        let arm = format!("State::{state}");
        let numbered =
            |line: &str| line.trim().strip_prefix(&arm)?.split("=> ").nth(1)?.trim_end_matches(',').parse().ok();
        let number = module.lines().find_map(numbered).unwrap_or_else(|| panic!("no number for {arm}"));
        host::runtimes(vec![Facts { state: number, ..Facts::default() }]);
        assert_eq!(vm.run("return nffi.runtimes()[1].state"), format!("\"{}\"", state.to_lowercase()));
    }
}

#[test]
fn lua_and_the_workspace_have_one_version() {
    assert_eq!(Vm::new().run("return nffi._VERSION"), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
}
