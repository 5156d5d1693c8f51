//! Runtimes by handle, for the functions that runtimes call from their threads.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, PoisonError, RwLock},
};

use crate::runtime::Runtime;

/// All runtimes that may still be polled. A runtime's handle is its number plus one; numbers are
/// never used again.
#[derive(Debug, Default)]
pub struct Registry(RwLock<Vec<Option<Arc<Runtime>>>>);

thread_local! {
    /// The runtime that this thread served last: saves the lock on every poll.
    static LAST: RefCell<Option<(u64, Arc<Runtime>)>> = const { RefCell::new(None) };
}

thread_local! {
    /// The same runtime's handle. It has no destructor: it is there for exit handlers too, which
    /// run after those of the thread that called exit().
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

impl Registry {
    /// Makes a runtime known under the next number. Runs on: event loop.
    pub fn add(&self, make: impl FnOnce(u32) -> Runtime) -> Arc<Runtime> {
        let mut runtimes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let runtime = Arc::new(make(runtimes.len() as u32));
        runtimes.push(Some(runtime.clone()));
        runtime
    }

    /// Forgets a runtime: its handle is dead from now on. Runs on: event loop.
    pub fn remove(&self, number: u32) {
        let mut runtimes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = runtimes.get_mut(number as usize) {
            *entry = None;
        }
    }

    /// Calls `f` with the runtime that a handle means. Runs on: any thread.
    pub fn with<T>(&self, handle: u64, f: impl FnOnce(&Runtime) -> T) -> Option<T> {
        let runtime = LAST.try_with(|last| match &*last.borrow() {
            Some((known, runtime)) if *known == handle => Some(runtime.clone()),
            _ => None,
        });
        if let Ok(Some(runtime)) = runtime {
            return Some(f(&runtime));
        }
        let runtime = {
            let runtimes = self.0.read().unwrap_or_else(PoisonError::into_inner);
            runtimes.get(usize::try_from(handle.checked_sub(1)?).ok()?)?.clone()?
        };
        remember(handle, runtime.clone());
        Some(f(&runtime))
    }
}

/// This thread works for that runtime.
pub fn remember(handle: u64, runtime: Arc<Runtime>) {
    CURRENT.set(handle);
    // Fails while the thread ends; then nobody needs to know any more.
    let _ = LAST.try_with(|last| last.replace(Some((handle, runtime))));
}

/// Calls `f` as that runtime; afterwards this thread works for whom it did before. Runs on: event
/// loop, where it enters a library itself.
pub fn acting_for<T>(handle: u64, runtime: Arc<Runtime>, f: impl FnOnce() -> T) -> T {
    let before = (CURRENT.replace(handle), LAST.try_with(|last| last.replace(Some((handle, runtime)))));
    let result = f();
    CURRENT.set(before.0);
    if let Ok(before) = before.1 {
        let _ = LAST.try_with(|last| last.replace(before));
    }
    result
}

/// Forgets which one it was: the next test's host has a runtime of the same handle.
#[cfg(test)]
pub(crate) fn forget() {
    CURRENT.set(0);
    let _ = LAST.try_with(RefCell::take);
}

/// The handle of the runtime that this thread served last; 0: none. Runs on: any thread.
pub fn current() -> u64 {
    CURRENT.get()
}
