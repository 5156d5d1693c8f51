//! Streams: the two ends of a window never wait for each other, and nobody is told twice.
//! Under loom a window holds four bytes.

use std::sync::Arc;

use loom::thread;
use nffi_abi::{NFFI_AGAIN, NFFI_EOF, NFFI_FULL, NFFI_OK, NFFI_READABLE, NFFI_WRITABLE};

use super::{explore, polling::poll, world::with_world};
use crate::{
    buf::Buf,
    dispatch::News,
    pipe::{Pieces, WINDOW},
    slot::Answer,
};

fn piece(len: usize) -> Buf {
    Buf::copy_of(&vec![b'x'; len]).expect("memory")
}

fn last() -> Answer {
    Answer { status: 0, data: Buf::none() }
}

#[test]
fn a_writer_told_full_is_told_writable_once() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_and_poll(Some(pieces.clone()), false);
            let (host, runtime) = (world.host, world.runtime.clone());
            let writer = thread::spawn(move || {
                let full = host.write(task, piece(WINDOW));
                if full == NFFI_FULL {
                    assert_eq!(poll(host, &runtime, true), [(NFFI_WRITABLE, task)]);
                } else {
                    assert_eq!(full, NFFI_OK);
                }
                assert!(poll(host, &runtime, false).is_empty(), "told once more");
                assert_eq!(host.finish("end", task, last()), NFFI_OK);
            });
            let mut received = 0;
            world.run(|dispatch, news| {
                while dispatch.receive(task, &pieces).is_some() {
                    received += 1;
                }
                news.iter().any(|n| matches!(n, News::Ended { .. }))
            });
            writer.join().expect("writer");
            assert_eq!(received, 1);
        });
    });
}

#[test]
fn a_reader_told_again_is_told_readable_once() {
    for sends_a_piece in [true, false] {
        explore(3, move || {
            with_world(2, |world| {
                let pieces = Arc::new(Pieces::default());
                let task = world.submit_and_poll(Some(pieces.clone()), true);
                let (host, runtime) = (world.host, world.runtime.clone());
                let reader = thread::spawn(move || {
                    let mut read = 0;
                    loop {
                        match host.read(task) {
                            Ok(_) => read += 1,
                            Err(NFFI_AGAIN) => assert_eq!(poll(host, &runtime, true), [(NFFI_READABLE, task)]),
                            Err(NFFI_EOF) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    assert!(poll(host, &runtime, false).is_empty(), "told once more");
                    host.finish("end", task, last());
                    read
                });
                if sends_a_piece {
                    assert_eq!(world.dispatch.send(task, &pieces, Some(piece(1))), Ok(false));
                    world.dispatch.flush();
                }
                assert_eq!(world.dispatch.send(task, &pieces, None), Ok(false));
                world.dispatch.flush();
                world.run_until_idle();
                assert_eq!(reader.join().expect("reader"), usize::from(sends_a_piece));
            });
        });
    }
}

#[test]
fn a_sender_told_to_wait_is_told_to_go_on() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            // Not polled yet: the window may shut before the task runs.
            let task = world.submit(1, Some(pieces.clone()), true);
            let (host, runtime) = (world.host, world.runtime.clone());
            let reader = thread::spawn(move || {
                assert_eq!(poll(host, &runtime, true).len(), 1);
                while let Err(status) = host.read(task) {
                    assert_eq!((status, poll(host, &runtime, true)), (NFFI_AGAIN, vec![(NFFI_READABLE, task)]));
                }
            });
            let shut = world.dispatch.send(task, &pieces, Some(piece(WINDOW))).expect("alive");
            world.dispatch.flush();
            if shut {
                world.run(|_, news| news.iter().any(|n| matches!(n, News::Pieces { owner: 1 })));
                assert!(pieces.request.is_open());
            }
            reader.join().expect("reader");
            host.finish("end", task, last());
            world.run_until_idle();
        });
    });
}

#[test]
fn pieces_and_the_end_are_both_seen() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_and_poll(Some(pieces.clone()), false);
            let host = world.host;
            let writer = thread::spawn(move || {
                assert_eq!(host.write(task, piece(1)), NFFI_OK);
                assert_eq!(host.write(task, piece(1)), NFFI_OK);
                assert_eq!(host.finish("end", task, last()), NFFI_OK);
            });
            let mut received = 0;
            world.run(|dispatch, news| {
                while dispatch.receive(task, &pieces).is_some() {
                    received += 1;
                }
                news.iter().any(|n| matches!(n, News::Ended { .. }))
            });
            writer.join().expect("writer");
            assert_eq!(received, 2);
        });
    });
}

#[test]
fn two_writers_and_a_cancel() {
    explore(2, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_and_poll(Some(pieces.clone()), false);
            let host = world.host;
            let writers: Vec<_> = (0..2).map(|_| thread::spawn(move || host.write(task, piece(1)))).collect();
            world.dispatch.cancel(task);
            let sent: usize = writers.into_iter().map(|w| usize::from(w.join().expect("writer") == NFFI_OK)).sum();
            host.finish("end", task, last());
            world.run_until_idle();
            assert_eq!(std::iter::from_fn(|| pieces.answer.pop()).count(), sent);
            assert_eq!(Arc::strong_count(&pieces), 1);
        });
    });
}

/// One that asks whether there is room before it goes on is told when there is; also where it went on before it
/// was told, and filled the window again.
#[test]
fn a_sender_that_waits_for_room_is_told() {
    explore(3, || {
        with_world(2, |world| {
            let pieces = Arc::new(Pieces::default());
            let task = world.submit_and_poll(Some(pieces.clone()), true);
            let (host, runtime) = (world.host, world.runtime.clone());
            let reader = thread::spawn(move || {
                for _ in 0..2 {
                    while let Err(status) = host.read(task) {
                        assert_eq!((status, poll(host, &runtime, true)), (NFFI_AGAIN, vec![(NFFI_READABLE, task)]));
                    }
                }
            });
            let shut = world.dispatch.send(task, &pieces, Some(piece(WINDOW))).expect("alive");
            // Where it is open already, something else has woken the sender.
            if !pieces.request.is_open() {
                world.dispatch.flush();
                if shut {
                    world.run(|_, _| pieces.request.is_open());
                }
            }
            let shut = world.dispatch.send(task, &pieces, Some(piece(WINDOW))).expect("alive");
            world.dispatch.flush();
            if shut {
                world.run(|_, _| pieces.request.is_open());
            }
            reader.join().expect("reader");
            host.finish("end", task, last());
            world.run_until_idle();
        });
    });
}
