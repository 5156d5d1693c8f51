//! A changed file takes the place of the old one, without a reload.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Weak, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{code::Code, runtime::Runtime};

const INTERVAL: Duration = Duration::from_millis(200);

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look(Option<[i64; 5]>);

impl Look {
    pub fn at(path: &Path) -> Self {
        let meta = fs::metadata(path).ok();
        Self(meta.map(|meta| {
            [
                meta.mtime(),
                meta.mtime_nsec(),
                meta.size().cast_signed(),
                meta.ino().cast_signed(),
                meta.dev().cast_signed(),
            ]
        }))
    }
}

pub struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub fn start<C: Code>(runtime: &Arc<Runtime<C>>, seen: Look) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let runtime = Arc::downgrade(runtime);
        let thread =
            thread::Builder::new().name("nffi-wasm-watch".to_owned()).spawn(move || watch(&runtime, seen, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Returns when the thread has ended: it may be compiling.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Runs on: a thread of its own. It looks, and is not told: what a file system tells differs from one to the next.
fn watch<C: Code>(runtime: &Weak<Runtime<C>>, mut used: Look, stopped: &mpsc::Receiver<()>) {
    let mut last = used;
    while stopped.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
        let Some(runtime) = runtime.upgrade() else { return };
        let now = Look::at(&runtime.options.module);
        // A file that is still being written, or is away for a moment, is left until it looks the same twice.
        if now != used && now == last && now.0.is_some() {
            used = now;
            runtime.reload();
        }
        last = now;
    }
}
