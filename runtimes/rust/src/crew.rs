//! How many threads poll and work, while others of them wait for pieces.
//!
//! The events that a waiting handler needs come out of the same queue as the calls, so somebody has
//! to go on polling, also while all who may work do. A thread that is about to wait therefore sends
//! another in its place, a spare one or a new one; and as long as anybody waits there is one more
//! than `threads`, so that one always polls. Calls that it finds while `threads` others work stand in
//! a line until one of those is done. Where there are too many threads, one that has nothing to do
//! becomes a spare.
//!
//! While nobody waits, calls for which there is no thread stay in the host's queue, where nginx
//! counts and bounds them.

use std::{
    cell::Cell,
    collections::VecDeque,
    ptr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many handlers may wait for pieces at a time.
pub(crate) const WAITING_MAX: usize = 1024;

/// How long a spare thread stays.
const SPARE_FOR: Duration = Duration::from_secs(10);

type Spawn = Arc<dyn Fn() -> std::io::Result<()> + Send + Sync>;

/// The threads of one runtime; `C` is a call.
pub(crate) struct Crew<C> {
    /// How many may work.
    threads: usize,
    state: Mutex<State<C>>,
    changed: Condvar,
    /// Until the stop; it holds the service.
    spawn: Mutex<Option<Spawn>>,
}

struct State<C> {
    /// Threads that poll or work; and how many of them work.
    active: usize,
    working: usize,
    /// Calls for which nobody was free.
    line: VecDeque<C>,
    /// Threads in `take_a_break`, and how many of them have been called back.
    spare: usize,
    called: usize,
    /// Handlers between `step_aside` and `come_back`.
    waiting: usize,
    stopping: bool,
}

/// What a thread is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<C> {
    /// `done` comes after it.
    Work(C),
    Poll,
    Leave,
}

thread_local! {
    /// The crew for which this thread works on a call: a handler may also wait on a thread of its own.
    static WORKS_FOR: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

impl<C> Crew<C> {
    pub(crate) fn new(threads: usize) -> Self {
        let state = State {
            active: threads,
            working: 0,
            line: VecDeque::new(),
            spare: 0,
            called: 0,
            waiting: 0,
            stopping: false,
        };
        Self { threads, state: Mutex::new(state), changed: Condvar::new(), spawn: Mutex::new(None) }
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

    /// Runs on: a thread of the crew, before it polls.
    pub(crate) fn next(&self) -> Next<C> {
        self.look(self.lock())
    }

    /// Runs on: the thread of the crew that has polled the call.
    pub(crate) fn take(&self, call: C) -> Next<C> {
        let mut state = self.lock();
        state.line.push_back(call);
        self.look(state)
    }

    /// Runs on: the thread of the crew that has worked.
    pub(crate) fn done(&self) -> Next<C> {
        WORKS_FOR.set(ptr::null());
        let mut state = self.lock();
        state.working -= 1;
        self.look(state)
    }

    fn look(&self, mut state: MutexGuard<'_, State<C>>) -> Next<C> {
        loop {
            if state.working < self.threads
                && let Some(call) = state.line.pop_front()
            {
                state.working += 1;
                WORKS_FOR.set(self.name());
                return Next::Work(call);
            }
            if state.stopping || state.active <= self.wanted(&state) {
                return Next::Poll;
            }
            match self.take_a_break(state) {
                Some(called) => state = called,
                None => return Next::Leave,
            }
        }
    }

    /// How many threads are to poll or work.
    fn wanted(&self, state: &State<C>) -> usize {
        // Those who come back from waiting may make it more who work than there should be.
        state.working.max(self.threads) + usize::from(state.waiting > 0)
    }

    /// None where the thread is to end.
    fn take_a_break<'a>(&self, mut state: MutexGuard<'a, State<C>>) -> Option<MutexGuard<'a, State<C>>> {
        state.active -= 1;
        state.spare += 1;
        loop {
            if state.called > 0 {
                state.called -= 1;
                state.spare -= 1;
                return Some(state);
            }
            if state.stopping {
                state.spare -= 1;
                return None;
            }
            let (guard, timeout) = self.changed.wait_timeout(state, SPARE_FOR).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.called == 0 {
                state.spare -= 1;
                return None;
            }
        }
    }

    /// The handler on this thread will wait: sees to it that somebody polls, and that as many can work
    /// as before. Or says why it cannot.
    ///
    /// Runs on: any thread.
    pub(crate) fn step_aside(&self) -> Result<(), String> {
        let mut state = self.lock();
        if state.waiting >= WAITING_MAX {
            return Err(format!("{WAITING_MAX} handlers wait for pieces already"));
        }
        self.count_waiting(&mut state);
        let missing = self.wanted(&state).saturating_sub(state.active);
        // Those who poll do not look at the line until something wakes them.
        for _ in 0..missing.max(usize::from(!state.line.is_empty())) {
            if let Err(error) = self.send(&mut state) {
                self.count_working(&mut state);
                return Err(format!("cannot start a thread: {error}"));
            }
        }
        Ok(())
    }

    /// This thread goes on.
    pub(crate) fn come_back(&self) {
        self.count_working(&mut self.lock());
    }

    fn count_waiting(&self, state: &mut State<C>) {
        state.waiting += 1;
        if WORKS_FOR.get() == self.name() {
            state.active -= 1;
            state.working -= 1;
        }
    }

    fn count_working(&self, state: &mut State<C>) {
        state.waiting -= 1;
        if WORKS_FOR.get() == self.name() {
            state.active += 1;
            state.working += 1;
        }
    }

    fn send(&self, state: &mut State<C>) -> std::io::Result<()> {
        if state.spare > state.called {
            state.called += 1;
            self.changed.notify_all();
        } else if state.stopping {
            return Ok(());
        } else {
            self.spawn()?;
        }
        state.active += 1;
        Ok(())
    }

    /// The host has no more work. True where there is none in the line either: else those who work see
    /// the same later. The thread leaves.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.lock();
        state.active -= 1;
        state.line.is_empty()
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.spawn.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.changed.notify_all();
    }

    fn name(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn crew(threads: usize) -> (Arc<Crew<u32>>, Arc<AtomicUsize>) {
        let (crew, spawned) = (Arc::new(Crew::new(threads)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&spawned);
        crew.set_spawn(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        (crew, spawned)
    }

    /// Looks on a thread of its own, until it is a spare one.
    fn spare(crew: &Arc<Crew<u32>>) -> std::thread::JoinHandle<Next<u32>> {
        let other = std::thread::spawn({
            let crew = Arc::clone(crew);
            move || crew.next()
        });
        while crew.lock().spare == 0 {
            std::thread::yield_now();
        }
        other
    }

    #[test]
    fn no_more_than_threads_work_and_one_more_polls_while_anybody_waits() {
        let (crew, spawned) = crew(1);
        assert_eq!(crew.take(1), Next::Work(1));
        crew.step_aside().unwrap();
        assert_eq!(spawned.load(Ordering::Relaxed), 2, "one that works, and one that polls");
        // The two, in turns.
        assert_eq!(crew.take(2), Next::Work(2));
        assert_eq!(crew.take(3), Next::Poll);
        assert_eq!(crew.next(), Next::Poll);
        assert_eq!(crew.done(), Next::Work(3));
        assert_eq!(crew.take(4), Next::Poll);
        // This one waits too: its place is taken, by one that finds the call in the line.
        crew.step_aside().unwrap();
        assert_eq!(spawned.load(Ordering::Relaxed), 3);
        assert_eq!(crew.next(), Next::Work(4));
    }

    #[test]
    fn the_line_finds_somebody_though_enough_threads_poll() {
        let (crew, spawned) = crew(1);
        assert_eq!(crew.take(1), Next::Work(1));
        // One too many.
        crew.lock().active += 2;
        crew.lock().line.push_back(2);
        crew.step_aside().unwrap();
        assert_eq!(spawned.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_spare_thread_is_called_back_before_a_new_one_is_started() {
        let (crew, spawned) = crew(1);
        assert_eq!(crew.take(1), Next::Work(1));
        crew.step_aside().unwrap();
        crew.come_back();
        // Three of one: two too many, but this one works.
        let others = [spare(&crew), spare(&crew)];
        while crew.lock().spare < 2 {
            std::thread::yield_now();
        }
        assert_eq!(crew.done(), Next::Poll, "one is to stay");
        assert_eq!(crew.take(2), Next::Work(2));
        crew.step_aside().unwrap();
        for other in others {
            assert_eq!(other.join().unwrap(), Next::Poll);
        }
        assert_eq!(spawned.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_call_that_one_too_many_finds_is_left_to_those_who_work() {
        let (crew, _) = crew(1);
        assert_eq!(crew.take(1), Next::Work(1));
        crew.step_aside().unwrap();
        crew.come_back();
        let others = [(); 2].map(|()| {
            let crew = Arc::clone(&crew);
            std::thread::spawn(move || crew.take(2))
        });
        while crew.lock().spare < 2 {
            std::thread::yield_now();
        }
        assert_eq!(crew.done(), Next::Work(2));
        crew.stop();
        assert!(others.into_iter().all(|other| other.join().unwrap() == Next::Leave));
    }

    #[test]
    fn a_thread_that_is_none_of_the_crew_may_wait() {
        let (crew, spawned) = crew(1);
        crew.step_aside().unwrap();
        assert_eq!(spawned.load(Ordering::Relaxed), 1, "one that polls while the other works");
        crew.come_back();
        let state = crew.lock();
        assert_eq!((state.active, state.working), (2, 0));
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
    fn a_handler_that_cannot_wait_works_on() {
        let crew = Crew::new(1);
        crew.set_spawn(Arc::new(|| Err(std::io::Error::other("no more"))));
        assert_eq!(crew.take(1), Next::Work(1));
        assert_eq!(crew.step_aside().unwrap_err(), "cannot start a thread: no more");
        assert_eq!(crew.done(), Next::Poll);
        let state = crew.lock();
        assert_eq!((state.active, state.working, state.waiting), (1, 0, 0));
    }

    #[test]
    fn the_stop_comes_after_the_line() {
        let (crew, _) = crew(1);
        assert_eq!(crew.take(1), Next::Work(1));
        crew.lock().active += 1;
        crew.lock().line.push_back(2);
        assert!(!crew.leave());
        assert_eq!(crew.done(), Next::Work(2));
        assert_eq!(crew.done(), Next::Poll);
        assert!(crew.leave());
    }

    #[test]
    fn spare_threads_end_at_the_stop() {
        let (crew, _) = crew(1);
        crew.step_aside().unwrap();
        crew.come_back();
        let spare = spare(&crew);
        crew.stop();
        assert_eq!(spare.join().unwrap(), Next::Leave);
    }
}
