//! In a venv with numpy and uvloop: NFFI_PYTHON_VENV.

#![allow(clippy::expect_used)]

mod common;

use common::{SOON, ask, load, unload};
use nffi_testhost::TestHost;

fn venv() -> String {
    let dir = std::env::var("NFFI_PYTHON_VENV").expect("NFFI_PYTHON_VENV is not set: run scripts/test python");
    format!(r#""venv":"{dir}""#)
}

#[test]
#[ignore = "needs libpython and a venv with numpy"]
fn numpy_computes_on_every_thread() {
    let mut host = TestHost::lock();
    let runtime = load(&mut host, "packages:mean", &venv());
    let numbers: Vec<u8> = (0..300).flat_map(|n| f64::from(n).to_le_bytes()).collect();
    let mut calls: Vec<_> = (0..64).map(|_| host.submit(runtime, &numbers, SOON).expect("taken")).collect();
    while !calls.is_empty() {
        for (_, answer) in host.wait_any(&mut calls) {
            let answer = String::from_utf8(answer.expect("an answer")).expect("text");
            assert!(answer.starts_with("149.500 in "), "{answer}");
        }
    }
    // A second runtime of the same venv, and another start of the first.
    let other = load(&mut host, "packages:mean", &venv());
    assert!(ask(&mut host, other, "\0\0\0\0\0\0\0\0").starts_with("0.000 in "));
    unload(&mut host, runtime);
    unload(&mut host, other);
}

#[test]
#[ignore = "needs libpython and a venv with uvloop"]
fn uvloop_where_it_is_installed() {
    let mut host = TestHost::lock();
    for (uvloop, name) in [("auto", "uvloop"), ("on", "uvloop"), ("off", "asyncio")] {
        let runtime = load(&mut host, "packages:loop", &format!(r#"{},"uvloop":"{uvloop}""#, venv()));
        assert_eq!(ask(&mut host, runtime, ""), format!("{name} 3 child packages-loop"));
        unload(&mut host, runtime);
    }
    let runtime = load(&mut host, "packages:echo", &venv());
    for round in 0..3 {
        let mut calls: Vec<_> = (0..1000).map(|_| host.submit(runtime, b"x", SOON).expect("taken")).collect();
        while !calls.is_empty() {
            host.wait_any(&mut calls).into_iter().for_each(|(_, answer)| assert!(answer.is_ok(), "{round}"));
        }
    }
    unload(&mut host, runtime);
}
