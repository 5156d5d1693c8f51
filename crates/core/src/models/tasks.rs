//! A task ends once, whoever races for it. The cells of the slot are loom's, so a look at an
//! answer that was not published is an error too.

use loom::thread;
use nffi_abi::{NFFI_BAD, NFFI_CALL, NFFI_GONE, NFFI_OK};

use super::{
    explore,
    polling::poll,
    world::{REQUEST_ID, with_world},
};
use crate::{
    buf::Buf,
    dispatch::{News, Outcome},
    host::Host,
    slot::Answer,
};

fn reply(host: &Host, task: u64, status: i32) -> i32 {
    host.finish("reply", task, Answer { status, data: Buf::copy_of(b"answer").expect("memory") })
}

#[test]
fn two_replies_one_end() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit_and_poll(None, false);
            let host = world.host;
            let threads: Vec<_> = [1, 2].map(|who| thread::spawn(move || (who, reply(host, task, who)))).into();
            let news = world.run_until_idle();
            let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("thread")).collect();
            let winners: Vec<_> = results.iter().filter(|(_, rc)| *rc == NFFI_OK).collect();
            assert!(winners.len() == 1 && results.iter().any(|(_, rc)| *rc == NFFI_BAD), "{results:?}");
            match &news[..] {
                [News::Ended { owner: 1, outcome: Outcome::Answer(answer) }] => {
                    assert_eq!((answer.status, answer.data.as_slice()), (winners[0].0, &b"answer"[..]));
                }
                other => panic!("{other:?}"),
            }
        });
    });
}

#[test]
fn a_reply_and_a_cancel() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit_and_poll(None, false);
            let host = world.host;
            let runtime = thread::spawn(move || reply(host, task, 0));
            world.dispatch.cancel(task);
            let news = world.run_until_idle();
            let rc = runtime.join().expect("thread");
            assert!(rc == NFFI_OK || rc == NFFI_GONE, "{rc}");
            assert!(news.is_empty(), "nobody waits any more");
            let entry = world.dispatch.entry(0).expect("the runtime");
            assert_eq!((entry.in_flight, entry.abandoned, entry.stats.cancelled, entry.stats.answers), (0, 0, 1, 1));
        });
    });
}

#[test]
fn cancelled_while_queued_or_polled_and_never_both() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit(1, None, false);
            let (host, runtime) = (world.host, world.runtime.clone());
            let poller = thread::spawn(move || {
                let events = poll(host, &runtime, false);
                for &(_, task) in events.iter().filter(|(kind, _)| *kind == NFFI_CALL) {
                    assert!([NFFI_OK, NFFI_GONE].contains(&reply(host, task, 0)));
                }
                events.contains(&(NFFI_CALL, task))
            });
            world.dispatch.cancel(task);
            let was_queued = world.dispatch.unended() == 0;
            // The slot is used again at once, if it is free.
            let next = world.submit(2, None, false);
            assert_ne!(task, next);
            let polled = poller.join().expect("thread");
            assert!(!(was_queued && polled), "delivered after it was cancelled");
            for (_, task) in poll(world.host, &world.runtime, false) {
                reply(world.host, task, 0);
            }
            let news = world.run_until_idle();
            assert!(matches!(news[..], [News::Ended { owner: 2, .. }]), "{news:?}");
        });
    });
}

#[test]
fn one_of_two_pollers_gets_the_task() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit(1, None, false);
            let polls: Vec<_> = (0..2)
                .map(|_| {
                    let (host, runtime) = (world.host, world.runtime.clone());
                    thread::spawn(move || poll(host, &runtime, false).len())
                })
                .collect();
            let got: usize = polls.into_iter().map(|p| p.join().expect("poller")).sum();
            assert_eq!(got, 1);
            reply(world.host, task, 0);
            world.run_until_idle();
        });
    });
}

#[test]
fn a_handle_of_before_does_not_end_the_next_task() {
    explore(3, || {
        with_world(2, |world| {
            let old = world.submit_and_poll(None, false);
            let host = world.host;
            reply(host, old, 0);
            let late = thread::spawn(move || reply(host, old, 7));
            world.run_until_idle();
            let new = world.submit_and_poll(None, false);
            assert_eq!(late.join().expect("thread"), NFFI_BAD);
            reply(host, new, 0);
            let news = world.run_until_idle();
            assert!(
                matches!(&news[..], [News::Ended { outcome: Outcome::Answer(a), .. }] if a.status == 0),
                "{news:?}"
            );
        });
    });
}

/// A line that was logged before its task ended still finds the task.
#[test]
fn a_line_comes_before_its_tasks_end() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit_and_poll(None, false);
            let host = world.host;
            let runtime = thread::spawn(move || {
                host.push_line(0, task, 6, b"line");
                reply(host, task, 0);
            });
            let mut lines = Vec::new();
            world.run(|dispatch, _| {
                lines.extend(std::iter::from_fn(|| dispatch.next_line()));
                dispatch.unended() == 0 && !lines.is_empty()
            });
            runtime.join().expect("thread");
            assert_eq!(
                lines.iter().map(|(line, mark)| (line.task, mark.request_id)).collect::<Vec<_>>(),
                [(task, REQUEST_ID)]
            );
        });
    });
}
