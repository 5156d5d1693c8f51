//! What the threads of one runtime share.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use nffi_abi::panic_text;
use wasmtime::Engine;

use crate::{
    cache::Cache,
    code::{self, Code},
    engine,
    gather::Gather,
    host::{Host, Level},
    options::Options,
    ticker::Ticker,
    wasi::Surroundings,
    watch::Watch,
};

pub struct Runtime<C> {
    pub host: Host,
    pub options: Options,
    pub surroundings: Arc<Surroundings>,
    pub gather: Gather,
    pub ticker: Ticker,
    code: RwLock<Arc<C>>,
    engine: Engine,
    cache: Cache,
    threads: AtomicUsize,
    watch: RwLock<Option<Watch>>,
}

/// Starts a runtime. Runs on: the host's start thread.
pub fn start<C: Code>(host: Host, options: Options) -> Result<(), String> {
    let surroundings = Arc::new(Surroundings::new(&options)?);
    let cache = Cache::new(&options.cache);
    let seen = crate::watch::Look::at(&options.module);
    let bytes = code::read(&options.module)?;
    let engine = engine::engine(&options, &bytes)?;
    let (code, remarks) = code::load::<C>(&engine, &cache, &options, &bytes)?;
    for remark in remarks {
        host.log(0, Level::Notice, &remark);
    }
    let no_thread = |error: std::io::Error| format!("cannot start a thread: {error}");
    let runtime = Arc::new(Runtime {
        host,
        surroundings,
        gather: Gather::default(),
        ticker: Ticker::start(engine.clone()).map_err(no_thread)?,
        code: RwLock::new(Arc::new(code)),
        engine,
        cache,
        threads: AtomicUsize::new(C::threads(&options)),
        watch: RwLock::new(None),
        options,
    });
    if runtime.options.watch {
        let watch = Watch::start(&runtime, seen).map_err(no_thread)?;
        *runtime.watch.write().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }
    // Threads that run already, where one cannot be started, get STOP, as those of any init that failed.
    C::start(&runtime).map_err(no_thread)
}

impl<C: Code> Runtime<C> {
    /// The code of now. Whoever has it keeps it, whatever replaces it.
    pub fn code(&self) -> Arc<C> {
        self.code.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many instances a thread may have at a time.
    pub fn share(&self) -> usize {
        (self.options.instances / self.options.threads).max(1)
    }

    /// The file has changed. One that cannot be run is said and left alone.
    pub fn reload(&self) {
        let load = || {
            let bytes = code::read(&self.options.module)?;
            code::load::<C>(&self.engine, &self.cache, &self.options, &bytes)
        };
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|panic| Err(format!("the compiler panicked: {}", panic_text(&*panic))));
        match loaded {
            Ok((code, remarks)) => {
                *self.code.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(code);
                for remark in remarks {
                    self.host.log(0, Level::Notice, &remark);
                }
                let line = format!("module {}: the changed file is in use", self.options.module.display());
                self.host.log(0, Level::Notice, &line);
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
