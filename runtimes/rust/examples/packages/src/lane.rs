//! The slow lane: jobs that wait for a thread, and a way to call off one that waits or runs.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub struct Lane<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<(u64, T)>,
    running: Vec<(u64, Arc<AtomicBool>)>,
    closed: bool,
}

/// A job in the hands of a thread; it counts as running until dropped.
pub struct Running<'a, T> {
    lane: &'a Lane<T>,
    id: u64,
    pub called_off: Arc<AtomicBool>,
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.lane.lock().running.retain(|(id, _)| *id != self.id);
    }
}

impl<T> Lane<T> {
    pub fn new(capacity: usize) -> Self {
        let state = State { waiting: VecDeque::new(), running: Vec::new(), closed: false };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Hands the job back where the lane is full or closed.
    pub fn push(&self, id: u64, job: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed || state.waiting.len() >= self.capacity {
            return Err(job);
        }
        state.waiting.push_back((id, job));
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a job; None once the lane is closed.
    pub fn next(&self) -> Option<(T, Running<'_, T>)> {
        let mut state = self.lock();
        loop {
            if let Some((id, job)) = state.waiting.pop_front() {
                let called_off = Arc::new(AtomicBool::new(false));
                state.running.push((id, Arc::clone(&called_off)));
                return Some((job, Running { lane: self, id, called_off }));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a waiting job out and hands it back; tells a running one to stop.
    pub fn call_off(&self, id: u64) -> Option<T> {
        let mut state = self.lock();
        for (_, called_off) in state.running.iter().filter(|(running, _)| *running == id) {
            called_off.store(true, Ordering::Relaxed);
        }
        let at = state.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        state.waiting.remove(at).map(|(_, job)| job)
    }

    /// Lets nothing more in, calls off what runs, and hands back what waits.
    pub fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        for (_, called_off) in &state.running {
            called_off.store(true, Ordering::Relaxed);
        }
        self.changed.notify_all();
        state.waiting.drain(..).map(|(_, job)| job).collect()
    }

    /// How many jobs wait, how many run.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.running.len())
    }

    /// Every change under the lock is a single step, so a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_order() {
        let lane = Lane::new(8);
        lane.push(1, "a").unwrap();
        lane.push(2, "b").unwrap();
        assert_eq!(lane.load(), (2, 0));
        let (a, running) = lane.next().unwrap();
        assert_eq!((a, lane.load()), ("a", (1, 1)));
        drop(running);
        assert_eq!(lane.load(), (1, 0));
        assert_eq!(lane.next().unwrap().0, "b");
        assert_eq!(lane.load(), (0, 0));
    }

    #[test]
    fn a_full_lane_hands_the_job_back() {
        let lane = Lane::new(1);
        lane.push(1, "a").unwrap();
        assert_eq!(lane.push(2, "b"), Err("b"));
    }

    #[test]
    fn a_waiting_job_comes_out_and_a_running_one_hears_of_it() {
        let lane = Lane::new(8);
        lane.push(1, "a").unwrap();
        lane.push(2, "b").unwrap();
        let (_, running) = lane.next().unwrap();
        assert_eq!(lane.call_off(2), Some("b"));
        assert!(!running.called_off.load(Ordering::Relaxed));
        assert_eq!(lane.call_off(1), None);
        assert!(running.called_off.load(Ordering::Relaxed));
        assert_eq!(lane.call_off(3), None);
    }

    #[test]
    fn closing_ends_everything() {
        let lane = Lane::new(8);
        lane.push(1, "a").unwrap();
        lane.push(2, "b").unwrap();
        let (_, running) = lane.next().unwrap();
        assert_eq!(lane.close(), ["b"]);
        assert!(running.called_off.load(Ordering::Relaxed));
        assert_eq!(lane.push(3, "c"), Err("c"));
        assert!(lane.next().is_none());
    }

    #[test]
    fn a_thread_that_waits_sees_the_job_and_the_end() {
        let lane = Arc::new(Lane::new(8));
        let worker = std::thread::spawn({
            let lane = Arc::clone(&lane);
            move || {
                let mut jobs = Vec::new();
                while let Some((job, _running)) = lane.next() {
                    jobs.push(job);
                }
                jobs
            }
        });
        lane.push(1, "a").unwrap();
        while lane.load().0 > 0 {
            std::thread::yield_now();
        }
        lane.close();
        assert_eq!(worker.join().unwrap(), ["a"]);
    }
}
