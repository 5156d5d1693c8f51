//! done: nothing is lost, and the sink is notified once whenever the list becomes non-empty.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    thread,
};

use super::explore;
use crate::done::Done;

#[derive(Default)]
struct List {
    done: Done,
    next: [AtomicU32; 4],
    notified: AtomicUsize,
}

impl List {
    fn push(&self, slot: u32) {
        if self.done.push(slot, |head| self.next[slot as usize].store(head, Ordering::Relaxed)) {
            self.notified.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Vec<u32> {
        let mut slots = Vec::new();
        self.done.take(&mut slots, |slot| self.next[slot as usize].load(Ordering::Relaxed));
        slots
    }

    fn notified(&self) -> usize {
        self.notified.load(Ordering::Relaxed)
    }
}

#[test]
fn one_notification_for_each_time_it_becomes_non_empty() {
    explore(4, || {
        let list = Arc::new(List::default());
        let threads: Vec<_> = [&[1, 2][..], &[3]]
            .into_iter()
            .map(|slots| {
                let list = list.clone();
                thread::spawn(move || slots.iter().for_each(|&slot| list.push(slot)))
            })
            .collect();
        let mut takes = vec![list.take(), list.take()];
        threads.into_iter().for_each(|t| t.join().expect("thread"));
        takes.push(list.take());
        assert_eq!(list.notified(), takes.iter().filter(|slots| !slots.is_empty()).count());
        let mut all = takes.concat();
        let order = |slot| all.iter().position(|&s| s == slot);
        assert!(order(1) < order(2), "oldest first: {all:?}");
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert!(list.done.is_empty());
    });
}

#[test]
fn while_it_is_watched_nobody_notifies_and_nothing_is_missed() {
    explore(4, || {
        let list = Arc::new(List::default());
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|slot| {
                let list = list.clone();
                thread::spawn(move || list.push(slot))
            })
            .collect();
        let mut all = Vec::new();
        let mut watched = 0;
        if list.done.watch() {
            let seen = !list.done.is_empty();
            if list.done.unwatch() {
                assert!(!seen);
            } else {
                // The one who pushed first into the watched list did not notify.
                watched = 1;
                all.extend(list.take());
                assert!(!all.is_empty());
            }
        }
        threads.into_iter().for_each(|t| t.join().expect("thread"));
        let rest = list.take();
        let announced = list.notified();
        assert_eq!(announced, usize::from(!rest.is_empty()), "{all:?} taken while watching, {rest:?} after");
        all.extend(rest);
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert!(watched + announced >= 1);
    });
}
