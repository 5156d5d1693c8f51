//! A host for tests: requests go in by hand, answers are kept.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::{c_char, c_int, c_void},
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use nffi_abi::{NFFI_ABI, NFFI_BAD, NFFI_CALL, NFFI_CANCEL, NFFI_OK, NFFI_STOP, nffi_event, nffi_host};

use crate::ffi::Host;

/// One queue and its tasks. Queues are numbered from 1; a task's upper half is its queue.
#[derive(Default)]
struct Queue {
    /// kind, task
    events: VecDeque<(u32, u64)>,
    /// Of the calls that have not ended: a request that is read later is freed memory.
    requests: HashMap<u64, Box<[u8]>>,
    tasks: u64,
    gone: HashSet<u64>,
    answers: HashMap<u64, (i32, String)>,
    /// reply() of a task that has been ended already, or never was.
    bad: usize,
    stopped: usize,
}

static QUEUES: Mutex<Vec<Queue>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

fn queues() -> MutexGuard<'static, Vec<Queue>> {
    QUEUES.lock().unwrap()
}

/// Waits until `look` finds something.
fn wait<T>(number: u64, look: impl Fn(&mut Queue) -> Option<T>) -> T {
    let mut all = queues();
    loop {
        if let Some(found) = look(&mut all[number as usize - 1]) {
            return found;
        }
        let (guard, timeout) = CHANGED.wait_timeout(all, Duration::from_secs(60)).unwrap();
        assert!(!timeout.timed_out(), "nothing came for a minute");
        all = guard;
    }
}

#[derive(Clone, Copy)]
pub struct FakeHost(u64);

impl FakeHost {
    pub fn new() -> Self {
        let mut all = queues();
        all.push(Queue::default());
        Self(all.len() as u64)
    }

    pub fn host(self) -> Host {
        // SAFETY: the table is static.
        unsafe { Host::new(&raw const TABLE, self.0) }.unwrap()
    }

    fn change<T>(self, f: impl FnOnce(&mut Queue) -> T) -> T {
        let result = f(&mut queues()[self.0 as usize - 1]);
        CHANGED.notify_all();
        result
    }

    /// The next call's number, before it is made.
    pub fn next_task(self) -> u64 {
        self.change(|queue| self.0 << 32 | (queue.tasks + 1))
    }

    pub fn call(self, request: &str) -> u64 {
        let task = self.next_task();
        self.change(|queue| {
            queue.tasks += 1;
            queue.requests.insert(task, request.as_bytes().into());
            queue.events.push_back((NFFI_CALL, task));
        });
        task
    }

    /// As after a timeout: cancelled() says so, and an event tells.
    pub fn cancel(self, task: u64) {
        self.change(|queue| {
            queue.gone.insert(task);
            queue.events.push_front((NFFI_CANCEL, task));
        });
    }

    pub fn stop(self) {
        self.change(|queue| queue.events.push_back((NFFI_STOP, 0)));
    }

    pub fn answer(self, task: u64) -> (i32, String) {
        wait(self.0, |queue| queue.answers.get(&task).cloned())
    }

    pub fn has_answer(self, task: u64) -> bool {
        self.change(|queue| queue.answers.contains_key(&task))
    }

    pub fn wait_for_stopped(self) {
        wait(self.0, |queue| (queue.stopped > 0).then_some(()));
    }

    /// How often stopped() was called, and how many replies were for no task.
    pub fn counts(self) -> (usize, usize) {
        self.change(|queue| (queue.stopped, queue.bad))
    }
}

unsafe extern "C" fn poll(number: u64, events: *mut nffi_event, _max: usize, _timeout_ms: c_int) -> usize {
    let event = wait(number, |queue| {
        let (kind, task) = *queue.events.front()?;
        if kind != NFFI_STOP {
            queue.events.pop_front();
        }
        let request = queue.requests.get(&task).map_or(&b""[..], |request| request);
        let (data, len) = (request.as_ptr().cast(), request.len());
        Some(nffi_event { kind, task, data, len, ..Default::default() })
    });
    // SAFETY: there is room for one.
    unsafe { events.write(event) };
    1
}

unsafe extern "C" fn reply(task: u64, status: c_int, data: *mut c_char, len: usize) -> c_int {
    // SAFETY: what comes here came from alloc() below.
    let text = unsafe {
        let data: *mut u8 = data.cast();
        let text = String::from_utf8_lossy(std::slice::from_raw_parts(data, len)).into_owned();
        std::alloc::dealloc(data, layout(len));
        text
    };
    let mut all = queues();
    let queue = &mut all[(task >> 32) as usize - 1];
    queue.requests.remove(&task);
    if queue.answers.insert(task, (status, text)).is_some() {
        queue.bad += 1;
        return NFFI_BAD;
    }
    CHANGED.notify_all();
    NFFI_OK as c_int
}

unsafe extern "C" fn cancelled(task: u64) -> c_int {
    queues()[(task >> 32) as usize - 1].gone.contains(&task).into()
}

unsafe extern "C" fn stopped(number: u64) {
    queues()[number as usize - 1].stopped += 1;
    CHANGED.notify_all();
}

/// Exactly what is asked for, so that Miri and AddressSanitizer see every byte too many.
fn layout(len: usize) -> std::alloc::Layout {
    std::alloc::Layout::array::<u8>(len.max(1)).unwrap()
}

unsafe extern "C" fn alloc(size: usize) -> *mut c_void {
    // SAFETY: the size is not 0.
    unsafe { std::alloc::alloc(layout(size)) }.cast()
}

static TABLE: nffi_host = nffi_host {
    abi: NFFI_ABI,
    size: size_of::<nffi_host>() as u32,
    poll: Some(poll),
    reply: Some(reply),
    cancelled: Some(cancelled),
    stopped: Some(stopped),
    alloc: Some(alloc),
    poll_fd: None,
    write: None,
    read: None,
    reply_many: None,
    end: None,
    log: None,
    release: None,
    http: None,
    http_head: None,
    http_file: None,
    http_trailers: None,
};
