//! What the threads of one runtime share.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use wasmtime::Engine;

use crate::{
    cache::Cache,
    engine,
    function::{self, Function, Loaded},
    gather::Gather,
    host::{Host, Level},
    options::Options,
    ticker::Ticker,
    wasi::Surroundings,
    watch::Watch,
    worker,
};

pub struct Runtime {
    pub host: Host,
    pub options: Options,
    pub surroundings: Arc<Surroundings>,
    pub gather: Gather,
    pub ticker: Ticker,
    function: RwLock<Arc<Function>>,
    engine: Engine,
    cache: Cache,
    threads: AtomicUsize,
    watch: RwLock<Option<Watch>>,
}

/// Starts a runtime. Runs on: the host's start thread.
pub fn start(host: Host, options: Options) -> Result<(), String> {
    let surroundings = Arc::new(Surroundings::new(&options)?);
    let cache = Cache::new(&options.cache);
    let engine = engine::engine(&options)?;
    let seen = crate::watch::Look::at(&options.module);
    let bytes = function::read(&options.module)?;
    let Loaded { function, remarks } = function::load(&engine, &cache, &options, &bytes)?;
    for remark in remarks {
        host.log(0, Level::Notice, &remark);
    }
    let no_thread = |error: std::io::Error| format!("cannot start a thread: {error}");
    let count = options.threads;
    let runtime = Arc::new(Runtime {
        host,
        surroundings,
        gather: Gather::default(),
        ticker: Ticker::start(engine.clone()).map_err(no_thread)?,
        function: RwLock::new(Arc::new(function)),
        engine,
        cache,
        // Those that could not be started are over.
        threads: AtomicUsize::new(count),
        watch: RwLock::new(None),
        options,
    });
    if runtime.options.watch {
        let watch = Watch::start(&runtime, seen).map_err(no_thread)?;
        *runtime.watch.write().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }
    for n in 0..count {
        let theirs = runtime.clone();
        let started =
            thread::Builder::new().name(format!("nffi-wasm-{n}")).spawn(move || worker::Worker::new(&theirs).serve());
        if let Err(error) = started {
            // Threads that run already get STOP, as those of any init that failed.
            return Err(no_thread(error));
        }
    }
    Ok(())
}

impl Runtime {
    /// The module of now. Whoever has it keeps it, whatever replaces it.
    pub fn function(&self) -> Arc<Function> {
        self.function.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many instances a thread may have at a time.
    pub fn share(&self) -> usize {
        (self.options.instances / self.options.threads).max(1)
    }

    /// The file has changed. One that cannot be run is said and left alone.
    pub fn reload(&self) {
        let loaded = function::read(&self.options.module)
            .and_then(|bytes| function::load(&self.engine, &self.cache, &self.options, &bytes));
        match loaded {
            Ok(Loaded { function, remarks }) => {
                *self.function.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(function);
                for remark in remarks {
                    self.host.log(0, Level::Notice, &remark);
                }
                self.host.log(
                    0,
                    Level::Notice,
                    &format!("module {}: the changed file is in use", self.options.module.display()),
                );
            }
            Err(error) => self.host.log(0, Level::Error, &format!("{error}; the one before stays in use")),
        }
    }

    /// A thread is over; with the last, the runtime. Runs on: that thread.
    pub fn leave(&self) {
        if self.threads.fetch_sub(1, SeqCst) > 1 {
            return;
        }
        let watch = self.watch.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            watch.stop();
        }
        self.gather.drop_all(self.host);
        self.host.stopped();
    }
}
