//! Compiled modules on disk, and files that change.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use nffi_testhost::TestHost;
use nffi_wasm_tests::{Lines, SOON, Scratch, ask, load, program, unload};

fn says(number: u32) -> Vec<u8> {
    wat::parse_str(program(&format!("(call $number (i32.const {number}))"))).unwrap()
}

fn cached(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn a_module_is_compiled_once() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("cache"));
    let lines = Lines::of(&mut host);
    let folder = scratch.0.join("compiled");
    let option = format!(r#""cache":"{}""#, folder.display());
    let module = scratch.file("f.wasm", &says(1));
    let run = |host: &mut TestHost, more: &str| {
        let runtime = load(host, &module, more);
        let answer = ask(host, runtime, "");
        unload(host, runtime);
        answer
    };
    assert_eq!(run(&mut host, &option), "01");
    let [file] = &cached(&folder)[..] else { panic!("one file expected: {:?}", cached(&folder)) };
    let first = fs::metadata(file).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o644);
    assert_eq!(run(&mut host, &option), "01");
    assert_eq!(cached(&folder).len(), 1);

    // By content and by settings, not by name.
    fs::write(&module, says(2)).unwrap();
    assert_eq!(run(&mut host, &option), "02");
    assert_eq!(cached(&folder).len(), 2);
    let other = cached(&folder).into_iter().find(|path| path != file).unwrap();
    assert_eq!(run(&mut host, &format!(r#"{option},"fuel":"1000000""#)), "02");
    assert_eq!(cached(&folder).len(), 3);

    // It is used: what is there under the module's name runs. The two differ in a constant.
    fs::write(&module, says(1)).unwrap();
    fs::copy(&other, file).unwrap();
    assert_eq!(run(&mut host, &option), "02");

    // What is broken, or others could have written, is not used, and said.
    fs::write(file, b"no code").unwrap();
    assert_eq!(run(&mut host, &option), "01");
    lines.find(&mut host, "the cached module is not used: ");
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run(&mut host, &option), "01");
    lines.find(&mut host, "others may write to it");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(&mut host, &option), "01");
    lines.find(&mut host, "compiled: others may write to it");
}

#[test]
fn a_changed_file_takes_over() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("watch"));
    let lines = Lines::of(&mut host);
    let module = scratch.file("f.wasm", &says(1));
    let runtime = load(&mut host, &module, r#""watch":"on""#);
    assert_eq!(ask(&mut host, runtime, ""), "01");
    let until = |host: &mut TestHost, answer: &str| {
        let begun = Instant::now();
        while ask(host, runtime, "") != answer {
            assert!(begun.elapsed() < SOON, "{answer} never came");
        }
    };
    // In its place, and by another file.
    fs::write(&module, says(2)).unwrap();
    until(&mut host, "02");
    lines.find(&mut host, "the changed file is in use");
    let other = scratch.file("g.wasm", &says(3));
    fs::rename(other, &module).unwrap();
    until(&mut host, "03");
    fs::write(&module, b"not a module").unwrap();
    lines.find(&mut host, "is not WebAssembly; the one before stays in use");
    assert_eq!(ask(&mut host, runtime, ""), "03");
    fs::write(&module, says(4)).unwrap();
    until(&mut host, "04");

    // A request that is under way goes on with what it began with.
    let slow = program("(call $sleep (i64.const 1500000000)) (call $number (i32.const 5))");
    fs::write(&module, wat::parse_str(slow).unwrap()).unwrap();
    while lines.all().iter().filter(|line| line.contains("in use")).count() < 5 {
        host.turn(Some(std::time::Duration::from_millis(20)));
    }
    let long = host.submit(runtime, b"", SOON).unwrap();
    fs::write(&module, says(6)).unwrap();
    until(&mut host, "06");
    assert_eq!(host.wait(long).unwrap(), b"05");
    unload(&mut host, runtime);
}
