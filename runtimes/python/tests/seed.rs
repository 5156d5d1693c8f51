//! The loaders of lua-resty-ffi: this test is the host of their ABI. NFFI_PYTHON_VENV is a venv
//! with cffi in it.

#![allow(clippy::expect_used)]

mod common;

use std::{
    collections::VecDeque,
    ffi::{CString, c_char, c_int, c_void},
    ptr, slice,
    sync::{Condvar, Mutex},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<usize>,
    over: bool,
    answers: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Queue {
    tasks: Mutex<Tasks>,
    news: Condvar,
}

struct Task {
    queue: *const Queue,
    request: Vec<u8>,
}

impl Queue {
    /// As the host's: it stays for good, whatever thread still holds it.
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    fn address(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn call(&self, request: &[u8]) -> Vec<u8> {
        let task = Box::new(Task { queue: self, request: request.to_vec() });
        let mut tasks = self.tasks.lock().expect("no panic");
        tasks.waiting.push_back(Box::into_raw(task) as usize);
        self.news.notify_all();
        let (mut tasks, late) =
            self.news.wait_timeout_while(tasks, common::SOON, |tasks| tasks.answers.is_empty()).expect("no panic");
        assert!(!late.timed_out(), "nobody answers");
        tasks.answers.remove(0)
    }

    fn unload(&self) {
        self.tasks.lock().expect("no panic").over = true;
        self.news.notify_all();
    }
}

/// # Safety
/// tq is a Queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_http_lua_ffi_task_poll(tq: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    let queue = unsafe { &*tq.cast::<Queue>() };
    let idle = |tasks: &mut Tasks| tasks.waiting.is_empty() && !tasks.over;
    let mut tasks = queue.news.wait_while(queue.tasks.lock().expect("no panic"), idle).expect("no panic");
    tasks.waiting.pop_front().map_or(ptr::null_mut(), |task| task as *mut c_void)
}

/// # Safety
/// task is a Task, len NULL or a number's place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_http_lua_ffi_get_req(task: *mut c_void, len: *mut c_int) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe {
        let task = &*task.cast::<Task>();
        if let Some(len) = len.as_mut() {
            *len = task.request.len().try_into().expect("small");
        }
        task.request.as_ptr().cast()
    }
}

/// # Safety
/// task is a Task, rsp malloc'd.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_http_lua_ffi_respond(task: *mut c_void, rc: c_int, rsp: *mut c_char, rsp_len: c_int) {
    assert_eq!(rc, 0);
    // SAFETY: the caller's promise; the task ends here.
    unsafe {
        let task = Box::from_raw(task.cast::<Task>());
        let answer = slice::from_raw_parts(rsp.cast::<u8>(), rsp_len.try_into().expect("a length")).to_vec();
        libc::free(rsp.cast());
        let queue = &*task.queue;
        queue.tasks.lock().expect("no panic").answers.push(answer);
        queue.news.notify_all();
    }
}

/// So that the linker keeps what only Python looks for.
#[used]
static KEPT: (
    unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    unsafe extern "C" fn(*mut c_void, *mut c_int) -> *const c_char,
    unsafe extern "C" fn(*mut c_void, c_int, *mut c_char, c_int),
) = (ngx_http_lua_ffi_task_poll, ngx_http_lua_ffi_get_req, ngx_http_lua_ffi_respond);

/// The loader under one of its names: a link to the library, as it is installed.
fn loader(name: &str) -> Library {
    let dir = std::env::temp_dir().join("nffi-python-loaders");
    std::fs::create_dir_all(&dir).expect("a folder");
    let link = dir.join(name);
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(common::library(), &link).expect("a link");
    // SAFETY: our own library.
    unsafe { Library::open(Some(&link), RTLD_NOW | RTLD_LOCAL) }.expect("it loads")
}

fn init(library: &Library, spec: &str, queue: &Queue) -> c_int {
    let spec = CString::new(spec).expect("no NUL");
    // SAFETY: the documented signature.
    unsafe {
        let init = library
            .get::<unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int>(b"libffi_init")
            .expect("it is exported");
        init(spec.as_ptr(), queue.address())
    }
}

fn init_older(library: &Library, spec: &str, queue: &Queue) -> c_int {
    // SAFETY: the documented signature. The length is what counts: no NUL follows.
    unsafe {
        let init = library
            .get::<unsafe extern "C" fn(*const c_char, c_int, *mut c_void) -> c_int>(b"lib_nonblocking_ffi_init")
            .expect("it is exported");
        init(spec.as_ptr().cast(), spec.len().try_into().expect("short"), queue.address())
    }
}

#[test]
#[ignore = "needs libpython and a venv with cffi"]
fn libraries_of_the_seeds_abi() {
    let venv = std::env::var("NFFI_PYTHON_VENV").expect("NFFI_PYTHON_VENV is not set: run scripts/test python");
    // SAFETY: this test is alone in its process.
    unsafe { std::env::set_var("VIRTUAL_ENV", venv) };
    let python3 = loader("libffi_python3.so");
    let resty = loader("libresty_ffi_python.so");
    let dir = common::handlers();

    // The first ones come at once, from several threads: there is one interpreter all the same.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let queue = Queue::new();
                assert_eq!(init(&python3, &format!("{dir}/seedlib,init"), queue), 0);
                assert_eq!(queue.call(b"first"), b"first");
                queue.unload();
            });
        }
    });

    // The folder of the module may be named with it; from then on it is known.
    let one = Queue::new();
    assert_eq!(init(&python3, &format!("{dir}/seedlib,init"), one), 0);
    assert_eq!(one.call(b"hello\0there"), b"hello\0there");

    // The configuration may have commas; another one is another runtime.
    let two = Queue::new();
    assert_eq!(init(&resty, r#"seedlib?,init,{"front":"a,b:","x":1}"#, two), 0);
    assert_eq!(two.call(b"x"), b"a,b:x");
    assert_eq!(one.call(b"still"), b"still");

    let older = Queue::new();
    assert_eq!(init_older(&python3, "seedlib,init_with_length,12,", older), 0);
    assert_eq!(older.call(b"x"), b"12,x");
    let two_arguments = Queue::new();
    assert_eq!(init_older(&python3, "seedlib,init", two_arguments), 0);
    assert_eq!(two_arguments.call(b"y"), b"y");

    // What the function returns is what init returns; without one it is 1.
    let none = Queue::new();
    assert_eq!(init(&python3, "seedlib,refuse", none), 7);
    for spec in ["seedlib,throw", "seedlib,leave", "seedlib,missing", "not_there,init", "seedlib", "", ","] {
        assert_eq!(init(&python3, spec, none), 1, "{spec:?}");
    }
    // SAFETY: the documented signature; NULL is allowed.
    let rc = unsafe {
        let init = python3.get::<unsafe extern "C" fn(*const c_char, *mut c_void) -> c_int>(b"libffi_init");
        init.expect("it is exported")(ptr::null(), none.address())
    };
    assert_eq!(rc, 1);
    for queue in [one, two, older, two_arguments] {
        queue.unload();
    }
}
