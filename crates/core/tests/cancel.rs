//! Callers that go before the answer comes, and the two bounds.

#![allow(clippy::expect_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nffi_core::{
    abi::{NFFI_CALL, NFFI_CANCEL, NFFI_GONE, NFFI_OK},
    dispatch::Refusal,
    options::Settings,
};
use support::{Event, Rt, pollers, request, world};

#[test]
fn cancelled_while_queued_is_never_delivered() {
    let (number, rt) = world().start_idle(Settings::default());
    let gone = world().call(number, b"gone");
    let stays = world().call(number, b"stays");
    world().cancel(&gone);
    assert_eq!(world().counts(number), (1, 0));
    let event = rt.next();
    assert_eq!(event.data, b"stays");
    assert!(rt.poll(16, 0).is_empty(), "no CANCEL for what was never delivered");
    rt.reply(event.task, 0, b"");
    world().wait(&stays);
    assert!(!world().on_loop(|l| l.has_ended(&gone)));
    world().wait_until_idle(number);
}

#[test]
fn cancelled_while_running_gets_cancel_and_must_still_be_ended() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let event = rt.next();
    assert_eq!(rt.cancelled(event.task), 0);
    world().cancel(&ticket);
    let cancel = rt.next();
    assert_eq!((cancel.kind, cancel.task, cancel.flags, cancel.address), (NFFI_CANCEL, event.task, 0, 0));
    assert_eq!(rt.cancelled(event.task), 1);
    assert_eq!(world().counts(number), (1, 1));
    assert_eq!(rt.write(event.task, b"late"), NFFI_GONE);
    assert_eq!(rt.reply(event.task, 0, b"late"), NFFI_GONE);
    world().wait_until_idle(number);
    assert!(!world().on_loop(|l| l.has_ended(&ticket)), "no one waits");
    assert!(rt.poll(16, 0).is_empty(), "one CANCEL only");
}

#[test]
fn cancel_comes_before_what_is_queued() {
    let (number, rt) = world().start_idle(Settings::default());
    let first = world().call(number, b"first");
    let task = rt.next().task;
    world().call(number, b"second");
    world().cancel(&first);
    let events = rt.poll(16, 0);
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_CANCEL, NFFI_CALL]);
    // Another poller may learn of the CANCEL before this one has registered its CALL; then
    // cancelled() tells.
    assert_eq!(rt.cancelled(task), 1);
    for task in [task, events[1].task] {
        rt.end(task, 0);
    }
    world().wait_until_idle(number);
}

#[test]
fn cancelled_after_the_end_is_nothing() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    world().on_loop(|l| {
        // Ended, and not drained yet: the loop is ours.
        assert_eq!(rt.reply(task, 0, b"answer"), NFFI_OK);
        l.dispatch.cancel(ticket.task);
        l.look();
        assert!(!l.has_ended(&ticket));
        assert_eq!(l.counts(number), (0, 0));
        l.dispatch.cancel(ticket.task);
        assert_eq!(l.counts(number), (0, 0));
    });
    assert!(rt.poll(16, 0).is_empty(), "no CANCEL for what has ended");
}

#[test]
fn queue_bounds_what_is_not_polled() {
    let (number, rt) = world().start_idle(Settings { queue: 4, ..Settings::default() });
    for i in 0..4u8 {
        world().call(number, &[i]);
    }
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull));
    let event = rt.next();
    world().call(number, &[4]);
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull));
    assert_eq!(world().counts(number), (5, 0));
    rt.end(event.task, 0);
    for i in 1..5u8 {
        let event = rt.next();
        assert_eq!(event.data, [i]);
        rt.end(event.task, 0);
    }
    world().wait_until_idle(number);
}

#[test]
fn tasks_bounds_what_is_not_ended() {
    let (number, rt) = world().start_idle(Settings { tasks: 3, ..Settings::default() });
    let running = world().call(number, b"");
    let abandoned = world().call(number, b"");
    let cast = world().cast(number, b"");
    let tasks: Vec<_> = rt.poll(16, 0).into_iter().map(|e| e.task).collect();
    assert_eq!(tasks, [running.task, abandoned.task, cast]);
    world().cancel(&abandoned);
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull));
    rt.end(abandoned.task, 0);
    world().until("room", |l| l.dispatch.admit(number, 0).is_ok().then_some(()));
    rt.end(cast, 0);
    rt.end(running.task, 0);
    world().wait(&running);
}

#[test]
fn cancelled_tasks_make_room() {
    let (number, rt) = world().start_idle(Settings { queue: 4, ..Settings::default() });
    let tickets: Vec<_> = (0..4u8).map(|i| world().call(number, &[i])).collect();
    world().cancel(&tickets[0]);
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull), "a quarter is not worth it");
    world().cancel(&tickets[2]);
    world().call(number, &[4]);
    world().call(number, &[5]);
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull));
    assert_eq!(world().on_loop(|l| l.dispatch.entry(number).expect("entry").runtime.queue.len()), 4);
    let events = rt.poll(16, 0);
    assert_eq!(events.iter().map(|e| e.data[0]).collect::<Vec<_>>(), [1, 3, 4, 5]);
    for event in events {
        rt.end(event.task, 0);
    }
    world().wait_until_idle(number);
}

#[test]
fn a_queue_of_one() {
    let (number, rt) = world().start_idle(Settings { queue: 1, ..Settings::default() });
    for round in 0..1000u32 {
        let gone = world().call(number, b"gone");
        assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::QueueFull));
        world().cancel(&gone);
        let ticket = world().call(number, &round.to_le_bytes());
        let event = rt.next();
        assert_eq!(event.data, round.to_le_bytes());
        rt.reply(event.task, 0, b"");
        world().wait(&ticket);
    }
    assert_eq!(world().counts(number), (0, 0));
}

/// Every call is answered, or cancelled, and never both; nothing stays behind.
#[test]
fn cancels_race_with_answers() {
    const ROUNDS: usize = 20_000;
    let delivered = Arc::new(AtomicUsize::new(0));
    let ok = Arc::new(AtomicUsize::new(0));
    let (d, o) = (delivered.clone(), ok.clone());
    let number = world().start(Settings { queue: 64, ..Settings::default() }, move |rt| {
        pollers(rt, 3, move |rt: Rt, event: Event| {
            if event.kind == NFFI_CALL {
                d.fetch_add(1, Ordering::Relaxed);
                let rc = rt.reply(event.task, 0, &event.data);
                assert!(rc == NFFI_OK || rc == NFFI_GONE, "{rc}");
                o.fetch_add(usize::from(rc == NFFI_OK), Ordering::Relaxed);
            }
        });
    });
    let (mut ended, mut cancelled) = (0, 0);
    for round in 0..ROUNDS {
        let Ok(ticket) = world().submit(number, request(&round.to_le_bytes())) else {
            thread::yield_now();
            continue;
        };
        for _ in 0..round % 97 {
            std::hint::spin_loop();
        }
        let was_over = world().on_loop(|l| {
            let over = l.has_ended(&ticket);
            l.dispatch.cancel(ticket.task);
            over
        });
        if was_over {
            assert_eq!(world().answer(&ticket), round.to_le_bytes());
            ended += 1;
        } else {
            cancelled += 1;
        }
    }
    world().wait_until_idle(number);
    let stats = world().on_loop(|l| l.dispatch.entry(number).expect("entry").stats.clone());
    assert_eq!(stats.calls, ended + cancelled);
    assert_eq!(stats.cancelled, cancelled);
    assert_eq!(stats.answers as usize, delivered.load(Ordering::Relaxed));
    assert!(ok.load(Ordering::Relaxed) >= ended as usize);
}
