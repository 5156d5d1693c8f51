//! Calls and their answers.

#![allow(clippy::expect_used)]

mod support;

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

use nffi_core::{
    abi::{NFFI_BAD, NFFI_CALL, NFFI_CAST, NFFI_OK},
    dispatch::{Outcome, Refusal},
    options::Settings,
};
use support::{Event, Rt, lock, pollers, request, world};

fn answer(rt: Rt, event: Event) {
    if event.kind == NFFI_CALL {
        rt.reply(event.task, 0, &event.data);
    }
}

fn start_echo(settings: Settings) -> u32 {
    world().start(settings, |rt| pollers(rt, 1, answer))
}

#[test]
fn echoes_every_size() {
    let echo = start_echo(Settings::default());
    for len in [0, 1, 15, 16, 4095, 65_536, 1 << 20, 16 << 20] {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
        assert!(world().echo(echo, &data) == data, "{len} bytes came back as others");
    }
    assert_eq!(world().counts(echo), (0, 0));
}

#[test]
fn the_request_is_never_null_and_ends_in_a_nul() {
    let (number, rt) = world().start_idle(Settings::default());
    for data in [&b""[..], b"\0\0", b"abc"] {
        let ticket = world().call(number, data);
        let event = rt.next();
        assert_ne!(event.address, 0);
        assert_eq!(event.data, data);
        // SAFETY: the host promises one NUL behind the data, until the task ends.
        assert_eq!(unsafe { *((event.address + data.len()) as *const u8) }, 0);
        assert_eq!(rt.end(event.task, 0), NFFI_OK);
        assert_eq!(world().answer(&ticket), b"");
    }
}

#[test]
fn the_deadline_and_the_flags_arrive() {
    let (number, rt) = world().start_idle(Settings::default());
    let mut timed = request(b"x");
    timed.deadline = 0x1234_5678_9abc;
    let ticket = world().submit(number, timed).expect("admitted");
    let event = rt.next();
    assert_eq!((event.kind, event.flags, event.deadline), (NFFI_CALL, 0, 0x1234_5678_9abc));
    rt.end(event.task, 0);
    world().wait(&ticket);
}

#[test]
fn a_status_is_the_runtimes_own_error() {
    let (number, rt) = world().start_idle(Settings::default());
    for status in [1, -1, i32::MIN, i32::MAX] {
        let ticket = world().call(number, b"");
        assert_eq!(rt.reply(rt.next().task, status, b"why"), NFFI_OK);
        match world().wait(&ticket) {
            Outcome::Answer(answer) => {
                assert_eq!((answer.status, answer.data.as_slice()), (status, &b"why"[..]));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world().on_loop(|l| l.dispatch.entry(number).expect("entry").stats.errors), 4);
}

#[test]
fn a_null_answer_has_no_length() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    assert_eq!(rt.reply_null(rt.next().task, 1 << 40), NFFI_OK);
    match world().wait(&ticket) {
        Outcome::Answer(answer) => assert!(answer.data.is_none() && answer.data.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sixteen_threads_answer_at_once() {
    const CALLS: usize = 4000;
    let number = world().start(Settings::default(), |rt| {
        let (give, take) = mpsc::channel::<Event>();
        let take = Arc::new(Mutex::new(take));
        for _ in 0..16 {
            let take = take.clone();
            thread::spawn(move || {
                loop {
                    let Ok(event) = lock(&take).recv() else { return };
                    assert_eq!(rt.reply(event.task, 0, &event.data), NFFI_OK);
                }
            });
        }
        pollers(rt, 1, move |_, event| give.send(event).expect("threads are there"));
    });
    let tickets: Vec<_> = (0..CALLS).map(|i| world().call(number, &i.to_le_bytes())).collect();
    for (i, ticket) in tickets.iter().enumerate() {
        assert_eq!(world().answer(ticket), i.to_le_bytes());
    }
    let stats = world().on_loop(|l| l.dispatch.entry(number).expect("entry").stats.clone());
    assert_eq!((stats.calls, stats.answers, stats.errors), (CALLS as u64, CALLS as u64, 0));
}

#[test]
fn the_second_answer_is_refused_and_logged() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    assert_eq!(rt.reply(task, 0, b"first"), NFFI_OK);
    assert_eq!(rt.reply(task, 0, b"second"), NFFI_BAD);
    assert_eq!(rt.end(task, 0), NFFI_BAD);
    assert_eq!(rt.write(task, b"third"), NFFI_BAD);
    assert_eq!(rt.read(task), support::Read::Status(NFFI_BAD));
    assert_eq!(rt.cancelled(task), NFFI_BAD);
    assert_eq!(world().answer(&ticket), b"first");
    world().line(number, &format!("reply() for task {task:#x}, which has ended already"));
    world().line(number, "end() for task");
    world().line(number, "write() for task");
    world().line(number, "read() for task");
    let bad = world().on_loop(|l| {
        let entry = l.dispatch.entry(number).expect("entry");
        entry.runtime.bad_answers.load(std::sync::atomic::Ordering::Relaxed)
    });
    assert_eq!(bad, 4);
}

#[test]
fn a_race_of_answers_has_one_winner() {
    let (number, rt) = world().start_idle(Settings::default());
    for round in 0..200u8 {
        let ticket = world().call(number, b"");
        let task = rt.next().task;
        let threads: Vec<_> = (0..4u8).map(|i| thread::spawn(move || (i, rt.reply(task, 0, &[round, i])))).collect();
        let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("thread")).collect();
        let winners: Vec<_> = results.iter().filter(|(_, rc)| *rc == NFFI_OK).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(world().answer(&ticket), [round, winners[0].0]);
    }
}

#[test]
fn garbage_is_an_error_code() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    let garbage = [0, 1, u64::MAX, task | (1 << 23), task ^ (1 << 24), task & 0xff_ffff, 0xff_ffff, 1 << 24, !task];
    for handle in garbage {
        assert_eq!(rt.reply(handle, 0, b"x"), NFFI_BAD, "{handle:x}");
        assert_eq!(rt.write(handle, b"x"), NFFI_BAD, "{handle:x}");
        assert_eq!(rt.end(handle, 0), NFFI_BAD, "{handle:x}");
        assert_eq!(rt.read(handle), support::Read::Status(NFFI_BAD), "{handle:x}");
        assert_eq!(rt.cancelled(handle), NFFI_BAD, "{handle:x}");
    }
    assert_eq!(rt.reply(task, 0, b"sound"), NFFI_OK);
    assert_eq!(world().answer(&ticket), b"sound");
}

#[test]
fn a_slot_used_again_does_not_answer_to_its_old_handle() {
    let (number, rt) = world().start_idle(Settings { tasks: 1, ..Settings::default() });
    let mut old: Vec<u64> = Vec::new();
    for round in 0..50u8 {
        let ticket = world().call(number, &[round]);
        let task = rt.next().task;
        for &dead in &old {
            assert_ne!(dead, task);
            assert_eq!(rt.reply(dead, 0, b"old"), NFFI_BAD);
        }
        assert_eq!(rt.reply(task, 0, &[round]), NFFI_OK);
        assert_eq!(world().answer(&ticket), [round]);
        old.push(task);
    }
}

#[test]
fn many_answers_in_one_call() {
    let (number, rt) = world().start_idle(Settings::default());
    let tickets: Vec<_> = (0..3u8).map(|i| world().call(number, &[i])).collect();
    let tasks: Vec<_> = (0..3).map(|_| rt.next().task).collect();
    let (ok, results) = rt.reply_many(&[
        (tasks[0], 0, b"zero"),
        (tasks[0], 0, b"again"),
        (tasks[1], 7, b"one"),
        (12345, 0, b"none"),
        (tasks[2], 0, b""),
    ]);
    assert_eq!((ok, results), (3, vec![NFFI_OK, NFFI_BAD, NFFI_OK, NFFI_BAD, NFFI_OK]));
    assert_eq!(world().answer(&tickets[0]), b"zero");
    assert!(matches!(world().wait(&tickets[1]), Outcome::Answer(answer) if answer.status == 7));
    assert_eq!(world().answer(&tickets[2]), b"");
    assert_eq!(rt.reply_many(&[]), (0, vec![]));
}

#[test]
fn both_sizes_are_bounded() {
    let echo = start_echo(Settings { max_request: 100, max_response: 50, ..Settings::default() });
    assert_eq!(world().echo(echo, &[1; 50]), [1; 50]);
    assert!(matches!(world().wait(&world().call(echo, &[1; 51])), Outcome::TooLarge));
    assert_eq!(world().submit(echo, request(&[0; 101])).err(), Some(Refusal::RequestTooLarge));
    let rejected = world().on_loop(|l| l.dispatch.entry(echo).expect("entry").stats.rejected);
    assert_eq!(rejected, 1);
    assert_eq!(world().submit(9999, request(b"")).err(), Some(Refusal::NoSuchRuntime));
}

#[test]
fn nobody_waits_for_a_cast() {
    let (number, rt) = world().start_idle(Settings::default());
    for i in 0..3u8 {
        let task = world().cast(number, &[i]);
        let event = rt.next();
        assert_eq!((event.task, event.kind, event.flags, event.data), (task, NFFI_CALL, NFFI_CAST, vec![i]));
        assert_eq!(world().counts(number), (1, 0));
        assert_eq!(rt.write(task, b"dropped"), NFFI_OK);
        assert_eq!(if i == 0 { rt.end(task, 0) } else { rt.reply(task, 0, b"dropped") }, NFFI_OK);
        world().wait_until_idle(number);
    }
    let stats = world().on_loop(|l| l.dispatch.entry(number).expect("entry").stats.clone());
    assert_eq!((stats.casts, stats.calls, stats.answers), (3, 0, 3));
}

#[test]
fn tasks_that_are_never_answered_stay_counted() {
    let (number, rt) = world().start_idle(Settings::default());
    let tickets: Vec<_> = (0..5).map(|_| world().call(number, b"")).collect();
    let tasks: Vec<_> = (0..5).map(|_| rt.next().task).collect();
    for ticket in &tickets {
        world().cancel(ticket);
        world().cancel(ticket);
    }
    assert_eq!(world().counts(number), (5, 5));
    for task in tasks {
        assert_eq!(rt.reply(task, 0, b"late"), nffi_core::abi::NFFI_GONE);
    }
    world().wait_until_idle(number);
    assert!(tickets.iter().all(|ticket| !world().on_loop(|l| l.has_ended(ticket))));
}
