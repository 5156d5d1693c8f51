//! How runtimes start, fail, are unloaded and stop.

#![allow(clippy::expect_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use nffi_core::{
    abi::{NFFI_BAD, NFFI_CALL, NFFI_CANCEL, NFFI_GONE, NFFI_STOP},
    dispatch::{Outcome, Refusal, State},
    options::Settings,
};
use support::{Rt, own_library, pollers, request, world};

fn echo(rt: Rt) {
    pollers(rt, 2, |rt, event| {
        if event.kind == NFFI_CALL {
            rt.reply(event.task, 0, &event.data);
        }
    });
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

fn unload(number: u32) -> Result<(), Refusal> {
    world().on_loop(|l| l.dispatch.unload(number))
}

#[test]
fn a_failed_init_answers_whoever_waits() {
    let (go, wait) = mpsc::channel::<()>();
    let number = world().start_library(own_library(), Settings::default(), move |_| {
        wait.recv().expect("the test");
        Err("no such model".to_owned())
    });
    let tickets: Vec<_> = (0..3).map(|_| world().call(number, b"")).collect();
    let gone = world().call(number, b"");
    world().cast(number, b"");
    world().cancel(&gone);
    assert_eq!(world().state(number), State::Starting);
    go.send(()).expect("init waits");
    for ticket in &tickets {
        assert_eq!(failure(world().wait(ticket)), "no such model");
    }
    let why = "no such model".to_owned();
    assert_eq!(world().state(number), State::Failed(why.clone()));
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::Failed(why)));
    assert_eq!(world().counts(number), (0, 0));
    assert!(world().on_loop(|l| l.dispatch.entry(number).expect("entry").runtime.queue.is_empty()));
    assert_eq!(unload(number), Ok(()));
    assert_eq!(world().state(number), State::Stopped);
    assert_eq!(unload(number), Err(Refusal::Unloaded));
}

#[test]
fn threads_that_a_failed_init_leaves_behind_get_stop() {
    let (give, take) = mpsc::channel();
    let number = world().start_with(Settings::default(), move |rt| {
        thread::spawn(move || give.send(rt.next().kind));
        thread::sleep(Duration::from_millis(20));
        Err("half a start".to_owned())
    });
    world().wait_for(number, &State::Failed("half a start".to_owned()));
    assert_eq!(take.recv_timeout(support::PATIENCE), Ok(NFFI_STOP));
}

#[test]
fn what_cannot_be_loaded_has_failed() {
    for (library, why) in [("/nffi/no/such.so", "No such file"), ("/etc/passwd", "is not a shared library")] {
        let number = world().start_library(library.into(), Settings::default(), |_| unreachable!());
        let ticket = world().submit(number, request(b""));
        let said = match ticket {
            Ok(ticket) => failure(world().wait(&ticket)),
            Err(refusal) => refusal.to_string(),
        };
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_failed_init_that_cleans_up_has_failed_all_the_same() {
    let number = world().start_with(Settings::default(), |rt| {
        rt.stopped();
        Err("no".to_owned())
    });
    world().wait_for(number, &State::Failed("no".to_owned()));
    world().on_loop(support::Loop::look);
    assert_eq!(world().state(number), State::Failed("no".to_owned()));
}

#[test]
fn a_descriptor_of_a_failed_init_stays_readable() {
    let (give, take) = mpsc::channel();
    let number = world().start_with(Settings::default(), move |rt| {
        give.send((rt, rt.poll_fd())).expect("the test");
        Err("half a start".to_owned())
    });
    let (rt, fd) = take.recv().expect("init");
    world().wait_for(number, &State::Failed("half a start".to_owned()));
    // SAFETY: what this tests: the descriptor is still the queue's.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
    assert_eq!(rt.poll(4, 0).iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_STOP]);
}

/// A queue is as large as it was declared; loading and unloading must not pile them up.
#[test]
fn a_stopped_runtime_frees_its_queue() {
    let mut runtimes = Vec::new();
    for stops in [true, false] {
        let (go, wait) = mpsc::channel::<()>();
        let number = world().start_with(Settings::default(), move |rt| {
            let _ = wait.recv();
            if stops {
                echo(rt);
                return Ok(());
            }
            Err("no".to_owned())
        });
        let runtime = world().on_loop(|l| Arc::downgrade(&l.dispatch.entry(number).expect("entry").runtime));
        drop(go);
        if stops {
            world().echo(number, b"used");
            unload(number).expect("unloaded");
            world().wait_for(number, &State::Stopped);
        } else {
            world().wait_for(number, &State::Failed("no".to_owned()));
        }
        runtimes.push(runtime);
    }
    // The last to hold it are threads on their way out.
    let end = std::time::Instant::now() + support::PATIENCE;
    while runtimes.iter().any(|runtime| runtime.strong_count() > 0) {
        assert!(std::time::Instant::now() < end, "still held");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn calls_wait_for_a_slow_start() {
    let number = world().start_library(own_library(), Settings::default(), |rt| {
        thread::sleep(Duration::from_millis(100));
        echo(rt);
        Ok(())
    });
    let tickets: Vec<_> = (0..10u8).map(|i| world().call(number, &[i])).collect();
    assert_eq!(world().state(number), State::Starting);
    for (i, ticket) in tickets.iter().enumerate() {
        assert_eq!(world().answer(ticket), [i as u8]);
    }
    world().wait_for(number, &State::Ready);
}

#[test]
fn calls_for_one_library_do_not_overlap() {
    let library = own_library();
    let inside = Arc::new(AtomicUsize::new(0));
    let numbers: Vec<_> = (0..4)
        .map(|_| {
            let inside = inside.clone();
            world().start_library(library.clone(), Settings::default(), move |_| {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::sleep(Duration::from_millis(20));
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        })
        .collect();
    for &number in &numbers {
        world().wait_for(number, &State::Ready);
    }
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers are never used again: {numbers:?}");
}

#[test]
fn unload_lets_accepted_calls_finish() {
    let (number, rt) = world().start_idle(Settings::default());
    let running = world().call(number, b"");
    let queued = world().call(number, b"");
    let task = rt.next().task;
    assert_eq!(unload(number), Ok(()));
    assert_eq!(unload(number), Err(Refusal::Unloaded));
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::Unloaded));
    let next = rt.next();
    assert_eq!((next.kind, next.task), (NFFI_CALL, queued.task));
    assert!(rt.poll(1, 0).is_empty(), "STOP before the calls have ended");
    rt.reply(next.task, 0, b"queued");
    rt.reply(task, 0, b"running");
    assert_eq!(world().answer(&running), b"running");
    assert_eq!(world().answer(&queued), b"queued");
    assert_eq!(rt.next().kind, NFFI_STOP);
    assert_eq!(world().state(number), State::Unloading);
    rt.stopped();
    world().wait_for(number, &State::Stopped);
    assert_eq!(rt.reply(task, 0, b"after"), NFFI_BAD);
    assert_eq!(rt.next().kind, NFFI_STOP);
    assert_eq!(unload(number), Err(Refusal::Unloaded));
}

#[test]
fn unload_waits_for_abandoned_tasks() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    world().cancel(&ticket);
    unload(number).expect("unloaded");
    rt.next();
    assert!(rt.poll(1, 0).is_empty());
    assert_eq!(rt.reply(task, 0, b""), NFFI_GONE);
    assert_eq!(rt.next().kind, NFFI_STOP);
    rt.stopped();
    world().wait_for(number, &State::Stopped);
}

#[test]
fn unload_while_starting() {
    let (go, wait) = mpsc::channel::<()>();
    let number = world().start_library(own_library(), Settings::default(), move |rt| {
        wait.recv().expect("the test");
        echo(rt);
        Ok(())
    });
    let ticket = world().call(number, b"accepted");
    unload(number).expect("unloaded");
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::Unloaded));
    go.send(()).expect("init waits");
    assert_eq!(world().answer(&ticket), b"accepted");
    world().wait_for(number, &State::Stopped);
}

#[test]
fn unload_while_a_start_fails() {
    let (go, wait) = mpsc::channel::<()>();
    let (give, take) = mpsc::channel();
    let number = world().start_library(own_library(), Settings::default(), move |rt| {
        wait.recv().expect("the test");
        thread::spawn(move || {
            loop {
                let event = rt.next();
                if event.kind == NFFI_STOP {
                    let _ = give.send(());
                    return;
                }
            }
        });
        Err("not today".to_owned())
    });
    unload(number).expect("unloaded");
    go.send(()).expect("init waits");
    world().wait_for(number, &State::Stopped);
    take.recv_timeout(support::PATIENCE).expect("STOP for the thread that was left behind");
}

#[test]
fn calls_of_an_unloaded_runtime_that_fails_to_start() {
    let (go, wait) = mpsc::channel::<Rt>();
    let (give, take) = mpsc::channel();
    let number = world().start_library(own_library(), Settings::default(), move |rt| {
        give.send(rt).expect("the test");
        let _ = wait.recv();
        Err("not today".to_owned())
    });
    let rt = take.recv().expect("init runs");
    let ticket = world().call(number, b"");
    unload(number).expect("unloaded");
    drop(go);
    assert_eq!(failure(world().wait(&ticket)), "not today");
    world().wait_for(number, &State::Stopped);
    assert_eq!(world().counts(number), (0, 0));
    // Whoever still polls learns that it is over.
    assert_eq!(rt.poll(1, 10_000).iter().map(|e| e.kind).collect::<Vec<_>>(), [NFFI_STOP]);
}

#[test]
fn a_runtime_that_stops_by_itself() {
    let (number, rt) = world().start_idle(Settings::default());
    let running = world().call(number, b"");
    let cast = world().cast(number, b"");
    assert_eq!((rt.next().task, rt.next().task), (running.task, cast));
    let (tell, told) = std::sync::mpsc::channel();
    let sleeper = thread::spawn(move || {
        // SAFETY: no preconditions.
        tell.send(unsafe { libc::gettid() }).expect("the test waits");
        let mut kinds = vec![rt.next().kind];
        while kinds.last() != Some(&NFFI_STOP) {
            kinds.push(rt.next().kind);
        }
        kinds
    });
    // Before it sleeps it would take what is submitted next.
    let stat = format!("/proc/self/task/{}/stat", told.recv().expect("it has begun"));
    while !std::fs::read_to_string(&stat).expect("proc").rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")) {
        thread::yield_now();
    }
    let more = world().on_loop(|l| {
        let more = l.submit(number, request(b""));
        rt.stopped();
        l.look();
        more
    });
    world().wait_for(number, &State::Stopped);
    assert_eq!(failure(world().wait(&more)), "it has stopped by itself");
    assert_eq!(failure(world().wait(&running)), "it has stopped by itself");
    assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::Unloaded));
    // A thread that sleeps in poll() all the same is sent home.
    let kinds = sleeper.join().expect("the sleeper came back");
    assert!(kinds == [NFFI_STOP] || kinds == [NFFI_CANCEL, NFFI_STOP], "{kinds:?}");
    // What it had taken is still its own; nobody waits for that any more, and no one stays for it.
    assert_eq!(world().counts(number), (2, 1));
    assert_eq!(rt.end(running.task, 0), NFFI_GONE);
    rt.end(cast, 0);
    world().wait_until_idle(number);
}

#[test]
fn stopped_while_starting_is_stopped_once_ready() {
    let number = world().start_with(Settings::default(), |rt| {
        rt.stopped();
        Ok(())
    });
    world().wait_for(number, &State::Stopped);
}

#[test]
fn the_configuration_is_whole_and_the_message_is_cut() {
    let long = "x".repeat(5000);
    let number = world().start_with(Settings::default(), {
        let long = long.clone();
        move |_| Err(long)
    });
    let said = world().until("it fails", |l| match &l.dispatch.entry(number).expect("entry").state {
        State::Failed(why) => Some(why.clone()),
        _ => None,
    });
    assert_eq!(said, long[..1023]);
}

#[test]
fn init_runs_with_the_steering_signals_blocked() {
    let (give, take) = mpsc::channel();
    world().start(Settings::default(), move |_| {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: a NULL new mask only asks; the set is written.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr());
            [libc::SIGTERM, libc::SIGCHLD, libc::SIGIO, libc::SIGSEGV, libc::SIGPIPE]
                .map(|signal| libc::sigismember(set.as_ptr(), signal) == 1)
        };
        give.send(blocked).expect("the test");
    });
    assert_eq!(take.recv().expect("init"), [true, true, true, false, false]);
}
