//! Parking pollers and waking them, without losing a wake-up.
//!
//! A producer pushes, then looks for sleepers. A consumer counts itself as a sleeper, then looks
//! for work once more. With a SeqCst fence between the two steps on both sides at least one of
//! them sees the other (models/parking.rs proves it). One wake wakes one sleeper; a poller that
//! leaves work behind wakes the next, so that the event loop pays for one wake at most.

use std::time::Instant;

use crate::primitive::{AtomicUsize, Condvar, Mutex, Ordering, fence, lock};

#[derive(Debug, Default)]
pub struct Wake {
    /// Sleepers without a ticket. Changed under the mutex, looked at without it.
    sleepers: AtomicUsize,
    /// Wakes given and not yet taken.
    tickets: Mutex<usize>,
    condvar: Condvar,
}

impl Wake {
    pub fn new() -> Self {
        Self { sleepers: AtomicUsize::new(0), tickets: Mutex::new(0), condvar: Condvar::new() }
    }

    /// Wakes one sleeper, if there is one. Call it after the push. Runs on: any thread.
    pub fn one(&self) {
        self.some(1);
    }

    /// Wakes all. Runs on: any thread.
    pub fn all(&self) {
        self.some(usize::MAX);
    }

    fn some(&self, most: usize) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut tickets = lock(&self.tickets);
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        let wake = sleepers.min(most);
        self.sleepers.store(sleepers - wake, Ordering::Relaxed);
        *tickets += wake;
        drop(tickets);
        match wake {
            0 => {}
            1 => self.condvar.notify_one(),
            _ => self.condvar.notify_all(),
        }
    }

    /// Sleeps until woken or `deadline` (`None`: for ever), unless there `is_work` already. May
    /// return early; the caller looks for itself. Runs on: runtime thread.
    pub fn wait(&self, deadline: Option<Instant>, is_work: impl Fn() -> bool) {
        let mut tickets = lock(&self.tickets);
        self.sleepers.store(self.sleepers.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        while *tickets == 0 {
            // Before every sleep, not only the first: a newcomer may have taken the ticket that
            // this thread was woken for, and who gave it may have pushed more since.
            fence(Ordering::SeqCst);
            if is_work() {
                break;
            }
            let Some(deadline) = deadline else {
                tickets = self.condvar.wait(tickets).unwrap_or_else(|p| p.into_inner());
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            tickets = self.condvar.wait_timeout(tickets, left).unwrap_or_else(|p| p.into_inner()).0;
        }
        if *tickets > 0 {
            *tickets -= 1;
        } else {
            self.sleepers.store(self.sleepers.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
    }
}
