//! How many threads poll and work, while others of them wait for pieces.
//!
//! The events that a waiting handler needs come out of the same queue as the calls, so somebody has
//! to go on polling. A thread that is about to wait therefore sends another in its place: a spare
//! one, or a new one. Once it goes on there is one too many, and the next that has finished its call
//! becomes a spare.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How many handlers may wait for pieces at a time.
pub(crate) const WAITING_MAX: usize = 1024;

/// How long a spare thread stays.
const SPARE_FOR: Duration = Duration::from_secs(10);

type Spawn = Arc<dyn Fn() -> std::io::Result<()> + Send + Sync>;

pub(crate) struct Crew {
    /// How many are to poll and work.
    threads: usize,
    /// How many do. Changed under the lock.
    active: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
    /// Until the stop; it holds the service.
    spawn: Mutex<Option<Spawn>>,
}

#[derive(Default)]
struct State {
    /// Threads in `take_a_break`, and how many of them have been called back.
    spare: usize,
    called: usize,
    /// Handlers between `step_aside` and `come_back`.
    waiting: usize,
    stopping: bool,
}

impl Crew {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            active: AtomicUsize::new(threads),
            state: Mutex::default(),
            changed: Condvar::new(),
            spawn: Mutex::new(None),
        }
    }

    /// How a thread is started.
    pub(crate) fn set_spawn(&self, spawn: Spawn) {
        *self.spawn.lock().unwrap_or_else(PoisonError::into_inner) = Some(spawn);
    }

    /// Starts a thread of the crew.
    pub(crate) fn spawn(&self) -> std::io::Result<()> {
        let spawn = self.spawn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spawn.map_or_else(|| Err(std::io::Error::other("the runtime stops")), |spawn| spawn())
    }

    /// Sends another thread to poll, since this one will wait. Or says why it cannot.
    pub(crate) fn step_aside(&self) -> Result<(), String> {
        let mut state = self.lock();
        if state.waiting >= WAITING_MAX {
            return Err(format!("{WAITING_MAX} handlers wait for pieces already"));
        }
        if state.spare > state.called {
            state.called += 1;
            self.changed.notify_all();
        } else if !state.stopping {
            self.spawn().map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        state.waiting += 1;
        Ok(())
    }

    /// This thread works again.
    pub(crate) fn come_back(&self) {
        let mut state = self.lock();
        state.waiting -= 1;
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Asked after each call: waits while there are too many; false where the thread is to end.
    pub(crate) fn take_a_break(&self) -> bool {
        if self.active.load(Ordering::Relaxed) <= self.threads {
            return true;
        }
        let mut state = self.lock();
        if state.stopping || self.active.load(Ordering::Relaxed) <= self.threads {
            return true;
        }
        self.active.fetch_sub(1, Ordering::Relaxed);
        state.spare += 1;
        loop {
            if state.called > 0 {
                state.called -= 1;
                state.spare -= 1;
                return true;
            }
            if state.stopping {
                state.spare -= 1;
                return false;
            }
            let (guard, timeout) = self.changed.wait_timeout(state, SPARE_FOR).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.called == 0 {
                state.spare -= 1;
                return false;
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.spawn.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(threads: usize) -> (Arc<Crew>, Arc<AtomicUsize>) {
        let (crew, spawned) = (Arc::new(Crew::new(threads)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&spawned);
        crew.set_spawn(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        (crew, spawned)
    }

    #[test]
    fn a_spare_thread_is_called_back_before_a_new_one_is_started() {
        let (crew, spawned) = crew(1);
        crew.step_aside().unwrap();
        assert_eq!(spawned.load(Ordering::Relaxed), 1);
        crew.come_back();
        // Two of one: the next to finish takes a break.
        let other = std::thread::spawn({
            let crew = Arc::clone(&crew);
            move || crew.take_a_break()
        });
        while crew.lock().spare == 0 {
            std::thread::yield_now();
        }
        assert!(crew.take_a_break(), "one is to stay");
        crew.step_aside().unwrap();
        assert!(other.join().unwrap());
        assert_eq!(spawned.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_number_of_those_who_wait_is_bounded() {
        let (crew, _) = crew(1);
        for _ in 0..WAITING_MAX {
            crew.step_aside().unwrap();
        }
        assert_eq!(crew.step_aside().unwrap_err(), "1024 handlers wait for pieces already");
        crew.come_back();
        crew.step_aside().unwrap();
    }

    #[test]
    fn spare_threads_end_at_the_stop() {
        let (crew, _) = crew(1);
        crew.step_aside().unwrap();
        crew.come_back();
        let spare = std::thread::spawn({
            let crew = Arc::clone(&crew);
            move || crew.take_a_break()
        });
        while crew.lock().spare == 0 {
            std::thread::yield_now();
        }
        crew.stop();
        assert!(!spare.join().unwrap());
    }
}
