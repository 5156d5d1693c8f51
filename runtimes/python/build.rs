//! The library stays in the process once it is there: its threads cannot be stopped.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // tests/seed.rs is a host: it exports what a program's Python code looks for.
    println!("cargo:rustc-link-arg-tests=-rdynamic");
    println!("cargo:rerun-if-changed=build.rs");
}
