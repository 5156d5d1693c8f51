//! The runtime's side: the host's table as a runtime uses it, from any thread.

use std::{
    ffi::{c_char, c_int},
    ptr, slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nffi_core::abi::{self, nffi_event, nffi_host};

use super::{INITS, lock};

/// What poll() gave out, with a copy of its data.
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: u32,
    pub flags: u32,
    pub task: u64,
    pub data: Vec<u8>,
    /// Where the host keeps the data.
    pub address: usize,
    pub deadline: u64,
}

/// What read() gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Piece(Vec<u8>),
    Status(i32),
}

/// A runtime's two handles on its host.
#[derive(Clone, Copy)]
pub struct Rt {
    pub host: &'static nffi_host,
    pub queue: u64,
}

/// What shim.c calls: runs the closure that the configuration names.
///
/// # Safety
/// As nffi_runtime_init_v1.
pub unsafe extern "C" fn on_init(
    host: *const nffi_host,
    queue: u64,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: the ABI: valid for the call; the host's table lives as long as the process.
    let (cfg, err, host) = unsafe {
        (slice::from_raw_parts(cfg.cast::<u8>(), len), slice::from_raw_parts_mut(err.cast::<u8>(), err_cap), &*host)
    };
    let id: Option<usize> = std::str::from_utf8(cfg).ok().and_then(|text| text.trim().parse().ok());
    let Some(init) = id.and_then(|id| lock(&INITS).remove(&id)) else { return 2 };
    match init(Rt { host, queue }) {
        Ok(()) => 0,
        Err(message) => {
            let len = message.len().min(err_cap - 1);
            err[..len].copy_from_slice(&message.as_bytes()[..len]);
            err[len] = 0;
            1
        }
    }
}

/// Threads that poll and hand each event to `handle`; the last to see STOP says stopped().
pub fn pollers(rt: Rt, threads: usize, handle: impl Fn(Rt, Event) + Send + Sync + 'static) {
    let handle = Arc::new(handle);
    let left = Arc::new(AtomicUsize::new(threads));
    for _ in 0..threads {
        let (handle, left) = (handle.clone(), left.clone());
        thread::spawn(move || {
            loop {
                for event in rt.poll(1, -1) {
                    if event.kind == abi::NFFI_STOP {
                        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                            rt.stopped();
                        }
                        return;
                    }
                    handle(rt, event);
                }
            }
        });
    }
}

macro_rules! host {
    ($rt:expr, $function:ident($($argument:expr),*)) => {{
        let function = $rt.host.$function.expect("a function of the table");
        // SAFETY: the arguments are what the ABI asks for; each caller below sees to it.
        unsafe { function($($argument),*) }
    }};
}

impl Rt {
    /// A malloc'd copy of `data`, as a runtime would make it; NULL where there is none.
    fn block(self, data: Option<&[u8]>) -> (*mut c_char, usize) {
        let Some(data) = data else { return (ptr::null_mut(), 0) };
        let block = host!(self, alloc(data.len().max(1))).cast::<u8>();
        assert!(!block.is_null());
        // SAFETY: alloc gave at least data.len() bytes.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), block, data.len()) };
        (block.cast(), data.len())
    }

    pub fn poll(self, max: usize, timeout_ms: i32) -> Vec<Event> {
        let mut events = vec![nffi_event::default(); max];
        let n = host!(self, poll(self.queue, events.as_mut_ptr(), max, timeout_ms));
        assert!(n <= max);
        events.truncate(n);
        events.into_iter().map(Event::from).collect()
    }

    /// Polls for exactly one event.
    pub fn next(self) -> Event {
        let mut events = self.poll(1, 60_000);
        assert_eq!(events.len(), 1, "nothing came");
        events.remove(0)
    }

    pub fn poll_fd(self) -> i32 {
        host!(self, poll_fd(self.queue))
    }

    pub fn reply(self, task: u64, status: i32, data: &[u8]) -> i32 {
        let (data, len) = self.block(Some(data));
        host!(self, reply(task, status, data, len))
    }

    pub fn reply_null(self, task: u64, len: usize) -> i32 {
        host!(self, reply(task, 0, ptr::null_mut(), len))
    }

    /// The results, and how many were OK.
    pub fn reply_many(self, answers: &[(u64, i32, &[u8])]) -> (usize, Vec<i32>) {
        let mut many: Vec<abi::nffi_answer> = answers
            .iter()
            .map(|&(task, status, data)| {
                let (data, len) = self.block(Some(data));
                abi::nffi_answer { task, status, data, len, result: 77, ..Default::default() }
            })
            .collect();
        let ok = host!(self, reply_many(many.as_mut_ptr(), many.len()));
        (ok, many.iter().map(|answer| answer.result).collect())
    }

    pub fn write(self, task: u64, piece: &[u8]) -> i32 {
        let (data, len) = self.block(Some(piece));
        host!(self, write(task, data, len))
    }

    pub fn read(self, task: u64) -> Read {
        let (mut data, mut len) = (ptr::null_mut(), 0);
        let status = host!(self, read(task, &mut data, &mut len));
        if status != abi::NFFI_OK {
            return Read::Status(status);
        }
        // SAFETY: read() gave a block of len bytes.
        let piece = unsafe { slice::from_raw_parts(data.cast::<u8>(), len) }.to_vec();
        host!(self, release(data.cast()));
        Read::Piece(piece)
    }

    pub fn end(self, task: u64, status: i32) -> i32 {
        host!(self, end(task, status))
    }

    /// A list of headers, and what it points to.
    fn with_headers<T>(headers: &[(&[u8], &[u8])], f: impl FnOnce(*const abi::nffi_header, usize) -> T) -> T {
        let string = |s: &[u8]| abi::nffi_str { data: s.as_ptr().cast(), len: s.len() };
        let list: Vec<abi::nffi_header> =
            headers.iter().map(|(n, v)| abi::nffi_header { name: string(n), value: string(v) }).collect();
        f(list.as_ptr(), list.len())
    }

    pub fn http(self, task: u64) -> *const abi::nffi_http_request {
        host!(self, http(task))
    }

    pub fn http_head(self, task: u64, status: i32, headers: &[(&[u8], &[u8])]) -> i32 {
        Self::with_headers(headers, |list, n| host!(self, http_head(task, status, list, n)))
    }

    pub fn http_trailers(self, task: u64, headers: &[(&[u8], &[u8])]) -> i32 {
        Self::with_headers(headers, |list, n| host!(self, http_trailers(task, list, n)))
    }

    /// The host takes the file, whatever it says.
    pub fn http_file(self, task: u64, file: std::fs::File, offset: i64, length: i64) -> i32 {
        use std::os::fd::IntoRawFd;
        host!(self, http_file(task, file.into_raw_fd(), offset, length))
    }

    pub fn cancelled(self, task: u64) -> i32 {
        host!(self, cancelled(task))
    }

    pub fn log(self, task: u64, level: i32, message: &[u8]) {
        host!(self, log(self.queue, task, level, message.as_ptr().cast(), message.len()));
    }

    pub fn stopped(self) {
        host!(self, stopped(self.queue));
    }
}

impl From<nffi_event> for Event {
    fn from(raw: nffi_event) -> Self {
        let data = if raw.data.is_null() {
            Vec::new()
        } else {
            // SAFETY: the ABI: len bytes, valid until the task ends, which is not before this.
            unsafe { slice::from_raw_parts(raw.data.cast::<u8>(), raw.len) }.to_vec()
        };
        Self {
            kind: raw.kind,
            flags: raw.flags,
            task: raw.task,
            data,
            address: raw.data as usize,
            deadline: raw.deadline,
        }
    }
}
