//! What libraries of another ABI are given: tasks one by one, requests by handle, an end.

#![allow(clippy::expect_used)]

mod support;

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use nffi_core::{
    buf::Buf,
    dispatch::{Outcome, Refusal, State},
    host::HOST,
    runtime::{Runtime, Spec},
    slot::Answer,
};
use support::{request, world};

static GONE: AtomicUsize = AtomicUsize::new(0);

/// A runtime whose init has said yes; the test does the polling.
fn adopt(name: &str, gone: fn()) -> (u32, u64) {
    let spec = Spec {
        name: name.to_owned(),
        library: name.into(),
        config: Vec::new(),
        settings: Default::default(),
        surroundings: Default::default(),
    };
    let runtime: Arc<Runtime> = world().on_loop(|l| l.dispatch.adopt_foreign(&spec, gone));
    runtime.started.set(Ok(())).expect("once");
    HOST.bulletin();
    world().wait_for(runtime.number, &State::Ready);
    (runtime.number, runtime.handle())
}

fn respond(task: u64, status: i32, data: &[u8]) {
    HOST.respond(task, || Answer { status, data: Buf::copy_of(data).expect("memory") });
}

fn request_of(task: u64) -> Option<Vec<u8>> {
    let (data, len) = HOST.request(task)?;
    // SAFETY: the task is running, and no one else ends it.
    Some(unsafe { slice::from_raw_parts(data.cast(), len) }.to_vec())
}

#[test]
fn tasks_one_by_one_their_requests_and_answers() {
    let (number, queue) = adopt("plain", || {});
    let (one, two) = (world().call(number, b"one"), world().call(number, b"t\0o"));
    let first = HOST.next_task(queue).expect("a task");
    assert_eq!(request_of(first), Some(b"one".to_vec()));
    let second = HOST.next_task(queue).expect("a task");
    assert_eq!(request_of(second), Some(b"t\0o".to_vec()));
    respond(second, 0, b"2");
    respond(first, 7, b"no");
    assert_eq!(world().answer(&two), b"2");
    assert!(matches!(world().wait(&one), Outcome::Answer(a) if a.status == 7 && a.data.as_slice() == b"no"));
    assert_eq!(request_of(first), None, "answered");
    HOST.respond(first, || panic!("asked for the answer of a task that has ended"));
    world().line(number, "respond() for task");
}

#[test]
fn no_request_is_null_and_a_queue_of_nobody_is_over() {
    let (number, queue) = adopt("null", || {});
    let ticket = world().submit(number, nffi_core::dispatch::Submission { data: Buf::none(), ..request(b"") });
    let task = HOST.next_task(queue).expect("a task");
    let (data, len) = HOST.request(task).expect("running");
    assert!(data.is_null() && len == 0);
    respond(task, 0, b"");
    world().answer(&ticket.expect("admitted"));
    for queue in [0, u64::MAX, 1 << 62] {
        assert_eq!(HOST.next_task(queue), None);
    }
}

#[test]
fn a_cancelled_task_keeps_its_request_and_pollers_see_no_event_of_it() {
    let (number, queue) = adopt("cancel", || {});
    let gone = world().call(number, b"gone");
    let task = HOST.next_task(queue).expect("a task");
    world().cancel(&gone);
    let next = world().call(number, b"next");
    let second = HOST.next_task(queue).expect("a task");
    assert_eq!(request_of(second), Some(b"next".to_vec()), "CANCEL came out as a task");
    assert_eq!(request_of(task), Some(b"gone".to_vec()));
    respond(second, 0, b"");
    respond(task, 0, b"late");
    world().answer(&next);
    world().wait_until_idle(number);
}

#[test]
fn unloaded_pollers_leave_and_what_they_hold_can_still_be_answered() {
    let (number, queue) = adopt("held", || {});
    let held = world().call(number, b"held");
    let task = HOST.next_task(queue).expect("a task");
    let queued = world().call(number, b"queued");
    world().on_loop(|l| l.dispatch.unload(number)).expect("ready");
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::Unloaded));
    let second = HOST.next_task(queue).expect("what was accepted comes before the end");
    respond(second, 0, b"");
    world().answer(&queued);
    assert_eq!(HOST.next_task(queue), None);
    assert_eq!(HOST.next_task(queue), None);
    assert_eq!(world().state(number), State::Unloading, "over with a task in its hands");
    respond(task, 0, b"after the end");
    assert_eq!(world().answer(&held), b"after the end");
    world().wait_for(number, &State::Stopped);
    assert_eq!(HOST.next_task(queue), None);
}

#[test]
fn it_is_over_when_the_last_poller_has_left_and_gone_with_the_last_thread() {
    let (number, queue) = adopt("threads", || {
        GONE.fetch_add(1, Ordering::SeqCst);
    });
    let (end, over) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (end, over) = (end.clone(), over.0.clone());
            thread::spawn(move || {
                while let Some(task) = HOST.next_task(queue) {
                    respond(task, 0, b"");
                }
                over.send(()).expect("the test waits");
                // In the library's code, after its end.
                while end.load(Ordering::SeqCst) == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let ticket = world().call(number, b"");
    world().answer(&ticket);
    world().on_loop(|l| l.dispatch.unload(number)).expect("ready");
    world().wait_for(number, &State::Stopped);
    for _ in 0..3 {
        over.1.recv().expect("a poller");
    }
    assert_eq!(GONE.load(Ordering::SeqCst), 0, "threads are left");
    end.store(1, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("well");
    }
    assert_eq!(GONE.load(Ordering::SeqCst), 1);
    assert_eq!(HOST.next_task(queue), None);
}
