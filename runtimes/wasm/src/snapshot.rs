//! A module that has been initialised: what it did once, at load, no request does again. Its memory and its globals
//! as they were then are those that every instance begins with.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use wasmtime::{Engine, Instance, Module, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::{
    engine,
    failure::{Failure, chain},
    function::{self, INITIALIZE, WIZER_INITIALIZE},
    guest::{self, Input, State},
    host::Host,
    options::{Dir, Options},
    segments,
    ticker::Ticker,
    wasi::Surroundings,
};

/// What Wizer's header for C gives a command in place of `_start`.
const WIZER_RESUME: &str = "wizer.resume";

/// Of what the function has seen: another environment is another snapshot. The number is that of what is done here.
pub fn salt(options: &Options) -> Vec<u8> {
    format!("snapshot 2 {:?} {:?} {:?} {:?}", options.module.file_name(), options.args, options.env, options.dirs)
        .into()
}

/// Runs on: the thread that loads the module. Compiles it, and runs its initialisation within the limits of a request.
pub fn taken(options: &Options, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let engine = engine::for_once(options)?;
    let ticker = Ticker::start(engine.clone()).map_err(|error| format!("cannot start a thread: {error}"))?;
    ticker.enter();
    let mut run = pin!(take(&engine, options, bytes));
    loop {
        match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => return taken.map_err(|error| format!("snapshot: {error}")),
            // It was interrupted, or sleeps.
            Poll::Pending => thread::sleep(Duration::from_micros(100)),
        }
    }
}

async fn take(engine: &Engine, options: &Options, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = &*segments::joined(bytes);
    // It may look around, and leaves nothing behind: this may be nginx's master, with all its rights.
    let dirs = options.dirs.iter().map(|dir| Dir { read_only: true, ..dir.clone() }).collect();
    let options = Options { dirs, fuel: options.fuel.map(|_| u64::MAX), ..options.clone() };
    let mut wizer = Wizer::new();
    let exports = function::exports(bytes)?;
    if !exports.contains(WIZER_INITIALIZE) {
        wizer.init_func(INITIALIZE);
    }
    if exports.contains(WIZER_RESUME) {
        wizer.func_rename("_start", WIZER_RESUME);
    }
    let (context, instrumented) = wizer.instrument(bytes).map_err(|error| chain(&error))?;
    let module = Module::new(engine, instrumented).map_err(|error| chain(&error))?;

    // Its time runs from here: compiling takes longer than most functions may.
    let surroundings = Arc::new(Surroundings::new(&options)?);
    let input = Input::Owned(Vec::new());
    let state = State::new(Host::nobody(), 0, &surroundings, &options, input, Arc::new(AtomicU64::new(0)));
    let mut store = guest::store(engine, state).map_err(|error| chain(&error))?;
    let instance = initialised(&mut store, &module).await.map_err(|error| {
        match Failure::of(&error, options.time_limit, options.max_output) {
            Err(failure) => failure.message(),
            Ok(()) => "the function ended in its initialisation".to_owned(),
        }
    })?;
    wizer.snapshot(&context, &mut Initialised { store, instance }).await.map_err(|error| chain(&error))
}

async fn initialised(store: &mut Store<State>, module: &Module) -> wasmtime::Result<Instance> {
    let instance = function::linked(module)?.instantiate_async(&mut *store).await?;
    store.data_mut().memory = instance.get_memory(&mut *store, "memory");
    for name in [INITIALIZE, WIZER_INITIALIZE] {
        if let Some(function) = instance.get_func(&mut *store, name) {
            function.typed::<(), ()>(&mut *store)?.call_async(&mut *store, ()).await?;
        }
    }
    Ok(instance)
}

struct Initialised {
    store: Store<State>,
    instance: Instance,
}

impl InstanceState for Initialised {
    /// Of the names that `instrument` gave.
    async fn global_get(&mut self, name: &str, hint: ValType) -> SnapshotVal {
        match self.instance.get_global(&mut self.store, name).map(|global| global.get(&mut self.store)) {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            // Refused by `instrument`. A panic here is a message, like all of them.
            _ => panic!("the global {name} of type {hint} cannot be kept"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        if let Some(memory) = self.instance.get_memory(&mut self.store, name) {
            contents(memory.data(&self.store));
        }
    }
}
