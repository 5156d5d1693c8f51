//! One request in one instance, and its limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nffi_abi::nffi_task;
use wasmtime::{Engine, Memory, ResourceLimiter, Store, UpdateDeadline};

use crate::{
    failure::{Failure, Stop},
    function::Function,
    host::Host,
    options::Options,
    wasi::{Surroundings, descriptors::Descriptors, stderr::Stderr},
};

/// What a function reads from stdin.
pub enum Input {
    Owned(Vec<u8>),
    /// The host's, of a task that is ended only after the function.
    Task(&'static [u8]),
}

impl Input {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Task(bytes) => bytes,
        }
    }
}

/// What a request may use.
#[derive(Clone, Copy)]
pub struct Limits {
    pub time: Option<Duration>,
    pub memory: usize,
    pub output: usize,
    pub fuel: Option<u64>,
}

/// What belongs to one instance.
pub struct State {
    pub host: Host,
    pub task: nffi_task,
    pub surroundings: Arc<Surroundings>,
    pub limits: Limits,
    /// When it is stopped.
    pub until: Option<Instant>,
    /// CLOCK_MONOTONIC in ns when it wants to go on; 0 at once. For the thread that runs it.
    pub wake_at: Arc<AtomicU64>,
    pub stdin: Input,
    pub read: usize,
    pub stdout: Vec<u8>,
    pub stderr: Stderr,
    pub descriptors: Descriptors,
    pub memory: Option<Memory>,
    /// It has asked for more memory than it may have.
    pub starved: bool,
}

/// How a run ended, with what it wrote.
pub struct Ended {
    pub result: Result<Vec<u8>, Failure>,
}

impl State {
    /// Of an instance that begins now.
    pub fn new(
        host: Host,
        task: nffi_task,
        surroundings: &Arc<Surroundings>,
        options: &Options,
        stdin: Input,
        wake_at: Arc<AtomicU64>,
    ) -> Self {
        Self {
            host,
            task,
            surroundings: surroundings.clone(),
            limits: Limits {
                time: options.time_limit,
                memory: options.memory_limit,
                output: options.max_output,
                fuel: options.fuel,
            },
            // The caller's own patience is the host's business: it says cancelled() when that is over.
            until: options.time_limit.map(|limit| Instant::now() + limit),
            wake_at,
            stdin,
            read: 0,
            stdout: Vec::new(),
            stderr: Stderr::new(options.log_level),
            descriptors: Descriptors::new(surroundings.folders()),
            memory: None,
            starved: false,
        }
    }

    /// May it go on?
    pub fn judge(&self) -> Result<(), Stop> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(Stop::Time);
        }
        if self.host.cancelled(self.task) {
            return Err(Stop::Gone);
        }
        Ok(())
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let may = desired <= self.limits.memory;
        self.starved |= !may;
        Ok(may)
    }

    fn table_growing(&mut self, _: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= most.unwrap_or(usize::MAX))
    }
}

/// For one instance, with its limits.
pub fn store(engine: &Engine, state: State) -> wasmtime::Result<Store<State>> {
    let fuel = state.limits.fuel;
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        let state = context.data();
        state.judge()?;
        state.wake_at.store(0, Relaxed);
        Ok(UpdateDeadline::Yield(1))
    });
    fuel.map_or(Ok(()), |fuel| store.set_fuel(fuel))?;
    Ok(store)
}

/// Runs a function to its end. Each time it yields, `wake_at` says when to go on.
pub async fn run(function: Arc<Function>, state: State) -> Ended {
    let limits = state.limits;
    let mut store = match store(function.pre.module().engine(), state) {
        Ok(store) => store,
        Err(error) => return Ended { result: Err(Failure::Trap(error.to_string(), Vec::new())) },
    };
    let outcome = call(&mut store, &function).await;
    let mut state = store.into_data();
    state.stderr.finish(state.host, state.task);
    let result = match outcome.map_or_else(|error| Failure::of(&error, limits.time, limits.output), Ok) {
        Ok(()) => Ok(std::mem::take(&mut state.stdout)),
        Err(failure) => {
            failure.log_details(state.host, state.task, state.starved.then_some(state.limits.memory));
            Err(failure)
        }
    };
    Ended { result }
}

async fn call(store: &mut Store<State>, function: &Function) -> wasmtime::Result<()> {
    let instance = function.pre.instantiate_async(&mut *store).await?;
    let memory = instance.get_module_export(&mut *store, &function.memory).and_then(|export| export.into_memory());
    store.data_mut().memory = memory;
    for step in &function.steps {
        let step = instance.get_module_export(&mut *store, step).and_then(|export| export.into_func());
        let step = step.ok_or_else(|| wasmtime::Error::msg("an export is missing"))?.typed::<(), ()>(&mut *store)?;
        step.call_async(&mut *store, ()).await?;
    }
    Ok(())
}
