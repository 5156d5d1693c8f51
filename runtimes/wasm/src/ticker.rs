//! Makes wasmtime look at the clock: running functions stop at each tick, and say whether they may go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

const TICK: Duration = Duration::from_millis(2);
/// How many ticks it goes on with nothing running, so that not every request has to wake it.
const LINGER: u32 = 25;

pub struct Ticker {
    running: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    over: AtomicBool,
}

impl Ticker {
    pub fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let handle = thread::Builder::new()
            .name("nffi-wasm-tick".to_owned())
            .stack_size(64 << 10)
            .spawn(move || tick(&engine, &theirs))?;
        Ok(Self { running: shared, thread: handle.thread().clone() })
    }

    /// A thread begins to run functions; until the matching [`leave`](Self::leave) it is interrupted.
    pub fn enter(&self) {
        self.running.running.fetch_add(1, SeqCst);
        if self.running.asleep.load(SeqCst) {
            self.thread.unpark();
        }
    }

    pub fn leave(&self) {
        self.running.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.running.over.store(true, SeqCst);
        self.thread.unpark();
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.over.load(SeqCst) {
        thread::sleep(TICK);
        engine.increment_epoch();
        idle = if shared.running.load(SeqCst) > 0 { 0 } else { idle + 1 };
        if idle > LINGER {
            // Either enter() sees asleep, or this sees what enter() has counted.
            shared.asleep.store(true, SeqCst);
            while shared.running.load(SeqCst) == 0 && !shared.over.load(SeqCst) {
                thread::park();
            }
            shared.asleep.store(false, SeqCst);
            idle = 0;
        }
    }
}
