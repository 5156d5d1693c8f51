//! Keeping foreign code from harming the process it lives in: signals that land on foreign
//! threads, children that nginx would reap, exits that would take the site down.
//!
//! | harm                                                   | defence                            |
//! |--------------------------------------------------------|------------------------------------|
//! | nginx's SIGCHLD handler reaps a runtime's children     | SIGCHLD is default in workers      |
//! | nginx's handlers run on a runtime's thread             | they are sent on to the main thread|
//! | a worker that exits with code 2 is never started again | the master is told otherwise       |
//! | exit() runs destructors under running threads          | such an exit is logged and cut short|

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    process::id,
    ptr,
    sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicUsize, Ordering},
};

use nffi_core::{host::HOST, registry};
use nginx_sys::{
    NGX_LOG_ALERT, NGX_LOG_WARN, NGX_MAX_PROCESSES, NGX_PROCESS_WORKER, ngx_cycle, ngx_last_process, ngx_log_t,
    ngx_process, ngx_process_slot, ngx_processes, ngx_quit, ngx_terminate, ngx_test_config,
};

use crate::{errlog, sema::symbol};

/// nginx's own table of signals (`ngx_process.c`); it ends with a signal of 0.
#[repr(C)]
struct NgxSignal {
    signo: c_int,
    signame: *const c_char,
    name: *const c_char,
    handler: Option<Handler>,
}

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// nginx's handler, the same for all signals that have one.
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

fn original() -> Option<Handler> {
    match ORIGINAL.load(Ordering::Relaxed) {
        0 => None,
        // SAFETY: stored from a Handler only.
        address => Some(unsafe { std::mem::transmute::<usize, Handler>(address) }),
    }
}

/// The entries of nginx's table, where it is exported.
fn nginx_signals() -> impl Iterator<Item = *mut NgxSignal> {
    // SAFETY: the address of a data symbol, in the shape of a pointer to its first entry.
    let first = unsafe { symbol::<*mut NgxSignal>(c"signals") }.unwrap_or(ptr::null_mut());
    (0..64).map_while(move |i| {
        if first.is_null() {
            return None;
        }
        // SAFETY: the table ends with signo 0, and we stop there.
        let entry = unsafe { first.add(i) };
        // SAFETY: as above.
        (unsafe { (*entry).signo } != 0).then_some(entry)
    })
}

fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a NULL new action only asks.
    let rc = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written where the call succeeded.
    (rc == 0).then(|| unsafe { action.assume_init() })
}

fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: a valid action; the old one is not asked for.
    unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
}

// ---- in the worker: signals -------------------------------------------------------------------

static MAIN_THREAD: AtomicI32 = AtomicI32::new(0);

/// Leaves SIGCHLD to whoever waits for children, and sends nginx's other signals on to the main
/// thread. Handlers of other modules are left alone. Runs on: event loop, when the worker starts.
pub fn guard_signals() {
    // SAFETY: no arguments.
    MAIN_THREAD.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    // SAFETY: set by nginx before any init_process.
    let is_worker = unsafe { ngx_process } as u32 == NGX_PROCESS_WORKER;
    for entry in nginx_signals() {
        // SAFETY: an entry before the end of nginx's table.
        let (signal, handler) = unsafe { ((*entry).signo, (*entry).handler) };
        let (Some(handler), Some(mut current)) = (handler, action(signal)) else { continue };
        let handler = if signal == libc::SIGCHLD { original().unwrap_or(handler) } else { handler };
        let ours = reap as Handler as usize;
        if current.sa_sigaction != handler as usize && current.sa_sigaction != ours {
            continue;
        }
        if signal == libc::SIGCHLD {
            // A worker of nginx has no children of its own.
            if is_worker {
                current.sa_sigaction = libc::SIG_DFL;
                current.sa_flags = 0;
                set_action(signal, &current);
            }
        } else {
            ORIGINAL.store(handler as usize, Ordering::Relaxed);
            current.sa_sigaction = forward as Handler as usize;
            current.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            set_action(signal, &current);
        }
    }
}

/// Runs on: whatever thread the kernel chose.
unsafe extern "C" fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let main = MAIN_THREAD.load(Ordering::Relaxed);
    // SAFETY: async-signal-safe calls; the original handler gets what the kernel gave.
    unsafe {
        if libc::gettid() == main {
            if let Some(original) = original() {
                original(signal, info, context);
            }
        } else {
            libc::syscall(libc::SYS_tgkill, libc::getpid(), main, signal);
        }
    }
}

// ---- in the worker: exits ------------------------------------------------------------------------

unsafe extern "C" {
    /// glibc's: like atexit, and the handler gets the status.
    fn on_exit(handler: unsafe extern "C" fn(c_int, *mut c_void), arg: *mut c_void) -> c_int;
}

/// The worker serves: an exit now is foreign code's.
static UP: AtomicBool = AtomicBool::new(false);
/// nginx itself exits, with foreign threads still about.
static LEAVING_BUSY: AtomicBool = AtomicBool::new(false);
static WORKER_PID: AtomicI32 = AtomicI32::new(0);

/// Runs on: event loop, when the worker starts.
pub fn guard_exit() {
    WORKER_PID.store(id() as i32, Ordering::Relaxed);
    // SAFETY: the module is never unmapped.
    unsafe { on_exit(exiting, ptr::null_mut()) };
}

/// Runs on: the thread that called exit(). First of all exit handlers but those registered later.
unsafe extern "C" fn exiting(status: c_int, _: *mut c_void) {
    // A forked child that exits is none of our business.
    if WORKER_PID.load(Ordering::Relaxed) != id() as i32 {
        return;
    }
    if UP.load(Ordering::Acquire) {
        let name = HOST.registry.with(registry::current(), |runtime| runtime.name.clone());
        let who = name.map_or_else(|| "code in the worker".to_owned(), |name| format!("nffi runtime \"{name}\""));
        let message = format!("{who} called exit({status}): the worker ends, its requests are lost");
        // Off the event loop: nginx's log may not be touched, but its descriptor may be written.
        write_raw(&message);
    } else if !LEAVING_BUSY.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: ends the process; no destructor runs under threads that still use its objects.
    unsafe { libc::_exit(status) };
}

/// One line to the error log's descriptor, from any thread.
fn write_raw(message: &str) {
    let fd = LOG_FD.load(Ordering::Relaxed);
    let line = format!("nffi [alert] {}: {message}\n", id());
    // SAFETY: a plain write; a descriptor that is closed is an error that nobody can be told of.
    unsafe { libc::write(if fd < 0 { 2 } else { fd }, line.as_ptr().cast(), line.len()) };
}

static LOG_FD: AtomicI32 = AtomicI32::new(-1);

/// The loop runs. From now on an exit is not nginx's own. Runs on: event loop.
pub fn is_up() {
    // SAFETY: the worker's cycle and its log live as long as the worker.
    unsafe {
        let mut log = (*ngx_cycle).log;
        while !log.is_null() && (*log).file.is_null() {
            log = (*log).next;
        }
        if !log.is_null() {
            LOG_FD.store((*(*log).file).fd, Ordering::Relaxed);
        }
    }
    UP.store(true, Ordering::Release);
    if let Some(slot) = own_slot() {
        slot.pid.store(id() as i32, Ordering::Release);
    }
}

/// exit_process: from now on an exit is nginx's. `quiet`: no foreign thread is left.
pub fn leaving(quiet: bool) {
    UP.store(false, Ordering::Release);
    LEAVING_BUSY.store(!quiet, Ordering::Release);
    if let Some(slot) = own_slot() {
        slot.pid.store(0, Ordering::Release);
    }
}

// ---- in the master: respawning ---------------------------------------------------------------------

const NAMES: usize = 252;

/// What the master knows of a worker, in memory that both share.
#[repr(C)]
struct WorkerSlot {
    /// The worker's, once it is up; 0 otherwise.
    pid: AtomicI32,
    /// Its runtimes' names, NUL-terminated.
    names: [AtomicU8; NAMES],
}

/// One for each of nginx's process slots.
static SLOTS: AtomicPtr<WorkerSlot> = AtomicPtr::new(ptr::null_mut());
const SLOT_COUNT: usize = NGX_MAX_PROCESSES as usize;

fn slot(number: usize) -> Option<&'static WorkerSlot> {
    let slots = SLOTS.load(Ordering::Acquire);
    // SAFETY: a mapping of SLOT_COUNT slots that is never unmapped; all fields are atomics.
    (!slots.is_null() && number < SLOT_COUNT).then(|| unsafe { &*slots.add(number) })
}

fn own_slot() -> Option<&'static WorkerSlot> {
    // SAFETY: set by nginx before the fork; SINGLE processes have no master to tell.
    unsafe { (ngx_process as u32 == NGX_PROCESS_WORKER).then(|| slot(ngx_process_slot as usize)).flatten() }
}

/// Adds a runtime's name to what the master knows. Runs on: event loop.
pub fn name_runtime(name: &str) {
    let Some(slot) = own_slot() else { return };
    // A slot is used again after its worker has gone.
    static FIRST: AtomicBool = AtomicBool::new(true);
    if FIRST.swap(false, Ordering::Relaxed) {
        slot.names[0].store(0, Ordering::Relaxed);
    }
    let used = slot.names.iter().position(|b| b.load(Ordering::Relaxed) == 0).unwrap_or(NAMES);
    let text = if used == 0 { name.to_owned() } else { format!(", {name}") };
    if used + text.len() < NAMES {
        for (to, from) in slot.names[used..].iter().zip(text.bytes().chain([0])) {
            to.store(from, Ordering::Relaxed);
        }
    }
}

/// Puts our handler in front of nginx's own for SIGCHLD. nginx installs what its table says once,
/// after the first configuration is read; where the module comes with a reload, it has done so
/// already. Runs on: master.
///
/// # Safety
/// `log` is the log of the new cycle.
pub unsafe fn guard_workers(log: *mut ngx_log_t) {
    // SAFETY: nginx's flag, read on its own thread.
    if unsafe { ngx_test_config } != 0 || !SLOTS.load(Ordering::Acquire).is_null() {
        return;
    }
    let Some(entry) = nginx_signals().find(|entry| {
        // SAFETY: an entry before the end of nginx's table.
        unsafe { (**entry).signo == libc::SIGCHLD }
    }) else {
        errlog::write(
            log,
            NGX_LOG_WARN as _,
            format_args!(
                "nffi: this nginx does not export its signals; a runtime's exit(2) will end the worker for good"
            ),
        );
        return;
    };
    let size = SLOT_COUNT * size_of::<WorkerSlot>();
    // SAFETY: a new anonymous mapping; zeroed, which is valid for atomics.
    let slots = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if slots == libc::MAP_FAILED {
        errlog::write(log, NGX_LOG_WARN as _, format_args!("nffi: no shared memory; exit(2) of a runtime is fatal"));
        return;
    }
    // SAFETY: nginx's table is writable data; only this thread looks at it now.
    let Some(handler) = (unsafe { (*entry).handler }) else { return };
    ORIGINAL.store(handler as usize, Ordering::Relaxed);
    SLOTS.store(slots.cast(), Ordering::Release);
    // SAFETY: as above.
    unsafe { (*entry).handler = Some(reap) };
    if let Some(mut current) = action(libc::SIGCHLD)
        && current.sa_sigaction == handler as usize
    {
        current.sa_sigaction = reap as Handler as usize;
        set_action(libc::SIGCHLD, &current);
    }
}

/// nginx never starts a worker again that has exited with code 2, which stands for "cannot even
/// start". For workers that were up it means that foreign code called exit(2): they are hidden
/// from that rule while nginx's own handler reaps. Runs on: master, as its SIGCHLD handler (the
/// signal is blocked but for the wait in its cycle, so nothing else of nginx runs).
unsafe extern "C" fn reap(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(original) = original() else { return };
    // SAFETY: nginx's process table, on its own thread, as its own handler uses it.
    unsafe {
        let last = ngx_last_process as usize;
        let processes = &raw mut ngx_processes;
        let mut hidden = [false; SLOT_COUNT];
        for (number, hidden) in hidden.iter_mut().enumerate().take(last) {
            let process = &raw mut (*processes)[number];
            let up = slot(number).is_some_and(|s| s.pid.load(Ordering::Acquire) == (*process).pid);
            if up && (*process).pid > 0 && (*process).respawn() != 0 && (*process).exited() == 0 {
                *hidden = true;
                (*process).set_respawn(0);
            }
        }
        original(signal, info, context);
        for number in (0..SLOT_COUNT).filter(|&number| hidden[number]) {
            let process = &raw mut (*processes)[number];
            (*process).set_respawn(1);
            if (*process).exited() != 0 && libc::WIFEXITED((*process).status) {
                let leaving = (*process).exiting() != 0 || ngx_quit != 0 || ngx_terminate != 0;
                tell((*process).pid, libc::WEXITSTATUS((*process).status), number, leaving);
            }
        }
    }
}

/// Logs who may have ended a worker that was up. Runs on: master.
fn tell(pid: i32, status: i32, number: usize, leaving: bool) {
    let mut names = String::new();
    if let Some(slot) = slot(number) {
        slot.pid.store(0, Ordering::Release);
        let bytes: Vec<u8> = slot.names.iter().map(|b| b.load(Ordering::Relaxed)).take_while(|&b| b != 0).collect();
        names = String::from_utf8_lossy(&bytes).into_owned();
    }
    let next = if leaving { "it was leaving anyway" } else { "another is started" };
    errlog::cycle(
        NGX_LOG_ALERT as _,
        format_args!(
            "nffi: worker process {pid} was ended by code in it, with exit code {status}; {next}; its runtimes: {names}"
        ),
    );
}
