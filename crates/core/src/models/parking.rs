//! wake: no wake-up is lost. pollfd: the descriptor is never left unreadable over an event.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::explore;
use crate::{
    pollfd::{Counter, Flag},
    wake::Wake,
};

/// Work without any synchronisation of its own: what is seen of it is Wake's doing.
#[derive(Default)]
struct Work {
    wake: Wake,
    pushed: AtomicUsize,
    taken: AtomicUsize,
    stop: AtomicBool,
}

impl Work {
    fn push(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.all();
    }

    fn is_any(&self) -> bool {
        self.pushed.load(Ordering::Relaxed) > self.taken.load(Ordering::Relaxed)
    }

    /// Takes one; a poller that leaves work behind wakes the next.
    fn take(&self) -> bool {
        let pushed = self.pushed.load(Ordering::Relaxed);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < pushed).then_some(taken + 1));
        if taken.is_ok() && self.is_any() {
            self.wake.one();
        }
        taken.is_ok()
    }

    fn poll_one(&self) {
        while !self.take() {
            self.wake.wait(None, || self.is_any());
        }
    }

    fn poll_until_stop(&self) {
        while !self.stop.load(Ordering::Acquire) {
            if !self.take() {
                self.wake.wait(None, || self.is_any() || self.stop.load(Ordering::Relaxed));
            }
        }
        // What was pushed before stop can be seen by now.
        while self.take() {}
    }
}

#[test]
fn each_push_wakes_a_poller() {
    explore(3, || {
        let work = Arc::new(Work::default());
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                let work = work.clone();
                thread::spawn(move || work.poll_one())
            })
            .collect();
        for _ in 0..2 {
            work.push();
            work.wake.one();
        }
        pollers.into_iter().for_each(|p| p.join().expect("poller"));
    });
}

#[test]
fn one_wake_for_two_pushes_reaches_both_pollers() {
    explore(3, || {
        let work = Arc::new(Work::default());
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                let work = work.clone();
                thread::spawn(move || work.poll_one())
            })
            .collect();
        work.push();
        work.push();
        work.wake.one();
        pollers.into_iter().for_each(|p| p.join().expect("poller"));
    });
}

#[test]
fn one_that_gives_up_takes_no_wake_up_with_it() {
    explore(3, || {
        let work = Arc::new(Work::default());
        let stays = {
            let work = work.clone();
            thread::spawn(move || work.poll_until_stop())
        };
        let gives_up = {
            let work = work.clone();
            thread::spawn(move || {
                let past = Instant::now() - Duration::from_secs(1);
                work.wake.wait(Some(past), || work.is_any());
                // poll() looks once more, whatever woke it.
                work.take();
            })
        };
        work.push();
        work.wake.one();
        work.stop();
        gives_up.join().expect("poller");
        stays.join().expect("poller");
        assert!(!work.is_any());
    });
}

/// An eventfd and an epoll that waits on it.
struct Descriptor {
    counter: Mutex<usize>,
    readable: Condvar,
    writes: AtomicUsize,
}

impl Counter for Arc<Descriptor> {
    fn raise(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        *self.counter.lock().expect("lock") += 1;
        self.readable.notify_all();
    }

    fn lower(&self) {
        *self.counter.lock().expect("lock") = 0;
    }
}

impl Descriptor {
    fn epoll_wait(&self) {
        let mut counter = self.counter.lock().expect("lock");
        while *counter == 0 {
            counter = self.readable.wait(counter).expect("lock");
        }
    }
}

fn descriptor() -> Arc<Descriptor> {
    Arc::new(Descriptor { counter: Mutex::new(0), readable: Condvar::new(), writes: AtomicUsize::new(0) })
}

#[test]
fn the_flag_is_up_while_work_waits() {
    explore(3, || {
        let fd = descriptor();
        let flag = Arc::new(Flag::new(fd.clone()));
        let pushed = Arc::new(AtomicUsize::new(0));
        let loop_of_the_runtime = {
            let (fd, flag, pushed) = (fd.clone(), flag.clone(), pushed.clone());
            thread::spawn(move || {
                let mut seen = 0;
                while seen < 2 {
                    fd.epoll_wait();
                    flag.lower();
                    seen = pushed.load(Ordering::Relaxed);
                }
            })
        };
        for _ in 0..2 {
            pushed.fetch_add(1, Ordering::Relaxed);
            flag.raise();
        }
        loop_of_the_runtime.join().expect("runtime");
        assert!(fd.writes.load(Ordering::Relaxed) <= 3, "more writes than raises");
    });
}

#[test]
fn two_who_lower_it_leave_nothing_behind() {
    explore(2, || {
        let fd = descriptor();
        let flag = Arc::new(Flag::new(fd.clone()));
        let pushed = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        let look = {
            let (flag, pushed, taken) = (flag.clone(), pushed.clone(), taken.clone());
            move || {
                flag.lower();
                taken.fetch_max(pushed.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        };
        let other = thread::spawn(look.clone());
        let producer = {
            let (flag, pushed) = (flag.clone(), pushed.clone());
            thread::spawn(move || {
                pushed.store(1, Ordering::Relaxed);
                flag.raise();
            })
        };
        look();
        other.join().expect("poller");
        producer.join().expect("producer");
        let readable = *fd.counter.lock().expect("lock") > 0;
        assert!(readable || taken.load(Ordering::Relaxed) == 1, "the push is neither seen nor announced");
    });
}
