//! A VM as ngx_lua makes one, as far as lua/ looks at it; and a scheduler for its coroutines.

use std::path::Path;

use mlua::{Function, Lua, MultiValue, Table, Thread, Value};

use crate::{host, native::FUNCTIONS};

/// The project's root.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What ngx_lua and lua-resty-core provide. `phase` and `request` are the test's to set.
const AROUND: &str = r#"
local ffi = require "ffi"
local here = { phase = "content", request = ffi.cast("void *", 1) }
ngx = {
    get_phase = function() return here.phase end,
}
coroutine._yield = coroutine.yield
package.preload["resty.core.base"] = function()
    return { get_request = function()
        if here.request then
            return here.request
        end
    end }
end
return here
"#;

pub struct Vm {
    lua: Lua,
    here: Table,
}

impl Vm {
    /// In the content phase of a request, with the module loaded.
    pub fn new() -> Self {
        let vm = Self::without_module();
        vm.load_module();
        vm
    }

    /// In an nginx without our module.
    pub fn without_module() -> Self {
        host::reset();
        host::request(1);
        // SAFETY: ffi and debug are open to code of ours only.
        let lua = unsafe { Lua::unsafe_new() };
        let here = lua.load(AROUND).eval().expect("what is around lua/");
        let vm = Self { lua, here };
        assert!(Path::new(ROOT).join("lua/resty/nffi.lua").exists(), "{ROOT} is not the project's root");
        vm.outside(&format!("package.path = '{ROOT}/lua/?.lua'; package.cpath = ''"));
        vm
    }

    /// What the module does before any Lua runs.
    pub fn load_module(&self) {
        let package: Table = self.lua.globals().get("package").expect("package");
        let preload: Table = package.get("preload").expect("package.preload");
        for (name, function) in FUNCTIONS {
            // SAFETY: it keeps to lua_CFunction's rules.
            let function = unsafe { self.lua.create_c_function(function) }.expect("a function");
            preload.set(name, function).expect("set");
        }
    }

    pub fn phase(&self, name: &str) {
        self.here.set("phase", name).expect("set");
    }

    /// The request that Lua runs for: any number, or 0 for none.
    pub fn request(&self, address: usize) {
        let code = if address == 0 {
            "return false".into()
        } else {
            format!("return require('ffi').cast('void *', {address})")
        };
        host::request(address);
        let value: Value = self.lua.load(code).eval().expect("a pointer");
        self.here.set("request", value).expect("set");
    }

    /// Runs the code in a coroutine, `nffi` being the module; resumes it whenever it yields. Gives
    /// what it returns, as text.
    pub fn run(&self, code: &str) -> String {
        self.together(&[code]).remove(0)
    }

    /// The same with several coroutines, which take turns.
    pub fn together(&self, codes: &[&str]) -> Vec<String> {
        let threads: Vec<Thread> =
            codes.iter().map(|code| self.lua.create_thread(self.function(code)).expect("a coroutine")).collect();
        let mut results = vec![None; codes.len()];
        for _ in 0..1_000_000 {
            for (thread, result) in threads.iter().zip(&mut results).filter(|(_, result)| result.is_none()) {
                let values = thread.resume::<MultiValue>(());
                if values.is_ok() && thread.is_resumable() {
                    host::note("yield");
                } else {
                    *result = Some(shown(values));
                }
            }
            if results.iter().all(Option::is_some) {
                return results.into_iter().flatten().collect();
            }
        }
        panic!("still yielding after a million rounds");
    }

    /// Runs the code outside of any coroutine, as ngx_lua does in phases that cannot yield.
    pub fn outside(&self, code: &str) -> String {
        shown(self.function(code).call::<MultiValue>(()))
    }

    fn function(&self, code: &str) -> Function {
        // Found when first used, so that code may come before it.
        let code = format!(
            "local nffi = setmetatable({{}}, {{ __index = function(_, k) return require('resty.nffi')[k] end }}); {code}"
        );
        self.lua.load(code).set_name("=test").into_function().expect("Lua that compiles")
    }

    /// A number that Lua computes.
    pub fn number(&self, expression: &str) -> usize {
        self.lua.load(format!("return {expression}")).eval().expect(expression)
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let unsaid = host::unsaid();
        if !std::thread::panicking() {
            assert!(unsaid.is_empty(), "scripted, but never asked for: {unsaid:?}");
        }
    }
}

fn shown(values: mlua::Result<MultiValue>) -> String {
    match values {
        Ok(values) => values.iter().map(one).collect::<Vec<_>>().join(", "),
        Err(error) => {
            let text = error.to_string();
            let text = text.split("\nstack traceback").next().unwrap_or_default();
            format!("raised: {}", text.trim_start_matches("runtime error: "))
        }
    }
}

fn one(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => format!("\"{}\"", value.as_bytes().escape_ascii()),
        other => other.type_name().to_owned(),
    }
}
