//! What the tests of this folder share: an event loop on a thread of its own, and runtimes whose
//! code is in the test. There is one host in a process, so there is one event loop; tests run
//! beside one another, each with runtimes of its own.

// Every test binary compiles this module and uses a part of it.
#![allow(dead_code)]

mod rt;

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nffi_core::{
    buf::Buf,
    dispatch::{Dispatch, NOBODY, News, Outcome, Refusal, State, Submission},
    done::Sink,
    host::HOST,
    log::Line,
    options::Settings,
    pipe::Pieces,
    runtime::Spec,
};

#[allow(unused_imports)]
pub use rt::{Event, Read, Rt, pollers};

/// Longer than anything here may take, also under a sanitizer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The event loop, and what it has found.
pub struct World {
    state: Mutex<Loop>,
    changed: Condvar,
}

pub struct Loop {
    pub dispatch: Dispatch,
    ended: HashMap<u32, Outcome>,
    nudged: HashSet<u32>,
    lines: Vec<(Line, u64)>,
    owners: u32,
}

/// A call under way.
#[derive(Clone)]
pub struct Ticket {
    pub owner: u32,
    pub task: u64,
    pub pieces: Option<Arc<Pieces>>,
}

/// The doorbell of the event loop's thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

struct Ring(Arc<Bell>);

impl Sink for Ring {
    fn notify(&self) {
        *lock(&self.0.rung) = true;
        self.0.changed.notify_one();
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event loop of this process.
pub fn world() -> &'static World {
    static WORLD: LazyLock<&World> = LazyLock::new(|| {
        let bell = Arc::new(Bell::default());
        HOST.set_sink(Box::new(Ring(bell.clone())));
        let world: &World = Box::leak(Box::new(World {
            state: Mutex::new(Loop {
                dispatch: Dispatch::new(&HOST),
                ended: HashMap::new(),
                nudged: HashSet::new(),
                lines: Vec::new(),
                owners: 0,
            }),
            changed: Condvar::new(),
        }));
        thread::spawn(move || {
            loop {
                let mut rung = lock(&bell.rung);
                while !std::mem::take(&mut *rung) {
                    rung = bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
                }
                drop(rung);
                world.on_loop(Loop::look);
            }
        });
        world
    });
    *WORLD
}

impl Loop {
    /// One turn of the event loop.
    pub fn look(&mut self) {
        let mut news = Vec::new();
        self.dispatch.drain(&mut news);
        for item in news {
            match item {
                News::Ended { owner, outcome } => {
                    assert!(self.ended.insert(owner, outcome).is_none(), "owner {owner} has ended twice");
                }
                News::Pieces { owner } => drop(self.nudged.insert(owner)),
                News::Runtime { .. } => {}
            }
        }
        while let Some(line) = self.dispatch.next_line() {
            self.lines.push((line.0, line.1.request_id));
        }
    }

    /// Submits without looking whether there is room.
    pub fn submit(&mut self, number: u32, mut submission: Submission) -> Ticket {
        if submission.owner != NOBODY {
            self.owners += 1;
            submission.owner = self.owners;
        }
        let (owner, pieces) = (submission.owner, submission.pieces.clone());
        Ticket { owner, pieces, task: self.dispatch.submit(number, submission) }
    }

    pub fn has_ended(&self, ticket: &Ticket) -> bool {
        self.ended.contains_key(&ticket.owner)
    }

    /// In flight, and abandoned.
    pub fn counts(&self, number: u32) -> (usize, usize) {
        let entry = self.dispatch.entry(number).expect("a runtime");
        (entry.in_flight, entry.abandoned)
    }
}

/// A plain call of `data`.
pub fn request(data: &[u8]) -> Submission {
    Submission::new(Buf::copy_of(data).expect("memory"), 0)
}

/// What the inits of runtimes are to do, by the numbers in their configurations.
static INITS: LazyLock<Mutex<HashMap<usize, Init>>> = LazyLock::new(Mutex::default);

type Init = Box<dyn FnOnce(Rt) -> Result<(), String> + Send>;

impl World {
    /// Does something as the event loop, then flushes.
    pub fn on_loop<T>(&self, f: impl FnOnce(&mut Loop) -> T) -> T {
        let mut state = lock(&self.state);
        let result = f(&mut state);
        state.dispatch.flush();
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Waits until the event loop has brought `f` about.
    pub fn until<T>(&self, what: &str, mut f: impl FnMut(&mut Loop) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut state = lock(&self.state);
        loop {
            if let Some(result) = f(&mut state) {
                return result;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("never happened: {what}");
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a runtime and does not wait for it.
    pub fn start_with(&self, settings: Settings, init: impl FnOnce(Rt) -> Result<(), String> + Send + 'static) -> u32 {
        self.start_library(library(), settings, init)
    }

    /// The same with a library of the test's choice: a copy of [`library`].
    pub fn start_library(
        &self,
        library: PathBuf,
        settings: Settings,
        init: impl FnOnce(Rt) -> Result<(), String> + Send + 'static,
    ) -> u32 {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        lock(&INITS).insert(id, Box::new(init));
        let config = format!("{:x} {id}", rt::on_init as *const () as usize);
        let name = format!("test-{id}");
        self.on_loop(|l| {
            l.dispatch.start(Spec {
                name,
                library,
                config: config.into_bytes(),
                settings,
                surroundings: Default::default(),
            })
        })
    }

    /// Starts a runtime and waits until it is ready. Its init never fails.
    pub fn start(&self, settings: Settings, init: impl FnOnce(Rt) + Send + 'static) -> u32 {
        let number = self.start_with(settings, |rt| {
            init(rt);
            Ok(())
        });
        self.wait_for(number, &State::Ready);
        number
    }

    /// A runtime without a thread of its own; the test does the polling.
    pub fn start_idle(&self, settings: Settings) -> (u32, Rt) {
        let (give, take) = std::sync::mpsc::channel();
        let number = self.start(settings, move |rt| give.send(rt).expect("the test waits"));
        (number, take.recv().expect("init has run"))
    }

    pub fn wait_for(&self, number: u32, state: &State) {
        self.until(&format!("runtime {number} is {state:?}"), |l| {
            (l.dispatch.entry(number).expect("a runtime").state == *state).then_some(())
        });
    }

    pub fn state(&self, number: u32) -> State {
        self.on_loop(|l| l.dispatch.entry(number).expect("a runtime").state.clone())
    }

    pub fn submit(&self, number: u32, submission: Submission) -> Result<Ticket, Refusal> {
        self.on_loop(|l| {
            l.dispatch.admit(number, submission.data.len())?;
            Ok(l.submit(number, submission))
        })
    }

    pub fn call(&self, number: u32, data: &[u8]) -> Ticket {
        self.submit(number, request(data)).expect("admitted")
    }

    pub fn cast(&self, number: u32, data: &[u8]) -> u64 {
        self.submit(number, Submission { owner: NOBODY, ..request(data) }).expect("admitted").task
    }

    /// Opens a stream.
    pub fn open(&self, number: u32, data: &[u8], more: bool) -> Ticket {
        let pieces = Some(Arc::new(Pieces::default()));
        self.submit(number, Submission { pieces, more, ..request(data) }).expect("admitted")
    }

    pub fn wait(&self, ticket: &Ticket) -> Outcome {
        self.until(&format!("task {:x} ends", ticket.task), |l| l.ended.remove(&ticket.owner))
    }

    /// Waits for an answer with status 0.
    pub fn answer(&self, ticket: &Ticket) -> Vec<u8> {
        match self.wait(ticket) {
            Outcome::Answer(answer) if answer.status == 0 => answer.data.as_slice().to_vec(),
            other => panic!("not answered but {other:?}"),
        }
    }

    pub fn echo(&self, number: u32, data: &[u8]) -> Vec<u8> {
        self.answer(&self.call(number, data))
    }

    pub fn cancel(&self, ticket: &Ticket) {
        self.on_loop(|l| l.dispatch.cancel(ticket.task));
    }

    /// Takes a piece of the answer, if there is one.
    pub fn receive(&self, ticket: &Ticket) -> Option<Vec<u8>> {
        let pieces = ticket.pieces.as_ref().expect("a stream");
        self.on_loop(|l| l.dispatch.receive(ticket.task, pieces)).map(|buf| buf.as_slice().to_vec())
    }

    /// Sends a piece of the request, or (`None`) its end; true where the window is shut.
    pub fn send(&self, ticket: &Ticket, piece: Option<&[u8]>) -> bool {
        let pieces = ticket.pieces.as_ref().expect("a stream");
        let piece = piece.map(|piece| Buf::copy_of(piece).expect("memory"));
        self.on_loop(|l| l.dispatch.send(ticket.task, pieces, piece)).expect("alive")
    }

    /// Waits until the owner of the stream was told that there is something to do, or that it is
    /// over; forgets the former.
    pub fn nudge(&self, ticket: &Ticket) {
        self.until("the stream moves", |l| (l.nudged.remove(&ticket.owner) || l.has_ended(ticket)).then_some(()));
    }

    pub fn was_nudged(&self, ticket: &Ticket) -> bool {
        self.on_loop(|l| l.nudged.remove(&ticket.owner))
    }

    /// Waits for a line of the runtime that holds `text`.
    pub fn line(&self, number: u32, text: &str) -> (Line, u64) {
        self.until(&format!("a log line with {text:?}"), |l| {
            let at = l.lines.iter().position(|(line, _)| {
                line.runtime == number && String::from_utf8_lossy(&line.message).contains(text)
            })?;
            Some(l.lines.remove(at))
        })
    }

    pub fn counts(&self, number: u32) -> (usize, usize) {
        self.on_loop(|l| l.counts(number))
    }

    /// Waits until nothing of the runtime is in flight.
    pub fn wait_until_idle(&self, number: u32) {
        self.until("nothing is in flight", |l| (l.counts(number) == (0, 0)).then_some(()));
    }
}

/// The shim of shim.c, compiled once.
pub fn library() -> PathBuf {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", binary_name()));
        compile(&["-shared", "-fPIC"], &here.join("tests/support/shim.c"), &out);
        out
    });
    LIBRARY.clone()
}

/// A library of its own for a runtime whose init takes its time: calls for one library do not
/// overlap.
pub fn own_library() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let copy = library().with_extension(format!("{}.so", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::copy(library(), &copy).expect("a copy of the shim");
    copy
}

fn binary_name() -> String {
    let path = std::env::current_exe().expect("the test's own path");
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Compiles one C file against include/nffi.h.
pub fn compile(flags: &[&str], source: &Path, out: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include");
    // Moved in place in one step: another process may run the same test.
    let new = out.with_extension(format!("{}.new", std::process::id()));
    let status = Command::new("cc")
        .args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(&include)
        .args(flags)
        .arg("-o")
        .arg(&new)
        .arg(source)
        .status()
        .expect("a C compiler, cc");
    assert!(status.success(), "cc refused {}", source.display());
    fs::rename(&new, out).expect("rename");
}
