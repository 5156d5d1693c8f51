//! One interpreter in a process, and one library that has it. Each case has a process of its own.

#![allow(clippy::expect_used)]

mod common;

use std::{
    ffi::{CString, c_char, c_int, c_void},
    fs,
    path::{Path, PathBuf},
    process::Command,
    ptr,
    sync::Barrier,
};

use common::{ask, config, library, try_load, unload};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use nffi_testhost::{Settings, TestHost};

const LIBPYTHON: &str = "libpython3.11.so.1.0";

/// Runs the test of this name once more, alone, with what `case` is about.
fn alone(test: &str, case: fn()) {
    const MARK: &str = "NFFI_PYTHON_ALONE";
    if std::env::var_os(MARK).is_some() {
        return case();
    }
    let mut again = Command::new(std::env::current_exe().expect("a path"));
    again.args(["--exact", test, "--include-ignored", "--test-threads", "1", "--nocapture"]).env(MARK, "1");
    let done = again.output().expect("it runs");
    assert!(
        done.status.success(),
        "{test}: {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The two libraries once more, in a folder of this process's own.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("nffi-python-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        for file in ["libnffi_python.so", "libnffi_python_core.so"] {
            fs::copy(Path::new(&library()).with_file_name(file), dir.join(file)).expect("copied");
        }
        Self(dir)
    }

    fn library(&self) -> String {
        self.file("libnffi_python.so")
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refused(host: &mut TestHost, library: &str, config: &str) -> String {
    let settings = Settings::default();
    host.load(library, config.as_bytes(), settings).expect_err("it must not start").to_string()
}

fn open(library: &str, flags: c_int) -> Library {
    // SAFETY: our own library, or libpython.
    unsafe { Library::open(Some(library), RTLD_NOW | flags) }.expect("it loads")
}

/// What the loader of lua-resty-ffi's ABI says.
fn seed(library: &Library) -> c_int {
    let spec = CString::new(format!("{}/app,seed,", common::handlers())).expect("no NUL");
    // SAFETY: the documented signature; the function asks for nothing of the queue.
    unsafe {
        let init = library
            .get::<unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int>(b"libffi_init")
            .expect("it is exported");
        init(spec.as_ptr(), ptr::null_mut())
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_copy_of_the_library_is_refused() {
    alone("a_copy_of_the_library_is_refused", || {
        let mut host = TestHost::lock();
        let copy = Copy::new("copy");
        let config = config("app:echo", "");
        let first = try_load(&mut host, &config).expect("it starts");
        for _ in 0..2 {
            let said = refused(&mut host, &copy.library(), &config);
            assert!(said.contains(&format!("{} is another copy of {}", copy.library(), library())), "{said}");
            assert!(said.contains("Name one file"), "{said}");
        }
        // What runs goes on, and a link is no copy.
        let link = copy.file("link.so");
        std::os::unix::fs::symlink(library(), &link).expect("a link");
        let second = host.load(&link, config.as_bytes(), Settings::default()).expect("it starts");
        // So for the loaders of lua-resty-ffi, which are such links.
        assert_eq!((seed(&open(&link, RTLD_LOCAL)), seed(&open(&copy.library(), RTLD_LOCAL))), (0, 1));
        for runtime in [first, second] {
            assert_eq!(ask(&mut host, runtime, "x"), "x");
            unload(&mut host, runtime);
        }
    });
}

#[test]
#[ignore = "needs libpython"]
fn a_file_that_was_replaced_is_refused() {
    alone("a_file_that_was_replaced_is_refused", || {
        let mut host = TestHost::lock();
        let copy = Copy::new("replaced");
        let config = config("app:echo", "");
        let first = host.load(&copy.library(), config.as_bytes(), Settings::default()).expect("it starts");
        let new = copy.file("new");
        fs::copy(copy.library(), &new).expect("copied");
        fs::rename(new, copy.library()).expect("in its place");
        // By a name that the dynamic linker does not know yet, as the names of the seed's loaders.
        let link = copy.file("libffi_python3.so");
        std::os::unix::fs::symlink(copy.library(), &link).expect("a link");
        let said = refused(&mut host, &link, &config);
        assert!(said.contains("another copy of") && said.contains("reload nginx"), "{said}");
        unload(&mut host, first);
    });
}

#[test]
#[ignore = "needs libpython"]
fn of_two_copies_at_once_one_starts() {
    alone("of_two_copies_at_once_one_starts", || {
        let copy = Copy::new("race");
        let both = [library(), copy.library()].map(|path| open(&path, RTLD_LOCAL));
        let barrier = Barrier::new(both.len());
        let started = std::thread::scope(|scope| {
            let start = |library| {
                let (barrier, library): (&Barrier, &Library) = (&barrier, library);
                scope.spawn(move || {
                    barrier.wait();
                    seed(library) == 0
                })
            };
            let threads = both.each_ref().map(start);
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(started.iter().filter(|started| **started).count(), 1, "{started:?}");
    });
}

#[test]
#[ignore = "needs libpython"]
fn a_copy_that_did_not_start_leaves_the_other_free() {
    alone("a_copy_that_did_not_start_leaves_the_other_free", || {
        let mut host = TestHost::lock();
        let copy = Copy::new("free");
        let said = refused(&mut host, &copy.library(), &config("app:echo", r#""libpython":"libc.so.6""#));
        assert!(said.contains("no libpython that fits"), "{said}");
        let runtime = try_load(&mut host, &config("app:echo", "")).expect("it starts");
        assert_eq!(ask(&mut host, runtime, "x"), "x");
        unload(&mut host, runtime);
    });
}

#[test]
#[ignore = "needs libpython"]
fn a_start_that_failed_half_way_may_be_repeated() {
    alone("a_start_that_failed_half_way_may_be_repeated", || {
        let mut host = TestHost::lock();
        let copy = Copy::new("half");
        let core = copy.file("libnffi_python_core.so");
        let kept = copy.file("kept");
        fs::rename(&core, &kept).expect("away");
        let config = config("app:echo", "");
        assert!(refused(&mut host, &copy.library(), &config).contains("libnffi_python_core.so is missing"));
        fs::write(&core, "no library").expect("a file");
        assert!(refused(&mut host, &copy.library(), &config).contains("cannot load"));
        // By now there is an interpreter, which is this copy's.
        assert!(refused(&mut host, &library(), &config).contains("another copy of"));
        fs::rename(&kept, &core).expect("back");
        let runtime = host.load(&copy.library(), config.as_bytes(), Settings::default()).expect("it starts");
        assert_eq!(ask(&mut host, runtime, "x"), "x");
        unload(&mut host, runtime);
    });
}

#[test]
#[ignore = "needs libpython"]
fn a_copy_is_refused_by_a_check_where_it_can_be_seen() {
    alone("a_copy_is_refused_by_a_check_where_it_can_be_seen", || {
        let copy = Copy::new("check");
        let check = |library: &str| {
            let (config, mut said) = (config("app:echo", ""), [0u8; 1024]);
            // SAFETY: the type is nffi.h's, the buffers are alive.
            let rc = unsafe {
                let library = open(library, RTLD_LOCAL);
                let check = library.get::<nffi_abi::CheckFn>(b"nffi_runtime_check_v1").expect("it is exported");
                check(config.as_ptr().cast(), config.len(), said.as_mut_ptr().cast(), said.len())
            };
            (rc, String::from_utf8_lossy(&said).trim_end_matches('\0').to_owned())
        };
        assert_eq!(check(&library()), (0, String::new()));
        let (rc, said) = check(&copy.library());
        assert!(rc != 0 && said.contains("another copy of"), "{said}");
        assert_eq!(check(&library()), (0, String::new()));
    });
}

/// Another module starts the libpython of this file.
fn somebody_else(file: &str, flags: c_int) {
    let library = open(file, flags);
    // SAFETY: a function of libpython's, called once, first of all.
    unsafe { library.get::<unsafe extern "C" fn(c_int)>(b"Py_InitializeEx").expect("it is there")(0) };
    std::mem::forget(library);
}

fn an_interpreter_of_somebody_elses() {
    let mut host = TestHost::lock();
    let config = config("app:echo", &format!(r#""libpython":"{LIBPYTHON}""#));
    let said = refused(&mut host, &library(), &config);
    assert!(said.contains("somebody else runs Python in this process already"), "{said}");
}

#[test]
#[ignore = "needs libpython"]
fn an_interpreter_of_somebody_elses_is_left_alone() {
    alone("an_interpreter_of_somebody_elses_is_left_alone", || {
        somebody_else(LIBPYTHON, RTLD_LOCAL);
        an_interpreter_of_somebody_elses();
    });
}

#[test]
#[ignore = "needs libpython"]
fn another_libpython_is_not_mixed_with_ours() {
    alone("another_libpython_is_not_mixed_with_ours", || {
        let copy = Copy::new("libpython");
        let other = copy.file("libpython-other.so");
        let dirs =
            [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib".into(), "/usr/local/lib".into()];
        let found = dirs.iter().map(|dir| Path::new(dir).join(LIBPYTHON)).find(|path| path.exists());
        fs::copy(found.expect("libpython3.11"), &other).expect("copied");
        somebody_else(&other, RTLD_GLOBAL);
        an_interpreter_of_somebody_elses();
    });
}
