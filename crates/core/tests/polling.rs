//! poll() and poll_fd().

#![allow(clippy::expect_used)]

mod support;

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use nffi_core::{
    abi::{NFFI_CALL, NFFI_STOP},
    options::Settings,
};
use rustix::event::epoll;
use support::{Rt, pollers, world};

fn stop(number: u32) {
    world().on_loop(|l| l.dispatch.entry(number).expect("entry").runtime.queue.stop());
}

#[test]
fn batches() {
    let (number, rt) = world().start_idle(Settings::default());
    let tickets: Vec<_> = (0..10u8).map(|i| world().call(number, &[i])).collect();
    let mut events = rt.poll(4, -1);
    assert_eq!(events.len(), 4);
    assert!(rt.poll(0, -1).is_empty(), "no room, no wait");
    events.extend(rt.poll(16, -1));
    assert_eq!(events.iter().map(|e| e.data[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    for event in events {
        rt.reply(event.task, 0, &event.data);
    }
    for (i, ticket) in tickets.iter().enumerate() {
        assert_eq!(world().answer(ticket), [i as u8]);
    }
}

#[test]
fn waits_as_long_as_it_was_told() {
    let (number, rt) = world().start_idle(Settings::default());
    let begin = Instant::now();
    assert!(rt.poll(1, 0).is_empty());
    assert!(begin.elapsed() < Duration::from_millis(20));
    let begin = Instant::now();
    assert!(rt.poll(1, 50).is_empty());
    assert!(begin.elapsed() >= Duration::from_millis(50), "{:?}", begin.elapsed());
    for timeout in [-1, i32::MIN, i32::MAX, 60_000] {
        let poller = thread::spawn(move || rt.poll(1, timeout));
        thread::sleep(Duration::from_millis(20));
        let ticket = world().call(number, b"now");
        let event = poller.join().expect("poller").remove(0);
        assert_eq!(event.data, b"now");
        rt.end(event.task, 0);
        world().wait(&ticket);
    }
}

#[test]
fn spinning_polls_too_and_not_past_the_timeout() {
    let (number, rt) = world().start_idle(Settings { spin: 100_000, ..Settings::default() });
    let begin = Instant::now();
    assert!(rt.poll(1, 5).is_empty());
    assert!(begin.elapsed() < Duration::from_millis(90), "spun for {:?}", begin.elapsed());
    for pause in [0, 50, 150] {
        let poller = thread::spawn(move || rt.poll(1, -1));
        thread::sleep(Duration::from_millis(pause));
        let ticket = world().call(number, b"");
        rt.end(poller.join().expect("poller")[0].task, 0);
        world().wait(&ticket);
    }
}

/// One flush wakes one poller; each poller that leaves work behind wakes the next.
#[test]
fn as_many_pollers_wake_as_there_are_tasks() {
    const N: usize = 8;
    let barrier = Arc::new(Barrier::new(N));
    let number = world().start(Settings::default(), move |rt| {
        pollers(rt, N, move |rt, event| {
            barrier.wait();
            rt.end(event.task, 0);
        });
    });
    for _ in 0..50 {
        let tickets: Vec<_> = world().on_loop(|l| (0..N).map(|_| l.submit(number, support::request(b""))).collect());
        for ticket in &tickets {
            world().wait(ticket);
        }
    }
}

#[test]
fn stop_comes_last_to_everyone_and_for_ever() {
    let (number, rt) = world().start_idle(Settings::default());
    for i in 0..5u8 {
        world().call(number, &[i]);
    }
    stop(number);
    let events = rt.poll(3, -1);
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_CALL; 3]);
    let events = rt.poll(16, -1);
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_CALL, NFFI_CALL, NFFI_STOP]);
    assert_eq!((events[2].task, events[2].address, events[2].flags), (0, 0, 0));
    for timeout in [-1, 0, 50] {
        assert_eq!(rt.poll(4, timeout).iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_STOP]);
    }
}

#[test]
fn stop_wakes_all_who_sleep() {
    let (number, rt) = world().start_idle(Settings::default());
    let threads: Vec<_> = (0..6).map(|_| thread::spawn(move || rt.poll(1, -1))).collect();
    thread::sleep(Duration::from_millis(30));
    stop(number);
    for thread in threads {
        assert_eq!(thread.join().expect("poller")[0].kind, NFFI_STOP);
    }
}

#[test]
fn a_dead_or_garbage_queue_polls_stop() {
    let (number, rt) = world().start_idle(Settings::default());
    for queue in [0, u64::MAX, 1 << 40, 4_000_000_000, rt.queue + 1_000_000] {
        let garbage = Rt { queue, ..rt };
        let events = garbage.poll(4, -1);
        assert_eq!(events.iter().map(|e| (e.kind, e.task)).collect::<Vec<_>>(), [(NFFI_STOP, 0)]);
        assert!(garbage.poll(0, -1).is_empty());
        assert_eq!(garbage.poll_fd(), -1);
        garbage.log(0, 6, b"from nowhere");
        garbage.stopped();
    }
    world().on_loop(|l| l.dispatch.unload(number)).expect("unloaded");
    assert_eq!(rt.next().kind, NFFI_STOP);
    rt.stopped();
    world().wait_for(number, &nffi_core::dispatch::State::Stopped);
    // This thread knows the runtime from before, the other does not.
    assert_eq!(rt.next().kind, NFFI_STOP);
    let other = thread::spawn(move || (rt.next().kind, rt.poll_fd())).join().expect("thread");
    assert_eq!(other, (NFFI_STOP, -1));
    rt.log(0, 6, b"from the grave");
}

// ---- the descriptor ---------------------------------------------------------------------------

fn fd_of(rt: Rt) -> BorrowedFd<'static> {
    let fd = rt.poll_fd();
    assert!(fd >= 0);
    // SAFETY: the queue keeps the descriptor while its runtime is not dead; the tests below end
    // before that.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn watch(fd: BorrowedFd<'_>, flags: epoll::EventFlags) -> std::os::fd::OwnedFd {
    let ep = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    epoll::add(&ep, fd, epoll::EventData::new_u64(0), flags).expect("add");
    ep
}

fn fires(ep: impl AsFd, timeout_ms: i64) -> bool {
    let mut events = [const { std::mem::MaybeUninit::uninit() }; 4];
    let timeout = rustix::event::Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
    !epoll::wait(ep, &mut events, Some(&timeout)).expect("epoll_wait").0.is_empty()
}

#[test]
fn the_descriptor_is_readable_while_events_may_wait() {
    let (number, rt) = world().start_idle(Settings::default());
    world().call(number, b"before the descriptor was");
    let ep = watch(fd_of(rt), epoll::EventFlags::IN);
    assert_eq!(rt.poll_fd(), rt.poll_fd());
    assert!(fires(&ep, 0), "work came before it was made");
    assert_eq!(rt.poll(1, 0).len(), 1);
    assert!(fires(&ep, 0), "as many as asked for came: more may wait");
    assert!(rt.poll(1, 0).is_empty());
    assert!(!fires(&ep, 0), "all is taken");
    for _ in 0..3 {
        world().call(number, b"");
    }
    assert!(fires(&ep, 0));
    assert_eq!(rt.poll(16, 0).len(), 3);
    assert!(!fires(&ep, 0), "fewer than asked for came: all is taken");
    let gone = world().call(number, b"");
    assert_eq!(rt.poll(2, 0).len(), 1);
    assert!(!fires(&ep, 0));
    world().cancel(&gone);
    assert!(fires(&ep, 0), "CANCEL rings too");
    assert_eq!(rt.poll(2, 0).len(), 1);
    assert!(!fires(&ep, 0));
    stop(number);
    for _ in 0..3 {
        assert!(fires(&ep, 0), "STOP is for ever");
        assert_eq!(rt.poll(2, 0).len(), 1);
    }
}

fn echo_by_epoll(threads: usize, batch: usize, flags: epoll::EventFlags) {
    const CALLS: usize = 20_000;
    let number = world().start(Settings::default(), move |rt| {
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(threads));
        for _ in 0..threads {
            let left = left.clone();
            thread::spawn(move || {
                let ep = watch(fd_of(rt), flags);
                loop {
                    assert!(fires(&ep, 60_000), "a wake-up was lost");
                    loop {
                        let events = rt.poll(batch, 0);
                        let n = events.len();
                        for event in events {
                            if event.kind == NFFI_STOP {
                                if left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                                    rt.stopped();
                                }
                                return;
                            }
                            rt.reply(event.task, 0, &event.data);
                        }
                        if n < batch {
                            break;
                        }
                    }
                }
            });
        }
    });
    let mut under_way = std::collections::VecDeque::new();
    for i in 0..CALLS {
        under_way.push_back((i, world().call(number, &i.to_le_bytes())));
        if under_way.len() > i % 7 {
            let (i, ticket) = under_way.pop_front().expect("one");
            assert_eq!(world().answer(&ticket), i.to_le_bytes());
        }
    }
    for (i, ticket) in under_way {
        assert_eq!(world().answer(&ticket), i.to_le_bytes());
    }
    world().on_loop(|l| l.dispatch.unload(number)).expect("unloaded");
    world().wait_for(number, &nffi_core::dispatch::State::Stopped);
}

#[test]
fn level_triggered() {
    echo_by_epoll(1, 4, epoll::EventFlags::IN);
    echo_by_epoll(3, 1, epoll::EventFlags::IN);
}

#[test]
fn edge_triggered() {
    echo_by_epoll(1, 4, epoll::EventFlags::IN | epoll::EventFlags::ET);
    echo_by_epoll(3, 1, epoll::EventFlags::IN | epoll::EventFlags::ET);
}

/// STOP that comes while a poller resets the descriptor leaves it readable.
#[test]
fn stop_is_not_swallowed_by_a_reset() {
    for _ in 0..2000 {
        let (number, rt) = world().start_idle(Settings { queue: 1, ..Settings::default() });
        let fd = fd_of(rt);
        let barrier = Arc::new(Barrier::new(2));
        let poller = thread::spawn({
            let barrier = barrier.clone();
            move || {
                barrier.wait();
                (0..20).map(|_| rt.poll(4, 0).len()).sum::<usize>()
            }
        });
        barrier.wait();
        stop(number);
        let stops = poller.join().expect("poller");
        assert!(fires(watch(fd, epoll::EventFlags::IN), 0), "not readable after STOP ({stops} polls saw it)");
        assert_eq!(rt.poll(1, 0)[0].kind, NFFI_STOP);
    }
}
