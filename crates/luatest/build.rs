//! LuaJIT's `ffi.C` looks for functions among what the executable exports: let the test binary
//! export the fake host's.

fn main() {
    println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic");
    println!("cargo::rerun-if-changed=build.rs");
}
