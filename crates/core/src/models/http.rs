//! HTTP tasks: the head moves from the task into the pipe, or to the end, while the event loop takes what
//! is there. It goes once, and first.

use std::sync::Arc;

use loom::thread;
use nffi_abi::{
    NFFI_AGAIN, NFFI_BAD, NFFI_EOF, NFFI_FULL, NFFI_GONE, NFFI_HTTP, NFFI_HTTP_UPGRADE, NFFI_OK, NFFI_READABLE,
    NFFI_WRITABLE,
};

use super::{
    explore,
    polling::poll,
    world::{World, with_world},
};
use crate::{
    buf::Buf,
    dispatch::{News, Outcome},
    host::Host,
    http::{Head, HttpEnd},
    pipe::{Piece, Pieces, WINDOW, Weight},
    slot::Answer,
};

fn head(status: u16) -> Option<Head> {
    Head::new(status, [].into_iter())
}

fn piece(len: usize) -> Buf {
    Buf::copy_of(&vec![b'x'; len]).expect("memory")
}

fn end(host: &Host, task: u64) -> i32 {
    host.finish("end", task, Answer { status: 0, data: Buf::none() })
}

/// What an event loop takes: statuses of heads, and 0 for data.
fn take(world: &mut crate::dispatch::Dispatch, task: u64, pieces: &Pieces, taken: &mut Vec<u16>) {
    while let Some(piece) = pieces.answer.take() {
        taken.push(if let Piece::Head(head) = &piece { head.status } else { 0 });
        world.consumed(task, pieces, piece.weight());
    }
}

/// Takes all until the task has ended: what was in the pipe, and the end.
fn take_until_end(world: &mut World, task: u64, pieces: &Pieces) -> (Vec<u16>, HttpEnd) {
    let (mut taken, mut over) = (Vec::new(), None);
    world.run(|dispatch, news| {
        take(dispatch, task, pieces, &mut taken);
        for item in news {
            if let News::Ended { owner: 1, outcome: Outcome::Http(end) } = item {
                over = Some(end);
            }
        }
        over.is_some()
    });
    (taken, over.expect("the end"))
}

#[test]
fn a_head_goes_before_its_piece() {
    explore(2, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(0, pieces.clone());
            let host = world.host;
            let writer = thread::spawn(move || {
                assert_eq!(host.http_head(task, head(103)), NFFI_OK);
                assert_eq!(host.http_head(task, head(200)), NFFI_OK);
                assert_eq!(host.write(task, piece(1)), NFFI_OK);
                assert_eq!(host.http_trailers(task, head(0)), NFFI_OK);
                assert_eq!(end(host, task), NFFI_OK);
            });
            let (taken, end) = take_until_end(world, task, &pieces);
            writer.join().expect("writer");
            assert_eq!(taken, [103, 200, 0]);
            assert!(end.head.is_none() && end.trailers.is_some());
        });
    });
}

/// One thread has just polled the task and answers it: the loop sees when it was polled.
#[test]
fn a_head_and_a_reply_are_seen_with_the_end() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http(0, pieces.clone());
            world.dispatch.flush();
            let (host, runtime) = (world.host, world.runtime.clone());
            let poller = thread::spawn(move || {
                assert_eq!(poll(host, &runtime, true), [(NFFI_HTTP, task)]);
                assert_eq!(host.http_head(task, head(200)), NFFI_OK);
                assert_eq!(host.finish("reply", task, Answer { status: 0, data: piece(3) }), NFFI_OK);
            });
            let (taken, end) = take_until_end(world, task, &pieces);
            poller.join().expect("poller");
            assert!(taken.is_empty());
            assert_eq!(end.head.map(|head| head.status), Some(200));
            assert_eq!(end.data.len(), 3);
            assert_ne!(end.polled, 0);
        });
    });
}

#[test]
fn a_writer_and_an_end_race_for_the_head() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(0, pieces.clone());
            let host = world.host;
            assert_eq!(host.http_head(task, head(200)), NFFI_OK);
            let writer = thread::spawn(move || host.write(task, piece(1)));
            assert_eq!(end(host, task), NFFI_OK);
            let (taken, over) = take_until_end(world, task, &pieces);
            let wrote = writer.join().expect("writer");
            if wrote == NFFI_OK {
                assert_eq!((taken, over.head.is_none()), (vec![200, 0], true));
            } else {
                assert_eq!((wrote, taken, over.head.is_some()), (NFFI_BAD, vec![], true));
            }
        });
    });
}

#[test]
fn one_of_two_heads_counts() {
    explore(2, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(0, pieces.clone());
            let host = world.host;
            let threads: Vec<_> =
                [200, 500].map(|status| thread::spawn(move || (status, host.http_head(task, head(status))))).into();
            let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("thread")).collect();
            let given: Vec<_> = results.iter().filter(|(_, rc)| *rc == NFFI_OK).collect();
            assert!(given.len() == 1 && results.iter().any(|(_, rc)| *rc == NFFI_BAD), "{results:?}");
            end(host, task);
            let (_, end) = take_until_end(world, task, &pieces);
            assert_eq!(end.head.map(|head| head.status), Some(given[0].0));
        });
    });
}

#[test]
fn a_head_and_a_cancel() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(0, pieces.clone());
            let host = world.host;
            let writer = thread::spawn(move || {
                let given = host.http_head(task, head(200));
                let wrote = host.write(task, piece(1));
                let ended = end(host, task);
                (given, wrote, ended)
            });
            world.dispatch.cancel(task);
            let news = world.run_until_idle();
            let (given, wrote, ended) = writer.join().expect("writer");
            assert!(news.is_empty(), "nobody waits any more");
            let gone = [given, wrote, ended].map(|rc| rc == NFFI_GONE);
            assert!(gone.is_sorted(), "back again: {gone:?}");
            let there = std::iter::from_fn(|| pieces.answer.take()).count();
            assert_eq!(there, if wrote == NFFI_OK { 2 } else { 0 });
            assert_eq!(Arc::strong_count(&pieces), 1);
        });
    });
}

/// The window counts the head too; what is taken counts until it is consumed.
#[test]
fn a_writer_told_full_behind_its_head_is_told_writable_once() {
    explore(2, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(0, pieces.clone());
            let (host, runtime) = (world.host, world.runtime.clone());
            let writer = thread::spawn(move || {
                assert_eq!(host.http_head(task, head(200)), NFFI_OK);
                if host.write(task, piece(WINDOW - 1)) == NFFI_FULL {
                    assert_eq!(poll(host, &runtime, true), [(NFFI_WRITABLE, task)]);
                }
                assert!(poll(host, &runtime, false).is_empty(), "told once more");
                assert_eq!(end(host, task), NFFI_OK);
            });
            let (taken, _) = take_until_end(world, task, &pieces);
            writer.join().expect("writer");
            assert_eq!((taken, pieces.answer.bytes()), (vec![200, 0], 0));
        });
    });
}

#[test]
fn bytes_after_an_upgrade_are_read() {
    explore(2, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_http_and_poll(NFFI_HTTP_UPGRADE, pieces.clone());
            let (host, runtime) = (world.host, world.runtime.clone());
            let reader = thread::spawn(move || {
                assert_eq!(host.http_head(task, head(101)), NFFI_OK);
                let mut read = 0;
                loop {
                    match host.read(task) {
                        Ok(_) => read += 1,
                        Err(NFFI_AGAIN) => assert_eq!(poll(host, &runtime, true), [(NFFI_READABLE, task)]),
                        Err(status) => {
                            assert_eq!(status, NFFI_EOF);
                            break;
                        }
                    }
                }
                assert_eq!(end(host, task), NFFI_OK);
                read
            });
            // As the host does it: only once the 101 is there.
            let mut taken = Vec::new();
            world.run(|dispatch, _| {
                take(dispatch, task, &pieces, &mut taken);
                !taken.is_empty()
            });
            assert_eq!(taken, [101]);
            assert_eq!(world.dispatch.send(task, &pieces, Some(piece(1))), Ok(false));
            assert_eq!(world.dispatch.send(task, &pieces, None), Ok(false));
            world.dispatch.flush();
            take_until_end(world, task, &pieces);
            assert_eq!(reader.join().expect("reader"), 1);
        });
    });
}
