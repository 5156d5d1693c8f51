//! The host: it owns the event loop's side of nffi-core and turns, on whichever thread holds it,
//! until what that thread waits for has happened.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nffi_core::{
    dispatch::{Dispatch, News, Outcome, Refusal, State, Stats},
    done::Sink,
    host::HOST,
    library::{self, LibraryError},
    meter::End,
    options::Settings,
    runtime::Spec,
    surroundings::{self, Surroundings},
};

use crate::{doorbell::Doorbell, http::Exchanges, stream::Streams};

/// A runtime that was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuntimeId(pub(crate) u32);

/// A line that a runtime has logged.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The runtime's name, "?" where it used a handle that is none.
    pub runtime: String,
    /// Of syslog: 0 emerg to 7 debug.
    pub level: u8,
    /// The call that it belongs to, counted from 1; 0 none.
    pub call: u64,
    pub message: Vec<u8>,
}

/// Why a runtime could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// What its init said.
    #[error("{0}")]
    Init(String),
}

/// Why a runtime is not gone.
#[derive(Debug, thiserror::Error)]
pub enum UnloadError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0} tasks were not ended in time")]
    Unended(usize),
    #[error("it did not say in time that it has stopped")]
    NotStopped,
}

/// What is known of a call under way.
pub(crate) struct Waiting {
    pub(crate) task: u64,
    pub(crate) until: Option<Instant>,
    pub(crate) over: Option<Over>,
}

/// How a call ended.
pub(crate) enum Over {
    Outcome(Outcome),
    Timeout,
}

/// The host of this process.
pub struct TestHost {
    pub(crate) dispatch: Dispatch,
    doorbell: Doorbell,
    /// Calls and streams by owner.
    pub(crate) waiting: HashMap<u32, Waiting>,
    pub(crate) streams: Streams,
    pub(crate) exchanges: Exchanges,
    deadlines: BTreeSet<(Instant, u32)>,
    pub(crate) owners: u32,
    on_line: Box<dyn FnMut(LogLine) + Send>,
    dropped_lines: usize,
    news: Vec<News>,
}

impl TestHost {
    /// The host, for as long as the guard lives. Where a descriptor for its doorbell cannot be
    /// had, this panics: nothing works without.
    pub fn lock() -> MutexGuard<'static, TestHost> {
        static THE_HOST: LazyLock<Mutex<TestHost>> = LazyLock::new(|| Mutex::new(TestHost::new()));
        THE_HOST.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new() -> Self {
        let doorbell = match Doorbell::new() {
            Ok(doorbell) => doorbell,
            Err(error) => panic!("cannot make an eventfd: {error}"),
        };
        HOST.set_sink(Box::new(doorbell.clone()));
        Self {
            dispatch: Dispatch::new(&HOST),
            doorbell,
            waiting: HashMap::new(),
            streams: Streams::new(),
            exchanges: Exchanges::new(),
            deadlines: BTreeSet::new(),
            owners: 0,
            on_line: Box::new(|_| {}),
            dropped_lines: 0,
            news: Vec::new(),
        }
    }

    /// Where log lines of runtimes go. They are dropped at first.
    pub fn on_line(&mut self, on_line: impl FnMut(LogLine) + Send + 'static) {
        self.on_line = Box::new(on_line);
    }

    /// Log lines that were lost because they came too fast.
    pub fn dropped_lines(&self) -> usize {
        self.dropped_lines
    }

    /// Finds, loads and starts a library, and waits until it is ready. A name with a slash in it
    /// is a path, any other is looked for where the dynamic linker would.
    pub fn load(&mut self, library: &str, config: &[u8], settings: Settings) -> Result<RuntimeId, LoadError> {
        self.load_in(library, config, settings, Surroundings::default())
    }

    /// The same with environment variables and a working directory.
    pub fn load_in(
        &mut self,
        library: &str,
        config: &[u8],
        settings: Settings,
        surroundings: Surroundings,
    ) -> Result<RuntimeId, LoadError> {
        let path = library::find(library, Path::new("."))?;
        let path = std::path::absolute(&path).unwrap_or(path);
        library::inspect(&path)?;
        // SAFETY: set by the thread that drives the host. Runtimes that were loaded before may read
        // the environment meanwhile; a test that loads several gives them all to the first.
        unsafe {
            surroundings.set_env();
            surroundings::set_defaults();
        }
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let name = name.strip_prefix("lib").unwrap_or(&name).to_owned();
        let number = self.dispatch.start(Spec { name, library: path, config: config.to_vec(), settings, surroundings });
        self.turn_until(None, |host| host.state(RuntimeId(number)) != Some(State::Starting));
        match self.state(RuntimeId(number)) {
            Some(State::Failed(why)) => Err(LoadError::Init(why)),
            _ => Ok(RuntimeId(number)),
        }
    }

    /// Lets accepted calls finish, then tells the runtime to stop, and waits for it; each for
    /// at most `most`.
    pub fn unload(&mut self, runtime: RuntimeId, most: Duration) -> Result<(), UnloadError> {
        self.dispatch.unload(runtime.0)?;
        self.turn_until(Some(Instant::now() + most), |host| host.in_flight(runtime) == 0);
        let unended = self.in_flight(runtime);
        if unended > 0 {
            return Err(UnloadError::Unended(unended));
        }
        self.turn_until(Some(Instant::now() + most), |host| host.state(runtime) == Some(State::Stopped));
        if self.state(runtime) != Some(State::Stopped) {
            return Err(UnloadError::NotStopped);
        }
        Ok(())
    }

    pub(crate) fn state(&self, runtime: RuntimeId) -> Option<State> {
        self.dispatch.entry(runtime.0).map(|entry| entry.state.clone())
    }

    /// Tasks that the runtime has not ended.
    pub fn in_flight(&self, runtime: RuntimeId) -> usize {
        self.dispatch.entry(runtime.0).map_or(0, |entry| entry.in_flight)
    }

    /// What was counted of the runtime so far.
    pub fn stats(&self, runtime: RuntimeId) -> Stats {
        self.dispatch.entry(runtime.0).map_or_else(Stats::default, |entry| entry.stats.clone())
    }

    /// How often the runtime has answered what was not there: twice, after its end, garbage.
    pub fn bad_answers(&self, runtime: RuntimeId) -> u64 {
        let load = |a: &std::sync::atomic::AtomicU64| a.load(std::sync::atomic::Ordering::Relaxed);
        self.dispatch.entry(runtime.0).map_or(0, |entry| load(&entry.runtime.bad_answers))
    }

    // ---- the loop ------------------------------------------------------------------------------

    /// One turn: waits until something has come back, a call's time is over, someone has rung,
    /// or `most` has passed. For loops of one's own.
    pub fn turn(&mut self, most: Option<Duration>) {
        let next = self.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        self.dispatch.flush();
        self.doorbell.wait(most.into_iter().chain(next).min());
        self.look();
    }

    /// Ends a [`turn`](Self::turn), from any thread.
    pub fn waker(&self) -> impl Fn() + Send + use<> {
        let doorbell = self.doorbell.clone();
        move || doorbell.notify()
    }

    /// Turns until `done`, or until `until` has passed; true where it was done.
    pub(crate) fn turn_until(&mut self, until: Option<Instant>, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        // What has come already counts, also where there is no time left.
        self.dispatch.flush();
        self.look();
        loop {
            if done(self) {
                return true;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            self.turn(until.map(|until| until.saturating_duration_since(Instant::now())));
        }
    }

    /// Takes what has come back, then what has come too late.
    fn look(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.dispatch.drain(&mut news);
        for item in news.drain(..) {
            match item {
                News::Ended { owner, outcome } => self.finish(owner, Over::Outcome(outcome)),
                // Whoever waits for these looks for itself.
                News::Pieces { owner } => self.http_stirred(owner),
                News::Runtime { .. } => {}
            }
        }
        self.news = news;
        while let Some((line, mark)) = self.dispatch.next_line() {
            let runtime = self.dispatch.entry(line.runtime).map_or("?", |entry| &entry.runtime.name).to_owned();
            (self.on_line)(LogLine {
                runtime,
                level: line.level,
                call: mark.request_id,
                message: line.message.into_vec(),
            });
        }
        self.dropped_lines += HOST.log.take_dropped();
        self.expire();
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&(at, owner)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            if self.http_is_paused(owner) {
                self.http_stirred(owner);
                continue;
            }
            if let Some(waiting) = self.waiting.get(&owner) {
                self.dispatch.cancel_as(waiting.task, End::Timeout);
                self.finish(owner, Over::Timeout);
            }
        }
    }

    fn finish(&mut self, owner: u32, over: Over) {
        if let Some(waiting) = self.waiting.get_mut(&owner) {
            if let Some(until) = waiting.until {
                self.deadlines.remove(&(until, owner));
            }
            waiting.over.get_or_insert(over);
        }
    }

    pub(crate) fn remember(&mut self, owner: u32, waiting: Waiting) {
        if let Some(until) = waiting.until {
            self.deadlines.insert((until, owner));
        }
        self.waiting.insert(owner, waiting);
    }

    /// Gives a call that is under way another time to be over.
    pub(crate) fn rearm(&mut self, owner: u32, until: Option<Instant>) {
        let Some(waiting) = self.waiting.get_mut(&owner).filter(|waiting| waiting.over.is_none()) else { return };
        if let Some(before) = waiting.until {
            self.deadlines.remove(&(before, owner));
        }
        waiting.until = until;
        if let Some(until) = until {
            self.deadlines.insert((until, owner));
        }
    }

    /// Forgets a call; one that is under way is cancelled.
    pub(crate) fn forget(&mut self, owner: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&owner)?;
        if let Some(until) = waiting.until {
            self.deadlines.remove(&(until, owner));
        }
        if waiting.over.is_none() {
            self.dispatch.cancel(waiting.task);
        }
        Some(waiting)
    }
}
