//! What a worker process has: the event loop's side of the host, and who waits for what. One for
//! each worker, reachable from the event loop's thread only.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nffi_core::{
    buf::Buf,
    dispatch::{Dispatch, News, Refusal, State, Submission, Witness},
    host::HOST,
    meter::End,
    runtime::{Runtime, Spec},
    surroundings,
};
use nginx_sys::{
    NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_PROCESS_HELPER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
    ngx_core_conf_t, ngx_core_module, ngx_current_msec, ngx_cycle, ngx_event_actions, ngx_event_t, ngx_exiting,
    ngx_http_request_t, ngx_msec_t, ngx_process, ngx_terminate,
};

use crate::{
    barrier::barrier,
    conf, errlog,
    events::Event,
    http::{self, Exchanges},
    metrics::Metrics,
    owner::{Owners, Side},
    process,
    seed::Seed,
    sema, sink, slow,
};

/// How often vanished callers are looked for, in ms, and how many owners at a time: with up to
/// 100 000 waiting, each is looked at within 200 ms.
const TICK: usize = 50;
const SWEEP: usize = 25_000;
/// While so few tasks are in flight, and for so long, a spinning worker looks for their answers
/// before it goes back to sleep.
const SPIN_TASKS: usize = 4;
const SPIN: Duration = Duration::from_micros(10);
/// After so many rounds of answers without a sleep the loop sees its other events.
const LOOK_ROUNDS: u32 = 32;
/// Messages kept for Lua, which copies each at once, unless finalizers come in between.
const MESSAGES: usize = 1024;
/// What TERM leaves to the runtimes.
const TERM_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

pub struct Worker {
    pub dispatch: Dispatch,
    /// `None` in an nginx without Lua.
    pub owners: Option<Owners>,
    /// HTTP requests under way.
    pub exchanges: Exchanges,
    /// The declared runtimes' numbers.
    pub declared: HashMap<String, u32>,
    /// The loaded runtimes' numbers, by library and configuration.
    pub loaded: HashMap<(PathBuf, Vec<u8>), u32>,
    /// What has the ABI of lua-resty-ffi.
    pub seed: Seed,
    /// Where there is an nffi_zone.
    pub metrics: Option<Metrics>,
    /// There is an nffi_slow_log.
    writes_slow: bool,
    /// Names that the master was told.
    named: HashSet<String>,
    /// Answers and messages that Lua may still be copying.
    kept: (Vec<Buf>, VecDeque<String>),
    news: Vec<News>,
    gone: Vec<u64>,
    flush: Event,
    tick: Event,
    /// Sides of streams whose coroutines gave way to others, until the loop's next iteration.
    resting: Vec<(u32, Side)>,
    rest: Event,
    /// Events that are posted now will be run before the loop sleeps.
    in_loop: bool,
    /// How often in a row answers were there without a sleep.
    rounds: u32,
    /// When the tick first saw the worker exit gracefully.
    exiting_since: Option<ngx_msec_t>,
}

/// Has this thread a worker? Cheaper than asking what kind of process this is.
pub fn is_up() -> bool {
    WORKER.try_with(|worker| worker.try_borrow().is_ok_and(|worker| worker.is_some())).unwrap_or(false)
}

/// Is this a process that runtimes live in?
pub fn is_worker() -> bool {
    // SAFETY: no arguments. The event loop is the main thread; ngx_lua has threads of its own.
    if unsafe { libc::gettid() != libc::getpid() } {
        return false;
    }
    // SAFETY: set by nginx before init_process; plain reads on its own thread. The event method is
    // chosen in workers only: without one this is still the process that reads the configuration.
    unsafe {
        matches!(ngx_process as u32, NGX_PROCESS_SINGLE | NGX_PROCESS_WORKER)
            && (&raw const ngx_event_actions.add).read().is_some()
    }
}

/// Is this one of nginx's helper processes, or its privileged agent?
pub fn is_helper() -> bool {
    // SAFETY: set by nginx after the fork; a plain read.
    unsafe { ngx_process as u32 == NGX_PROCESS_HELPER }
}

/// Calls `f` with the worker. `None` off the event loop's thread, before there is one, and where
/// `f` panicked.
pub fn with<T>(f: impl FnOnce(&mut Worker) -> T) -> Option<T> {
    barrier(None, || WORKER.try_with(|worker| worker.try_borrow_mut().ok()?.as_mut().map(f)).ok().flatten())
}

impl Worker {
    /// Makes the worker and starts the declared runtimes, unless that was done already (a call in
    /// init_worker_by_lua may come before our init_process).
    pub fn ensure() -> Result<(), String> {
        // Also where an earlier try has failed: what it left cannot be made twice.
        static TRIED: AtomicBool = AtomicBool::new(false);
        if TRIED.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (specs, choice) = conf::declared();
        HOST.set_sink(sink::make(choice, Some(on_done))?);
        HOST.set_after_load(process::guard_exit_again);
        process::guard_signals();
        process::guard_exit();
        let mut worker = Self {
            dispatch: Dispatch::new(&HOST),
            owners: sema::Api::find().map(Owners::new),
            exchanges: Exchanges::default(),
            declared: HashMap::new(),
            loaded: HashMap::new(),
            seed: Seed::default(),
            metrics: None,
            writes_slow: conf::has_slow_log(),
            named: HashSet::new(),
            kept: Default::default(),
            news: Vec::new(),
            gone: Vec::new(),
            flush: Event::new(Some(on_flush)),
            tick: Event::new(Some(on_tick)),
            resting: Vec::new(),
            rest: Event::new(Some(on_rest)),
            in_loop: false,
            rounds: 0,
            exiting_since: None,
        };
        worker.metrics = Metrics::start(&mut worker.dispatch);
        if worker.writes_slow {
            worker.dispatch.measure_from_now();
        }
        // Before any runtime has a thread: nobody else may look at the environment while it changes.
        for spec in &specs {
            // SAFETY: nginx's own threads, if there are any, leave the environment alone.
            unsafe { spec.surroundings.set_env() };
        }
        // SAFETY: as above.
        unsafe { surroundings::set_defaults() };
        for spec in specs {
            let name = spec.name.clone();
            let number = worker.start(spec);
            worker.declared.insert(name, number);
        }
        Event::new(Some(on_first)).post_next();
        WORKER.with(|slot| slot.borrow_mut().replace(worker));
        Ok(())
    }

    /// Starts a runtime; calls may be made at once.
    pub fn start(&mut self, spec: Spec) -> u32 {
        self.name(&spec);
        let number = self.dispatch.start(spec);
        // So that what crashes with its first request is known by its name.
        self.report();
        number
    }

    /// Makes a runtime of another ABI known, which the caller starts. Once no thread of it is left,
    /// `gone` is called, on any thread.
    pub fn adopt_foreign(&mut self, spec: &Spec, gone: fn()) -> Arc<Runtime> {
        self.name(spec);
        let runtime = self.dispatch.adopt_foreign(spec, gone);
        self.report();
        runtime
    }

    /// Tells the master, once for each name.
    fn name(&mut self, spec: &Spec) {
        if self.named.insert(spec.name.clone()) {
            process::name_runtime(&spec.name);
        }
    }

    // ---- tasks -------------------------------------------------------------------------------

    /// Submits what was admitted.
    pub fn submit(&mut self, number: u32, submission: Submission) -> u64 {
        let task = self.dispatch.submit(number, submission);
        self.after();
        task
    }

    /// Whoever writes a call of Lua's down if it takes long; see [`slow::witness`].
    ///
    /// # Safety
    /// `r` is NULL or a request that Lua runs for.
    pub unsafe fn witness(&self, r: *mut ngx_http_request_t, kind: &'static str) -> Option<Box<dyn Witness>> {
        // SAFETY: the caller's promise.
        if self.writes_slow { unsafe { slow::witness(r, kind) } } else { None }
    }

    pub fn cancel(&mut self, task: u64) {
        self.dispatch.cancel(task);
        self.after();
    }

    /// The same where it ends for the caller like that.
    pub fn cancel_as(&mut self, task: u64, end: End) {
        self.dispatch.cancel_as(task, end);
        self.after();
    }

    /// Would a task of `len` bytes be taken now?
    pub fn admit(&mut self, number: u32, len: usize) -> Result<(), Refusal> {
        self.dispatch.admit(number, len).inspect_err(|_| self.report_soon())
    }

    /// Something was counted, and no task is left that keeps the tick running.
    pub fn report_soon(&self) {
        if self.metrics.is_some() && !self.tick.is_armed() {
            self.tick.arm(TICK);
        }
    }

    /// After anything that may have put something on a queue.
    pub fn after(&mut self) {
        if self.dispatch.wants_flush() {
            if self.in_loop {
                self.flush.post();
            } else {
                self.dispatch.flush();
            }
        }
        self.arm();
    }

    /// The tick runs while anyone waits or any task is unended: it sweeps, and it holds a worker
    /// that exits gracefully.
    fn arm(&self) {
        if self.tick.is_armed() {
            return;
        }
        let waiting = self.owners.as_ref().is_some_and(|owners| !owners.is_empty());
        if (waiting || self.dispatch.unended() > 0) && !self.may_go(waiting) {
            self.tick.arm(TICK);
        }
    }

    /// May an exiting worker go although tasks are unended? Once worker_shutdown_timeout is over,
    /// and where only tasks are left whose callers have gone, and they had their time.
    fn may_go(&self, waiting: bool) -> bool {
        let Some(since) = self.exiting_since else { return false };
        // SAFETY: the loop's cached time.
        let elapsed = unsafe { ngx_current_msec }.wrapping_sub(since);
        // SAFETY: the cycle's configuration lives as long as the worker; the core module's is
        // always there.
        let timeout = unsafe {
            let conf = *(*ngx_cycle).conf_ctx.add(ngx_core_module.index) as *const ngx_core_conf_t;
            (*conf).shutdown_timeout
        };
        (timeout > 0 && elapsed >= timeout) || !(waiting || self.dispatch.holds(elapsed as u64))
    }

    /// Wakes whoever waits on that side of the stream in the loop's next iteration, after its other
    /// events.
    pub fn wake_stream_later(&mut self, number: u32, side: Side) {
        self.resting.push((number, side));
        self.rest.post_next();
    }

    // ---- what Lua is given -------------------------------------------------------------------

    /// Keeps an answer until Lua has returned to the event loop.
    pub fn keep(&mut self, answer: Buf) -> &Buf {
        self.flush.post();
        self.kept.0.push(answer);
        &self.kept.0[self.kept.0.len() - 1]
    }

    /// The same for a message.
    pub fn keep_message(&mut self, message: String) -> &str {
        self.flush.post();
        if self.kept.1.len() == MESSAGES {
            self.kept.1.pop_front();
        }
        self.kept.1.push_back(message);
        &self.kept.1[self.kept.1.len() - 1]
    }

    // ---- what the events do --------------------------------------------------------------------

    /// Gives out all that has come back, but for what exchanges get: that is put into `exchanges`, to
    /// be delivered while nobody holds the worker, since nginx may call back.
    fn drain(&mut self, exchanges: &mut Vec<News>) {
        let mut news = std::mem::take(&mut self.news);
        self.dispatch.drain(&mut news);
        for item in news.drain(..) {
            match item {
                News::Runtime { number } => self.runtime_changed(number),
                News::Ended { owner, .. } | News::Pieces { owner } if http::is_exchange(owner) => exchanges.push(item),
                News::Ended { owner, outcome } => {
                    if let Some(owners) = &mut self.owners {
                        owners.finish(owner, outcome);
                    }
                }
                News::Pieces { owner } => {
                    if let Some(owners) = &mut self.owners {
                        owners.wake_stream(owner);
                    }
                }
            }
        }
        self.news = news;
        self.seed.close_unused();
        self.write_log();
        self.after();
    }

    fn runtime_changed(&mut self, number: u32) {
        if let Some(owners) = &mut self.owners {
            owners.wake_loads(number);
        }
        let Some(entry) = self.dispatch.entry(number) else { return };
        let name = &entry.runtime.name;
        match &entry.state {
            State::Ready => errlog::cycle(NGX_LOG_NOTICE as _, format_args!("nffi runtime \"{name}\" is ready")),
            State::Failed(why) => {
                let library = entry.runtime.library.display();
                errlog::cycle(NGX_LOG_ERR as _, format_args!("nffi runtime \"{name}\" ({library}) failed: {why}"));
            }
            State::Stopped => errlog::cycle(NGX_LOG_NOTICE as _, format_args!("nffi runtime \"{name}\" has stopped")),
            State::Starting | State::Unloading => {}
        }
    }

    fn write_log(&mut self) {
        while let Some((line, mark)) = self.dispatch.next_line() {
            let entry = self.dispatch.entry(line.runtime);
            errlog::runtime(entry.map_or("?", |e| &e.runtime.name), &line, mark);
        }
        let dropped = HOST.log.take_dropped();
        if dropped > 0 {
            errlog::cycle(NGX_LOG_WARN as _, format_args!("nffi: {dropped} log lines of runtimes dropped"));
        }
    }

    /// Wakes the runtimes, and looks whether answers are there already: on one core the wake lets
    /// the runtime run at once. Meanwhile nobody has to notify. Where a runtime spins and little is
    /// in flight, looks for a moment longer. True where there are answers.
    fn wake_and_look(&mut self) -> bool {
        let watched = self.rounds < LOOK_ROUNDS && HOST.done.watch();
        let spinning = self.dispatch.flush();
        if !watched {
            // Whoever brings news, or has brought them, notifies: they come by the loop, after its
            // other events.
            self.rounds = 0;
            return false;
        }
        if spinning.is_some_and(|in_flight| in_flight > 0 && in_flight <= SPIN_TASKS) {
            let end = Instant::now() + SPIN;
            while HOST.done.is_empty() && Instant::now() < end {
                // Where both sides share a core, the other one has to run first.
                std::thread::yield_now();
            }
        }
        if HOST.done.unwatch() {
            self.rounds = 0;
            return false;
        }
        self.rounds += 1;
        true
    }

    fn tick(&mut self) {
        // SAFETY: nginx's flags and time, read on its own thread.
        unsafe {
            if ngx_exiting != 0 && self.exiting_since.is_none() {
                self.exiting_since = Some(ngx_current_msec);
            }
        }
        let mut gone = std::mem::take(&mut self.gone);
        if let Some(owners) = &mut self.owners {
            owners.sweep(SWEEP, &mut gone);
        }
        for task in gone.drain(..) {
            self.dispatch.cancel(task);
        }
        self.gone = gone;
        // Nobody hands out news now.
        self.exchanges.rested();
        self.report();
        self.after();
    }

    /// Hands over what was counted since the last time.
    pub fn report(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            metrics.report(&mut self.dispatch);
        }
    }

    /// The last thing: STOP to all runtimes, and a bounded wait.
    fn leave(&mut self) {
        self.in_loop = false;
        // No connection is left for what requests would still get.
        self.drain(&mut Vec::new());
        // SAFETY: nginx's flag, read on its own thread.
        let at_most = if unsafe { ngx_terminate } != 0 { TERM_TIMEOUT } else { Duration::MAX };
        self.dispatch.stop_all(at_most, |dispatch| {
            let mut news = Vec::new();
            dispatch.drain(&mut news);
        });
        self.write_log();
        for entry in self.dispatch.entries() {
            let name = &entry.runtime.name;
            let waited = matches!(entry.state, State::Starting | State::Ready | State::Unloading);
            if waited && !entry.runtime.has_stopped() {
                errlog::cycle(
                    NGX_LOG_WARN as _,
                    format_args!("nffi runtime \"{name}\" did not say that it stopped; the worker leaves without it"),
                );
            }
            if entry.in_flight > 0 {
                errlog::cycle(
                    NGX_LOG_WARN as _,
                    format_args!(
                        "nffi runtime \"{name}\": {} accepted tasks lost, {} of them never polled",
                        entry.in_flight,
                        entry.runtime.queue.len()
                    ),
                );
            }
        }
        if let Some(mut metrics) = self.metrics.take() {
            metrics.leave(&mut self.dispatch);
        }
        if let Some(owners) = self.owners.take() {
            owners.destroy();
        }
        HOST.close();
    }

    /// Everyone has stopped; no foreign thread is left in nffi's hands.
    fn all_stopped(&self) -> bool {
        self.dispatch.entries().all(|e| e.runtime.has_stopped()) && self.seed.is_quiet()
    }
}

/// Runs on: event loop, in exit_process.
pub fn leave() {
    let quiet = with(|worker| {
        worker.leave();
        worker.all_stopped()
    });
    process::leaving(quiet.unwrap_or(true));
}

unsafe extern "C" fn on_done(_: *mut ngx_event_t) {
    sink::arrived();
    drain();
}

/// Gives out all that has come back.
fn drain() {
    let mut exchanges = Vec::new();
    with(|worker| worker.drain(&mut exchanges));
    for news in exchanges {
        http::deliver(news);
    }
    with(|worker| worker.exchanges.rested());
}

unsafe extern "C" fn on_flush(_: *mut ngx_event_t) {
    let came = with(|worker| {
        worker.kept.0.clear();
        worker.kept.1.clear();
        worker.wake_and_look()
    });
    if came == Some(true) {
        drain();
    }
}

unsafe extern "C" fn on_rest(_: *mut ngx_event_t) {
    with(|worker| {
        for (number, side) in std::mem::take(&mut worker.resting) {
            if let Some(owners) = &mut worker.owners {
                owners.go_on(number, side);
            }
        }
    });
}

unsafe extern "C" fn on_tick(_: *mut ngx_event_t) {
    with(Worker::tick);
}

/// The loop's first iteration: nginx's own start is over.
unsafe extern "C" fn on_first(_: *mut ngx_event_t) {
    process::is_up();
    with(|worker| {
        worker.in_loop = true;
        worker.after();
    });
}
