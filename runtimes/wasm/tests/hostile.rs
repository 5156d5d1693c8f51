//! Random modules: none takes the process with it, and each request is answered.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nffi_testhost::{CallError, TestHost};
use nffi_wasm_tests::{Lines, Scratch, program, try_load, unload};
use wasm_smith::{Config, Module};

/// What each module has. Its functions are whatever comes.
const SHAPE: &str = r#"(module (memory (export "memory") 1 4) (func (export "_start")))"#;

fn config() -> Config {
    let imports = program("");
    Config {
        available_imports: Some(wat::parse_str(imports).unwrap()),
        exports: Some(wat::parse_str(SHAPE).unwrap()),
        max_imports: 9,
        // But for the one of the shape.
        min_memories: 0,
        max_memories: 0,
        max_tables: 1,
        max_memory32_bytes: 1 << 20,
        allow_start_export: true,
        memory64_enabled: false,
        threads_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        exceptions_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        shared_everything_threads_enabled: false,
        ..Config::default()
    }
}

/// Bytes without end, the same for one seed.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
}

#[test]
fn random_modules() {
    let count: u64 = std::env::var("NFFI_WASM_MODULES").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("random"));
    let _lines = Lines::of(&mut host);
    let (mut ran, mut answered, mut refused) = (0, 0, 0);
    for seed in 1..=count {
        let module = Module::new(config(), &mut arbitrary::Unstructured::new(&bytes(seed))).unwrap();
        let file = scratch.file("random.wasm", &module.to_bytes());
        let options = r#""time_limit":"20ms","memory_limit":"1m","max_output":"64k","threads":"1","instances":"4""#;
        let runtime = match try_load(&mut host, &file, options) {
            Ok(runtime) => runtime,
            // A start function that traps is met at the request; a table that is too large at the start.
            Err(why) => {
                println!("seed {seed}: {why}");
                refused += 1;
                continue;
            }
        };
        for _ in 0..3 {
            match host.call(runtime, b"hello", Duration::from_secs(30)) {
                Ok(_) => answered += 1,
                Err(CallError::Status { .. }) => {}
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
            ran += 1;
        }
        unload(&mut host, runtime);
    }
    println!("{count} modules: {refused} refused; of {ran} requests {answered} were answered well");
    assert!(refused * 10 < count, "most modules must run: {refused} of {count} were refused");
    assert!(answered > 0, "none was answered well");
}
