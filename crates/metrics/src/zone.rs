//! The counters in shared memory.
//!
//! ```text
//!   Header ──► Runtime ──► Runtime ──► …   by name; kept until the space is needed
//!      └─────► Worker  ──► Worker  ──► …   by process; dropped with it
//! ```
//!
//! Both lists change under the memory's lock. The numbers in them are atomic: a worker adds to those of runtimes, and
//! writes those of its own entry, without it.

use std::{
    fmt,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use nffi_core::{
    mark::{Marked, TaskMark},
    meter::{Meter, WORDS},
};

use crate::view::{Gauges, RuntimeView, View};

/// "nffi" and the layout's version: what another version has left is not touched.
const MAGIC: u64 = 0x6e66_6669_0000_0001;
/// Runtimes of one worker whose gauges are shown at a time.
pub const GAUGES: usize = 64;
/// Tasks of one worker that are marked at a time.
pub const MARKS: usize = 256;

/// Memory that processes share, at the same address in all of them.
pub trait Memory {
    /// Zeroed, aligned to 8; `None` where there is no more. The lock is held.
    fn alloc(&self, size: usize) -> Option<NonNull<u8>>;

    /// The lock is held.
    ///
    /// # Safety
    /// `at` is from [`alloc`](Self::alloc), and nobody uses it any more.
    unsafe fn free(&self, at: NonNull<u8>);

    fn lock(&self);

    fn unlock(&self);
}

#[repr(C)]
pub struct Header {
    magic: u64,
    /// So that a change of what is measured is noticed, too.
    words: u64,
    runtimes: AtomicPtr<Runtime>,
    workers: AtomicPtr<Worker>,
    /// Workers that ended without leaving.
    crashes: AtomicU64,
    /// Counts the uses of runtimes, to know the longest unused.
    clock: AtomicU64,
}

/// One runtime.
#[repr(C)]
pub(crate) struct Runtime {
    next: AtomicPtr<Runtime>,
    words: [AtomicU64; WORDS],
    restarts: AtomicU64,
    used: AtomicU64,
    /// Behind the structure, in the same piece of memory.
    name: *const u8,
    name_len: usize,
}

impl Runtime {
    fn name(&self) -> &[u8] {
        // SAFETY: add_runtime() has written that many bytes there before the entry was on the list.
        unsafe { slice::from_raw_parts(self.name, self.name_len) }
    }

    /// Runs on: any process.
    pub(crate) fn add(&self, meter: &Meter) {
        for (word, more) in self.words.iter().zip(meter.words()) {
            if *more != 0 {
                word.fetch_add(*more, Ordering::Relaxed);
            }
        }
    }

    fn meter(&self) -> Meter {
        Meter::from_words(std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed)))
    }
}

/// What a worker has of a runtime now.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Gauge {
    pub(crate) runtime: AtomicPtr<Runtime>,
    /// The worker's own number of it.
    pub(crate) number: AtomicU32,
    pub(crate) queued: AtomicU32,
    pub(crate) in_flight: AtomicU32,
    pub(crate) abandoned: AtomicU32,
}

#[repr(C)]
pub(crate) struct Worker {
    next: AtomicPtr<Worker>,
    id: WorkerId,
    /// It has ended as it should.
    pub(crate) left: AtomicU32,
    pub(crate) gauges: [Gauge; GAUGES],
    pub(crate) marks: [TaskMark; MARKS],
}

/// A process: numbers are used again, so the time of its start belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct WorkerId {
    pub pid: i32,
    /// In clock ticks since the machine's start.
    pub started: u64,
}

impl WorkerId {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id() as i32;
        let started = if let Known::Since(started) = known_of(pid) { started } else { 0 };
        Self { pid, started }
    }

    /// Does it still run? Yes where that cannot be known: what it has is not to be taken from it.
    pub fn is_alive(self) -> bool {
        match known_of(self.pid) {
            Known::Since(started) => self.started == 0 || self.started == started,
            Known::Dead => false,
            Known::Nothing => true,
        }
    }
}

/// What there is to know of a process.
enum Known {
    /// It runs, and when it was started.
    Since(u64),
    /// There is none, or but its remains.
    Dead,
    /// /proc is not there, say, or not for us.
    Nothing,
}

fn known_of(pid: i32) -> Known {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        // SAFETY: signal 0 only asks.
        let gone =
            unsafe { libc::kill(pid, 0) } == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        return if gone { Known::Dead } else { Known::Nothing };
    };
    // The name may have anything in it: what follows it begins behind the last parenthesis.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    // Field 3 is the state, 22 the start.
    if matches!(fields.next(), Some("Z" | "X")) {
        return Known::Dead;
    }
    fields.nth(18).and_then(|field| field.parse().ok()).map_or(Known::Nothing, Known::Since)
}

/// A worker that ended without leaving, and what it had under way.
#[derive(Debug, PartialEq, Eq)]
pub struct Crash {
    pub pid: i32,
    /// By the name of their runtime.
    pub tasks: Vec<(String, Marked)>,
}

/// What is in the memory is of another version of nffi.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherVersion;

impl fmt::Display for OtherVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was made by another version of nffi")
    }
}

impl std::error::Error for OtherVersion {}

/// The zone, as one process has it.
#[derive(Clone)]
pub struct Zone<M> {
    header: NonNull<Header>,
    pub(crate) memory: M,
}

struct Locked<'a, M: Memory>(&'a M);

impl<M: Memory> Drop for Locked<'_, M> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

impl<M: Memory> Zone<M> {
    /// Makes the zone. `None` where there is no memory for it.
    pub fn create(memory: M) -> Option<Self> {
        memory.lock();
        let at: Option<NonNull<Header>> = memory.alloc(size_of::<Header>()).map(NonNull::cast);
        memory.unlock();
        let header = Header {
            magic: MAGIC,
            words: WORDS as u64,
            runtimes: AtomicPtr::default(),
            workers: AtomicPtr::default(),
            crashes: AtomicU64::default(),
            clock: AtomicU64::default(),
        };
        // SAFETY: as large as a header, and nobody else knows it.
        unsafe { at?.write(header) };
        Some(Self { header: at?, memory })
    }

    /// The zone whose header is there already.
    ///
    /// # Safety
    /// `header` is what [`header`](Self::header) of a zone in the same memory has said, perhaps in another process
    /// or another version of nffi.
    pub unsafe fn at(memory: M, header: NonNull<Header>) -> Result<Self, OtherVersion> {
        // SAFETY: any version's header begins with these two.
        let (magic, words) = unsafe { ((*header.as_ptr()).magic, (*header.as_ptr()).words) };
        if magic != MAGIC || words != WORDS as u64 {
            return Err(OtherVersion);
        }
        Ok(Self { header, memory })
    }

    pub fn header(&self) -> NonNull<Header> {
        self.header
    }

    fn head(&self) -> &Header {
        // SAFETY: create() or at() has seen it, and headers are never freed.
        unsafe { self.header.as_ref() }
    }

    fn lock(&self) -> Locked<'_, M> {
        self.memory.lock();
        Locked(&self.memory)
    }

    /// Allocates; drops runtimes that nobody has any more, the longest unused first, where there is no more room. The
    /// lock is held.
    fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        loop {
            if let Some(at) = self.memory.alloc(size) {
                return Some(at);
            }
            let used = |runtime: &&Runtime| {
                self.workers().any(|worker| {
                    worker.gauges.iter().any(|gauge| ptr::eq(gauge.runtime.load(Ordering::Relaxed), *runtime))
                })
            };
            let oldest = self
                .runtimes()
                .filter(|runtime| !used(runtime))
                .min_by_key(|runtime| runtime.used.load(Ordering::Relaxed))
                .map(|runtime| (&raw const *runtime).cast_mut())?;
            unlink(&self.head().runtimes, oldest, |runtime| &runtime.next);
            // SAFETY: off the list, and no worker has it.
            unsafe { self.memory.free(NonNull::new(oldest)?.cast()) };
        }
    }

    /// The lock is held, or the caller only looks at what is never freed while it looks.
    fn runtimes(&self) -> impl Iterator<Item = &Runtime> {
        each(&self.head().runtimes, |runtime| &runtime.next)
    }

    /// The lock is held.
    fn workers(&self) -> impl Iterator<Item = &Worker> {
        each(&self.head().workers, |worker| &worker.next)
    }

    /// An entry for a process. `None` where there is no room.
    pub(crate) fn add_worker(&self, id: WorkerId) -> Option<NonNull<Worker>> {
        let _locked = self.lock();
        let worker: NonNull<Worker> = self.alloc(size_of::<Worker>())?.cast();
        // SAFETY: as large as one, zeroed, which is a valid one; nobody else knows it yet.
        unsafe {
            (*worker.as_ptr()).id = id;
            let head = &self.head().workers;
            (*worker.as_ptr()).next.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
            head.store(worker.as_ptr(), Ordering::Release);
        }
        Some(worker)
    }

    /// The runtime's entry, made where there is none, and held in `gauge`, so that it stays. `None` where there is no
    /// room.
    pub(crate) fn hold_runtime(&self, name: &[u8], gauge: &Gauge) -> Option<NonNull<Runtime>> {
        let _locked = self.lock();
        let known = self.runtimes().find(|runtime| runtime.name() == name).map(NonNull::from);
        let runtime = match known {
            Some(runtime) => runtime,
            None => self.add_runtime(name)?,
        };
        let now = self.head().clock.fetch_add(1, Ordering::Relaxed);
        // SAFETY: on the list, and the lock is held.
        unsafe { runtime.as_ref() }.used.store(now, Ordering::Relaxed);
        gauge.runtime.store(runtime.as_ptr(), Ordering::Release);
        Some(runtime)
    }

    /// The lock is held.
    fn add_runtime(&self, name: &[u8]) -> Option<NonNull<Runtime>> {
        let runtime: NonNull<Runtime> = self.alloc(size_of::<Runtime>() + name.len())?.cast();
        // SAFETY: as large as one and its name, zeroed, which is a valid one; nobody else knows it yet.
        unsafe {
            let text: *mut u8 = runtime.as_ptr().add(1).cast();
            text.copy_from_nonoverlapping(name.as_ptr(), name.len());
            (*runtime.as_ptr()).name = text;
            (*runtime.as_ptr()).name_len = name.len();
            let head = &self.head().runtimes;
            (*runtime.as_ptr()).next.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
            head.store(runtime.as_ptr(), Ordering::Release);
        }
        Some(runtime)
    }

    /// Who is there, or was. Asked about without the lock: that takes files to be read.
    fn ids(&self) -> Vec<WorkerId> {
        let _locked = self.lock();
        self.workers().map(|worker| worker.id).collect()
    }

    /// Takes the entries of processes that are no more. Says which of them ended without leaving, once.
    pub fn bury(&self, is_alive: impl Fn(WorkerId) -> bool) -> Vec<Crash> {
        let mut dead = self.ids();
        dead.retain(|id| !is_alive(*id));
        let _locked = self.lock();
        let dead: Vec<*mut Worker> = self
            .workers()
            .filter(|worker| dead.contains(&worker.id))
            .map(|worker| (&raw const *worker).cast_mut())
            .collect();
        let mut crashes = Vec::new();
        for at in dead {
            // SAFETY: on the list, and the lock is held.
            let worker = unsafe { &*at };
            if worker.left.load(Ordering::Relaxed) == 0 {
                self.head().crashes.fetch_add(1, Ordering::Relaxed);
                crashes.push(crash_of(worker));
            }
            unlink(&self.head().workers, at, |worker| &worker.next);
            if let Some(at) = NonNull::new(at) {
                // SAFETY: off the list, and its process is gone.
                unsafe { self.memory.free(at.cast()) };
            }
        }
        crashes
    }

    /// All of it, as it is now.
    pub fn view(&self, is_alive: impl Fn(WorkerId) -> bool) -> View {
        let mut alive = self.ids();
        alive.retain(|id| is_alive(*id));
        let _locked = self.lock();
        let alive: Vec<&Worker> =
            self.workers().filter(|w| w.left.load(Ordering::Relaxed) == 0 && alive.contains(&w.id)).collect();
        let mut runtimes: Vec<RuntimeView> = self
            .runtimes()
            .map(|runtime| RuntimeView {
                name: String::from_utf8_lossy(runtime.name()).into_owned(),
                meter: runtime.meter(),
                restarts: runtime.restarts.load(Ordering::Relaxed),
                workers: alive.iter().filter_map(|worker| Some((worker.id.pid, gauges_of(worker, runtime)?))).collect(),
            })
            .collect();
        runtimes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut workers: Vec<i32> = alive.iter().map(|worker| worker.id.pid).collect();
        workers.sort_unstable();
        View { runtimes, workers, crashes: self.head().crashes.load(Ordering::Relaxed) }
    }
}

/// What a worker has of a runtime; `None` where it does not know it.
fn gauges_of(worker: &Worker, runtime: &Runtime) -> Option<Gauges> {
    let mut sum = None;
    for gauge in worker.gauges.iter().filter(|gauge| ptr::eq(gauge.runtime.load(Ordering::Relaxed), runtime)) {
        let sum = sum.get_or_insert_with(Gauges::default);
        sum.queued += u64::from(gauge.queued.load(Ordering::Relaxed));
        sum.in_flight += u64::from(gauge.in_flight.load(Ordering::Relaxed));
        sum.abandoned += u64::from(gauge.abandoned.load(Ordering::Relaxed));
    }
    sum
}

/// What a worker that is gone had under way. Its runtimes count a restart each: another worker has them now.
fn crash_of(worker: &Worker) -> Crash {
    let mut names = Vec::new();
    for gauge in &worker.gauges {
        // SAFETY: the lock is held, and entries that a worker has are not freed.
        if let Some(runtime) = unsafe { gauge.runtime.load(Ordering::Relaxed).as_ref() } {
            runtime.restarts.fetch_add(1, Ordering::Relaxed);
            let name = String::from_utf8_lossy(runtime.name()).into_owned();
            names.push((gauge.number.load(Ordering::Relaxed), name));
        }
    }
    let name_of = |number: u32| names.iter().find(|(n, _)| *n == number).map_or("?", |(_, name)| name).to_owned();
    let marked = worker.marks.iter().filter_map(TaskMark::read);
    Crash { pid: worker.id.pid, tasks: marked.map(|mark| (name_of(mark.runtime), mark)).collect() }
}

/// The entries of a list.
fn each<'a, T: 'a>(head: &'a AtomicPtr<T>, next: impl Fn(&T) -> &AtomicPtr<T> + 'a) -> impl Iterator<Item = &'a T> {
    let mut at = head.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: entries are whole before they are on a list, and freed under the lock, after they are off it.
        let entry = unsafe { at.as_ref() }?;
        at = next(entry).load(Ordering::Acquire);
        Some(entry)
    })
}

/// Takes an entry off its list. The lock is held.
fn unlink<T>(head: &AtomicPtr<T>, entry: *mut T, next: impl Fn(&T) -> &AtomicPtr<T>) {
    let mut place = head;
    loop {
        let at = place.load(Ordering::Relaxed);
        // SAFETY: as in each().
        let Some(found) = (unsafe { at.as_ref() }) else { return };
        if ptr::eq(at, entry) {
            place.store(next(found).load(Ordering::Relaxed), Ordering::Release);
            return;
        }
        place = next(found);
    }
}
