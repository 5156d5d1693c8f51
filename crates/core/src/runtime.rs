//! One loaded library with one configuration: a runtime, and how it is started.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    foreign::Foreign, host::Host, library, options::Settings, queue::Queue, registry, signals::Blocked,
    surroundings::Surroundings,
};

/// What a runtime is made from.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub library: PathBuf,
    /// Handed to the library as it is.
    pub config: Vec<u8>,
    pub settings: Settings,
    pub surroundings: Surroundings,
}

/// What runtime threads and the event loop share of a runtime. The rest is the event loop's, in
/// [`crate::dispatch`].
#[derive(Debug)]
pub struct Runtime {
    pub number: u32,
    pub name: String,
    pub library: PathBuf,
    pub settings: Settings,
    pub queue: Queue,
    /// Set once by the start thread: what init said.
    pub started: OnceLock<Result<(), String>>,
    /// The runtime has called stopped().
    pub stopped: AtomicBool,
    /// Answers to tasks that were not there: twice, dead, garbage.
    pub bad_answers: AtomicU64,
    /// Log lines that found no room.
    pub dropped_logs: AtomicU64,
    /// Set where the library is of another ABI.
    pub foreign: Option<Foreign>,
}

impl Runtime {
    pub fn new(number: u32, spec: &Spec) -> Self {
        Self {
            number,
            name: spec.name.clone(),
            library: spec.library.clone(),
            settings: spec.settings.clone(),
            queue: Queue::new(spec.settings.queue, Duration::from_micros(spec.settings.spin)),
            started: OnceLock::new(),
            stopped: AtomicBool::new(false),
            bad_answers: AtomicU64::new(0),
            dropped_logs: AtomicU64::new(0),
            foreign: None,
        }
    }

    /// What the library knows this runtime by.
    pub fn handle(&self) -> u64 {
        u64::from(self.number) + 1
    }
}

/// Loads the library and calls its init, on a thread of its own; the result is in
/// `runtime.started`, and the event loop hears of it by a bulletin. Runs on: event loop.
pub fn start(host: &'static Host, runtime: &Arc<Runtime>, spec: Spec) {
    let runtime = runtime.clone();
    let report = runtime.clone();
    let _blocked = Blocked::new();
    let spawned = thread::Builder::new()
        .name(format!("nffi:{}", spec.name))
        // Language runtimes expect the stack of a main thread where they are initialised.
        .stack_size(8 << 20)
        .spawn(move || {
            registry::remember(runtime.handle(), runtime.clone());
            let result = catch_unwind(AssertUnwindSafe(|| load_and_init(&runtime, &spec)));
            host.after_load();
            let result = result.unwrap_or_else(|_| Err("panicked while it was started".to_owned()));
            // Set here only, and this thread exists once for a runtime.
            let _ = runtime.started.set(result);
            host.bulletin();
        });
    if let Err(error) = spawned {
        let _ = report.started.set(Err(format!("cannot start a thread: {error}")));
        host.bulletin();
    }
}

fn load_and_init(runtime: &Runtime, spec: &Spec) -> Result<(), String> {
    library::inspect(&spec.library).map_err(|e| e.to_string())?;
    let turn = turn_of(&spec.library);
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    spec.surroundings.enter()?;
    let library = library::load(&spec.library)?;
    library::init(&library, crate::host::table(), runtime.handle(), &spec.config)
}

/// The lock that keeps calls for one library from overlapping.
fn turn_of(library: &Path) -> Arc<Mutex<()>> {
    static TURNS: LazyLock<Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>> = LazyLock::new(Mutex::default);
    let key = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
}

impl Runtime {
    /// What is left of a runtime that is over: all but its queue. Runs on: event loop.
    pub fn remains(&self) -> Self {
        let queue = Queue::new(1, Duration::ZERO);
        queue.stop();
        Self {
            number: self.number,
            name: self.name.clone(),
            library: self.library.clone(),
            settings: self.settings.clone(),
            queue,
            started: self.started.clone(),
            stopped: AtomicBool::new(self.has_stopped()),
            bad_answers: AtomicU64::new(self.bad_answers.load(Ordering::Relaxed)),
            dropped_logs: AtomicU64::new(self.dropped_logs.load(Ordering::Relaxed)),
            foreign: None,
        }
    }

    /// Runs on: any thread.
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
