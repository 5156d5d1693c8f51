//! nffi_runtime_check_v1, as a host calls it: several configurations, one after the other, in one
//! process. No Python is started.

#![allow(clippy::expect_used)]

mod common;

use std::ffi::{c_char, c_int};

use common::config;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

type Check = unsafe extern "C" fn(*const c_char, usize, *mut c_char, usize) -> c_int;

fn check(library: &Library, config: &str) -> Result<(), String> {
    let mut said = [0u8; 1024];
    // SAFETY: the type is nffi.h's, the buffers are alive.
    let rc = unsafe {
        let check = library.get::<Check>(b"nffi_runtime_check_v1").expect("it is exported");
        check(config.as_ptr().cast(), config.len(), said.as_mut_ptr().cast(), said.len())
    };
    let text = String::from_utf8_lossy(&said);
    if rc == 0 { Ok(()) } else { Err(text.trim_end_matches('\0').to_owned()) }
}

fn venv(name: &str) -> String {
    let dir = std::env::temp_dir().join(format!("nffi-python-check-{}-{name}", std::process::id()));
    std::fs::create_dir_all(dir.join("bin")).expect("a folder");
    std::fs::write(dir.join("pyvenv.cfg"), "home = /usr/bin\nversion = 3.11.2\n").expect("a file");
    std::fs::write(dir.join("bin/python3"), "").expect("a file");
    dir.to_str().expect("text").to_owned()
}

#[test]
#[ignore = "needs libpython"]
fn one_check_after_the_other() {
    // SAFETY: our own library.
    let library = unsafe { Library::open(Some(common::library()), RTLD_NOW | RTLD_LOCAL) }.expect("it loads");
    let bad = |config: &str| check(&library, config).expect_err("it must be refused");

    assert!(bad("{}").contains("\"handler\" is missing"));
    assert!(bad(&config("app", "")).contains("MODULE:FUNCTION"));
    assert!(bad(&config("app:echo", r#""threads":"0""#)).contains("\"threads\""));
    assert!(bad(r#"{"handler":"app:echo","path":"/nonexistent/dir"}"#).contains("/nonexistent/dir"));
    assert!(bad(&config("app:echo", r#""venv":"/nonexistent""#)).contains("\"venv\": /nonexistent"));
    assert!(bad(&config("app:echo", r#""libpython":"/nonexistent.so""#)).contains("/nonexistent.so"));

    // None of those counts. Then the first that is sound decides which venv it is, for all.
    let (one, two) = (venv("one"), venv("two"));
    let of = |venv: &str| config("app:echo", &format!(r#""venv":"{venv}""#));
    check(&library, &of(&one)).expect("the first is free to choose");
    check(&library, &of(&one)).expect("any number may share it");
    let said = bad(&of(&two));
    assert!(said.contains(&one) && said.contains(&two), "{said}");
    let said = bad(&config("app:echo", ""));
    assert!(said.contains(&one) && said.contains("this one none"), "{said}");
    for dir in [one, two] {
        std::fs::remove_dir_all(dir).expect("gone");
    }
}
