//! hello.c in Rust: a thread that answers each request with a greeting. A panic of the handler is an error
//! of its own call, and ends neither the thread nor the worker.

use std::{
    ffi::{c_char, c_int},
    panic::catch_unwind,
    ptr, slice, thread,
};

use nffi_abi::{NFFI_ABI, NFFI_CALL, NFFI_STOP, nffi_event, nffi_host, nffi_queue, nffi_task};

/// The work itself: safe code. An error has a status other than 0 and a message.
fn greet(request: &[u8]) -> Result<Vec<u8>, (i32, String)> {
    if request.is_empty() {
        return Err((400, "who is there?".to_owned()));
    }
    Ok([b"hello, ", request].concat())
}

/// The host's table, and this runtime's queue in it.
#[derive(Clone, Copy)]
struct Host {
    table: &'static nffi_host,
    queue: nffi_queue,
}

impl Host {
    /// Runs on: the runtime's thread, from start to stop.
    fn serve(self) {
        let mut events = [nffi_event::default(); 64];
        let (Some(poll), Some(stopped)) = (self.table.poll, self.table.stopped) else { return };
        loop {
            // SAFETY: there is room for as many events as it is told.
            let n = unsafe { poll(self.queue, events.as_mut_ptr(), events.len(), -1) };
            for event in &events[..n] {
                match event.kind {
                    NFFI_CALL => self.call(event),
                    NFFI_STOP => {
                        // SAFETY: the handle that init was given; nothing is touched after it.
                        unsafe { stopped(self.queue) };
                        return;
                    }
                    _ => {}
                }
            }
        }
    }

    fn call(&self, event: &nffi_event) {
        // SAFETY: never NULL with NFFI_CALL, and the host's until the task ends, below.
        let request = unsafe { slice::from_raw_parts(event.data.cast::<u8>(), event.len) };
        match catch_unwind(|| greet(request)) {
            Ok(Ok(answer)) => self.reply(event.task, 0, &answer),
            Ok(Err((status, message))) => self.reply(event.task, status, message.as_bytes()),
            Err(_) => self.reply(event.task, 500, b"the handler panicked"),
        }
    }

    /// The host frees what it is handed with free(), so it is a copy from the host's own alloc().
    fn reply(&self, task: nffi_task, status: c_int, body: &[u8]) {
        let (Some(alloc), Some(reply)) = (self.table.alloc, self.table.reply) else { return };
        // SAFETY: the block is as long as what is copied, and the host's with reply().
        unsafe {
            let data: *mut u8 = alloc(body.len().max(1)).cast();
            if data.is_null() {
                reply(task, 500, ptr::null_mut(), 0);
                return;
            }
            ptr::copy_nonoverlapping(body.as_ptr(), data, body.len());
            reply(task, status, data.cast(), body.len());
        }
    }
}

/// # Safety
/// As include/nffi.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nffi_runtime_init_v1(
    host: *const nffi_host,
    queue: nffi_queue,
    _cfg: *const c_char,
    _len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: valid for the life of the process.
    let started = match unsafe { host.as_ref() } {
        Some(table) if table.abi == NFFI_ABI => {
            let host = Host { table, queue };
            let thread = thread::Builder::new().name("hello".to_owned());
            thread.spawn(move || host.serve()).map(drop).map_err(|error| format!("cannot start a thread: {error}"))
        }
        _ => Err(format!("a host of ABI {NFFI_ABI} is needed")),
    };
    let Err(message) = started else { return 0 };
    let len = message.len().min(err_cap.saturating_sub(1));
    if err_cap > 0 {
        // SAFETY: err has room for err_cap bytes.
        unsafe {
            ptr::copy_nonoverlapping(message.as_ptr(), err.cast(), len);
            err.add(len).write(0);
        }
    }
    1
}
