//! What the tests share: functions as text, and a host to run them in.

#![allow(clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use nffi_testhost::testing::{Lines, SOON, ask, unload};
use nffi_testhost::{CallError, LoadError, RuntimeId, Settings, TestHost};

/// In the folder above the test's own. cargo does not put it there for a test, since nothing links it.
pub fn library() -> String {
    let test = std::env::current_exe().expect("a path");
    let path = test.ancestors().nth(2).expect("target/debug").join("libnffi_wasm.so");
    assert!(path.exists(), "first: cargo build -p nffi-wasm");
    path.to_str().expect("text").to_owned()
}

/// A folder of a test's own, which goes with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nffi-wasm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A function's file, of text.
    pub fn function(&self, name: &str, wat: &str) -> PathBuf {
        self.file(name, &wat::parse_str(wat).expect("a module"))
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration, without a cache where `more` has none.
pub fn config(module: &Path, more: &str) -> String {
    let cache = if more.contains("\"cache\"") { "" } else { r#","cache":"off""# };
    let interface = if more.contains("\"interface\"") { "" } else { r#","interface":"message""# };
    let more = if more.is_empty() { String::new() } else { format!(",{more}") };
    format!(r#"{{"module":"{}"{cache}{interface}{more}}}"#, module.display())
}

pub fn try_load(host: &mut TestHost, module: &Path, more: &str) -> Result<RuntimeId, LoadError> {
    host.load(&library(), config(module, more).as_bytes(), Settings::default())
}

pub fn load(host: &mut TestHost, module: &Path, more: &str) -> RuntimeId {
    try_load(host, module, more).expect("it starts")
}

pub fn refused(host: &mut TestHost, module: &Path, more: &str) -> String {
    try_load(host, module, more).expect_err("it must not start").to_string()
}

/// The message of an answer that is an error of the function's.
pub fn fails(host: &mut TestHost, runtime: RuntimeId, request: &str) -> String {
    match host.call(runtime, request.as_bytes(), SOON) {
        Err(CallError::Status { status: 1, message }) => String::from_utf8(message).expect("text"),
        other => panic!("an error answer expected, got {other:?}"),
    }
}

/// A module with all that the tests import, a memory of a page, and `body` as `$main`. `$read` fills the page's second
/// half from stdin, and returns how many bytes came; `$say` writes so many from there.
pub fn program(body: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "a line\nand another")
  (func $read (result i32)
    (i32.store (i32.const 0) (i32.const 32768))
    (i32.store (i32.const 4) (i32.const 32768))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
  (func $write (param $fd i32) (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
  (func $say (param $len i32)
    (drop (call $write (i32.const 1) (i32.const 32768) (local.get $len))))
  ;; two decimal digits
  (func $number (param $n i32)
    (i32.store8 (i32.const 32768) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
    (i32.store8 (i32.const 32769) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
    (call $say (i32.const 2)))
  (func $sleep (param $ns i64)
    (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 72) (i32.const 0))
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (local.get $ns))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 160))))
  (func $main (export "_start") {body}))"#
    )
}

/// Answers with the request.
pub const ECHO: &str = "(local $n i32)
  (loop $more
    (local.set $n (call $read))
    (if (local.get $n) (then (call $say (local.get $n)) (br $more))))";
