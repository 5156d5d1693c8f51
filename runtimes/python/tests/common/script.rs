//! A host whose events come exactly as a test says, batch by batch. The test host's own come when
//! they do.

use std::{
    collections::{HashSet, VecDeque},
    ffi::{c_char, c_int, c_void},
    mem::size_of,
    ptr,
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use nffi_abi as abi;

use super::SOON;

/// More than any memory holds.
pub const ENDLESS: usize = 1 << 60;

#[derive(Clone, Copy)]
pub struct Event {
    pub kind: u32,
    pub task: u64,
    pub data: &'static [u8],
    pub len: usize,
}

/// What a read gives next.
#[derive(Clone, Copy)]
pub enum Read {
    Again,
    Piece(&'static [u8]),
    /// A piece of ENDLESS bytes.
    Endless,
}

#[derive(Default)]
pub struct State {
    events: VecDeque<Event>,
    stop: bool,
    stopped: bool,
    /// What comes next; then NFFI_EOF.
    pub reads: VecDeque<Read>,
    /// No memory for more bytes than that in one answer; 0: for any number.
    pub most: usize,
    /// How many writes find the window full.
    pub full: usize,
    /// The caller has gone: reads say so.
    pub gone: bool,
    /// Calls of read and write so far.
    pub read: usize,
    pub written: usize,
    answers: Vec<(u64, i32, String)>,
    pub log: Vec<String>,
    /// Pieces that were read and not released.
    pub held: HashSet<usize>,
}

pub struct Script {
    state: Mutex<State>,
    news: Condvar,
    descriptor: c_int,
}

/// A queue's number is its place here, and in the upper half of its tasks' numbers. They stay.
static SCRIPTS: LazyLock<Mutex<Vec<&'static Script>>> = LazyLock::new(Mutex::default);

fn script(queue: u64) -> &'static Script {
    SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner)[queue as usize]
}

fn of_task(task: u64) -> &'static Script {
    script(task >> 32)
}

/// A runtime under a script.
pub struct Scripted {
    queue: u64,
    script: &'static Script,
}

impl Scripted {
    pub fn start(config: &str) -> Self {
        // SAFETY: no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        let script: &Script = Box::leak(Box::new(Script { state: Mutex::default(), news: Condvar::new(), descriptor }));
        let queue = {
            let mut scripts = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
            scripts.push(script);
            scripts.len() as u64 - 1
        };
        let mut said = [0u8; 1024];
        // SAFETY: our own library, and the types of nffi.h; the buffers are alive.
        let rc = unsafe {
            let library = Library::open(Some(super::library()), RTLD_NOW | RTLD_LOCAL).expect("it loads");
            let init = library.get::<abi::InitFn>(b"nffi_runtime_init_v1").expect("it is exported");
            init(&*HOST, queue, config.as_ptr().cast(), config.len(), said.as_mut_ptr().cast(), said.len())
        };
        assert_eq!(rc, 0, "{}", String::from_utf8_lossy(&said));
        Self { queue, script }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.script.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, number: u64) -> u64 {
        self.queue << 32 | number
    }

    /// One batch: an NFFI_CALL for each text, another kind for none.
    pub fn events(&self, batch: &[(u32, u64, &'static str)]) {
        let events = batch.iter().map(|(kind, number, text)| Event {
            kind: *kind,
            task: self.task(*number),
            data: text.as_bytes(),
            len: text.len(),
        });
        self.batch(events.collect());
    }

    /// A request of ENDLESS bytes, and one of these in the same batch.
    pub fn endless(&self, number: u64, other: u64, text: &'static str) {
        let call = |number, len| Event { kind: abi::NFFI_CALL, task: self.task(number), data: text.as_bytes(), len };
        self.batch([call(number, ENDLESS), call(other, text.len())].into());
    }

    fn batch(&self, events: VecDeque<Event>) {
        self.state().events.extend(events);
        self.script.raise();
    }

    /// Waits until `what` is so.
    pub fn until(&self, name: &str, what: impl Fn(&State) -> bool) {
        drop(self.state_when(name, what));
    }

    fn state_when(&self, name: &str, what: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let wait = self.script.news.wait_timeout_while(self.state(), SOON, |state| !what(state));
        let (state, late) = wait.unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "not so: {name}; answers {:?}, log {:?}", state.answers, state.log);
        state
    }

    pub fn answer(&self, number: u64) -> (i32, String) {
        let task = self.task(number);
        let of = |state: &State| state.answers.iter().position(|answer| answer.0 == task);
        let mut state = self.state_when(&format!("task {number} is answered"), |state| of(state).is_some());
        let place = of(&state).expect("found above");
        let (_, status, text) = state.answers.remove(place);
        (status, text)
    }

    pub fn stop(self) {
        self.state().stop = true;
        self.script.raise();
        let state = self.state_when("it has stopped", |state| state.stopped);
        assert!(state.answers.is_empty(), "{:?}", state.answers);
        assert!(state.held.is_empty(), "pieces are kept");
    }
}

impl Script {
    fn raise(&self) {
        self.news.notify_all();
        let one = 1u64;
        // SAFETY: eight bytes, as an eventfd takes them.
        unsafe { libc::write(self.descriptor, ptr::from_ref(&one).cast(), 8) };
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.notify_all();
        result
    }
}

static HOST: LazyLock<abi::nffi_host> = LazyLock::new(|| abi::nffi_host {
    abi: abi::NFFI_ABI,
    size: size_of::<abi::nffi_host>() as u32,
    poll: Some(poll),
    poll_fd: Some(poll_fd),
    reply: Some(reply),
    write: Some(write),
    read: Some(read),
    reply_many: Some(reply_many),
    end: Some(end),
    cancelled: Some(cancelled),
    log: Some(log),
    stopped: Some(stopped),
    alloc: Some(alloc),
    release: Some(release),
    ..Default::default()
});

// SAFETY of all below: they are called as nffi.h says.

unsafe extern "C" fn poll(queue: u64, events: *mut abi::nffi_event, max: usize, timeout_ms: c_int) -> usize {
    let script = script(queue);
    let mut state = script.state.lock().unwrap_or_else(PoisonError::into_inner);
    if timeout_ms != 0 {
        let idle = |state: &mut State| state.events.is_empty() && !state.stop;
        state = script.news.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
    }
    let mut count = 0u64;
    // SAFETY: eight bytes, as an eventfd gives them.
    unsafe { libc::read(script.descriptor, ptr::from_mut(&mut count).cast(), 8) };
    let n = state.events.len().min(max);
    for (place, event) in state.events.drain(..n).enumerate() {
        let data = if event.kind == abi::NFFI_CALL { event.data.as_ptr().cast() } else { ptr::null() };
        let event = abi::nffi_event {
            kind: event.kind,
            flags: abi::NFFI_MORE,
            task: event.task,
            data,
            len: event.len,
            deadline: 0,
        };
        // SAFETY: room for max events.
        unsafe { events.add(place).write(event) };
    }
    if n == 0 && state.stop {
        // SAFETY: as above.
        unsafe { events.write(abi::nffi_event { kind: abi::NFFI_STOP, ..Default::default() }) };
        return 1;
    }
    n
}

unsafe extern "C" fn poll_fd(queue: u64) -> c_int {
    script(queue).descriptor
}

unsafe extern "C" fn reply(task: u64, status: c_int, data: *mut c_char, len: usize) -> c_int {
    let text = if data.is_null() {
        String::new()
    } else {
        // SAFETY: the caller's bytes, which are ours now.
        unsafe {
            let text = String::from_utf8_lossy(std::slice::from_raw_parts(data.cast(), len)).into_owned();
            libc::free(data.cast());
            text
        }
    };
    of_task(task).change(|state| state.answers.push((task, status, text)));
    abi::NFFI_OK
}

unsafe extern "C" fn reply_many(answers: *mut abi::nffi_answer, n: usize) -> usize {
    for place in 0..n {
        // SAFETY: the caller's array.
        unsafe {
            let answer = &mut *answers.add(place);
            answer.result = reply(answer.task, answer.status, answer.data, answer.len);
        }
    }
    n
}

unsafe extern "C" fn end(task: u64, status: c_int) -> c_int {
    // SAFETY: without bytes.
    unsafe { reply(task, status, ptr::null_mut(), 0) }
}

unsafe extern "C" fn write(task: u64, data: *mut c_char, _: usize) -> c_int {
    // SAFETY: the caller's bytes, which are ours now.
    unsafe { libc::free(data.cast()) };
    of_task(task).change(|state| {
        state.written += 1;
        if state.full == 0 {
            return abi::NFFI_OK;
        }
        state.full -= 1;
        abi::NFFI_FULL
    })
}

unsafe extern "C" fn read(task: u64, data: *mut *mut c_char, len: *mut usize) -> c_int {
    of_task(task).change(|state| {
        state.read += 1;
        let (piece, given) = match state.reads.pop_front() {
            _ if state.gone => return abi::NFFI_GONE,
            None => return abi::NFFI_EOF,
            Some(Read::Again) => return abi::NFFI_AGAIN,
            Some(Read::Piece(piece)) => (piece, piece.len()),
            Some(Read::Endless) => (&b"x"[..], ENDLESS),
        };
        // SAFETY: the two are the caller's; the copy has room.
        unsafe {
            let copy = libc::malloc(piece.len());
            ptr::copy_nonoverlapping(piece.as_ptr(), copy.cast(), piece.len());
            state.held.insert(copy as usize);
            (*data, *len) = (copy.cast(), given);
        }
        abi::NFFI_OK
    })
}

unsafe extern "C" fn cancelled(task: u64) -> c_int {
    of_task(task).change(|state| state.gone.into())
}

unsafe extern "C" fn log(queue: u64, _: u64, _: c_int, message: *const c_char, len: usize) {
    // SAFETY: the caller's bytes.
    let line = unsafe { String::from_utf8_lossy(std::slice::from_raw_parts(message.cast(), len)).into_owned() };
    script(queue).change(|state| state.log.push(line));
}

unsafe extern "C" fn stopped(queue: u64) {
    script(queue).change(|state| state.stopped = true);
}

unsafe extern "C" fn alloc(size: usize) -> *mut c_void {
    let scripts = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
    if scripts.last().is_some_and(|script| script.change(|state| (1..size).contains(&state.most))) {
        return ptr::null_mut();
    }
    // SAFETY: any size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn release(data: *mut c_void) {
    for script in SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        script.change(|state| state.held.remove(&(data as usize)));
    }
    // SAFETY: from alloc or read.
    unsafe { libc::free(data) };
}
